"""`training_daemon --dry-run`, with another process in place of the one that loads torch, and once with."""

import json
import os

import pytest
from typer.testing import CliRunner

from daemon.cli.training_daemon import app
from daemon.client import Client
from daemon.client.errors import FileRefused, InvalidSettings, NotATrainingFile
from daemon.files.identity import identity_of
from daemon.jobs.admission import admit
from daemon.ledger.ledger import Ledger
from daemon.status.board import StatusBoard
from tests.support import job_for, rows, write_jsonl
from trainer.protocol import one_shot
from trainer.protocol.dry_run import DryRunOrder, Planned, TrialSteps
from trainer.protocol.files import write_json
from trainer.protocol.job import FaultKind, Outcome
from trainer.protocol.layout import Layout
from trainer.protocol.messages import CheckpointRef, StepReport
from trainer.protocol.one_shot import Refused

PLANNED = Planned(
    file="/somewhere/chat.jsonl",
    model_name="tiny",
    method="lora",
    device="cpu",
    checkpoint=None,
    rows=1500,
    rejected_rows=2,
    first_rejections=("line 3: no \x1b[31mrow",),
    truncated_rows=4,
    rows_without_target=5,
    tokens=60_000,
    supervised_tokens=30_000,
    epochs=2,
    steps=188,
    rows_per_step=16,
    micro_batch_tokens=8192,
    micro_batches_per_step=1.25,
    padding_fraction=0.125,
    first_learning_rate=1e-4,
    last_learning_rate=2e-5,
    trial_steps=TrialSteps(steps=3, tokens_per_s=1000.0, peak_bytes=2_500_000_000),
    notices=("something is odd",),
)
AFTER_A_CHECKPOINT = PLANNED.model_copy(
    update={"checkpoint": CheckpointRef(path="checkpoints/step-000000007", step=7, at="now")}
)
BESIDE_A_WORKER = PLANNED.model_copy(
    update={"trial_steps": None, "device": "cuda", "micro_batch_tokens": None}
)


@pytest.fixture(autouse=True)
def file(tmp_path, monkeypatch):
    """What is asked about, in the current folder."""
    monkeypatch.chdir(tmp_path)
    return write_jsonl(tmp_path / "chat.jsonl", rows(3))


@pytest.fixture
def base(tmp_path):
    return tmp_path / "base"


def run(base, *arguments):
    return CliRunner().invoke(app, ["--dry-run", "chat.jsonl", "--base-dir", str(base), *arguments])


def note_steps(layout, *, tokens, seconds):
    layout.create()
    ledger = Ledger(layout.ledger_file, clock=lambda: 1_000_000_000.0)
    facts = {
        "job_id": "1",
        "rows": 1,
        "supervised_tokens": 1,
        "loss": 1.0,
        "learning_rate": 1.0,
        "grad_norm": 1.0,
    }
    ledger.add_steps(
        [
            StepReport(global_step=step, file_step=step, tokens=tokens, seconds=seconds, **facts)
            for step in (1, 2, 3)
        ]
    )
    ledger.close()


def test_a_person_sees_everything(answering, base):
    answering.prepare(PLANNED.model_dump_json())

    shown = " ".join(run(base).output.replace("│", " ").split())

    for part in (
        "plan for chat.jsonl", "tiny (lora, on cpu)", "continues from the base model",
        "1,500, and 2 rejected",
        r"line 3: no \x1b[31mrow", "60,000 per epoch, 30,000 of them supervised",
        "4 rows, 0 split, 0 dropped; untrainable: 5", "188 of at most 16 rows each, 2 epochs",
        "1.2 per step, at most 8,192 tokens each, 12.5% padding", "0.0001 at first, 2e-05 at the end",
        "2.5 GB at most", "2 min 00 s at 1,000 tokens/s (measured over 3 steps just now)",
        "note something is odd",
    ):  # fmt: skip
        assert part in shown


def test_what_the_daemon_that_runs_was_given_beyond_it_is_noted_below_the_plan(answering, base):
    layout = Layout(base)
    layout.create()
    write_json(layout.process_file, {"overrides": ["training.epochs=2"]}, durable=False)
    StatusBoard(layout.status_file, daemon_pid=os.getpid()).publish()
    answering.prepare(PLANNED.model_dump_json())

    without = run(base)
    same = run(base, "--set", "training.epochs=2")

    assert without.stderr.endswith("--set training.epochs=2; give the same here to see what it does\n")
    assert "note: " not in same.stderr


def test_a_program_gets_json(answering, base):
    answering.prepare(PLANNED.model_dump_json())

    result = json.loads(run(base, "--json").output)

    assert (result["steps"], result["seconds"], result["tokens_per_s"]) == (188, 120.0, 1000.0)
    assert result["rehearsal"]["peak_bytes"] == 2_500_000_000


@pytest.mark.parametrize("answer, tokens_per_s", [(AFTER_A_CHECKPOINT, 50.0), (PLANNED, 1000.0)])
def test_the_speed_of_this_models_own_steps_comes_first(answering, base, answer, tokens_per_s):
    note_steps(Layout(base), tokens=100, seconds=2.0)
    answering.prepare(answer.model_dump_json())

    assert json.loads(run(base, "--json").output)["tokens_per_s"] == tokens_per_s


def test_a_ledger_that_cannot_be_read_does_not_matter(answering, base):
    Layout(base).create()
    Layout(base).ledger_file.write_bytes(b"no ledger" * 1000)
    answering.prepare(AFTER_A_CHECKPOINT.model_dump_json())

    assert json.loads(run(base, "--json").output)["tokens_per_s"] == 1000.0


def test_what_is_not_known_is_said(answering, base):
    answering.prepare(BESIDE_A_WORKER.model_dump_json())

    shown = " ".join(run(base).output.replace("│", " ").split())

    assert "micro-batches measured when training starts" in shown
    assert "memory not measured, because a daemon is running" in shown
    assert "time unknown: this model has taken no steps yet" in shown
    assert json.loads(run(base, "--json").output)["seconds"] is None


def test_the_process_is_told_whether_the_content_is_admitted(answering, base, file):
    layout = Layout(base)
    layout.create()
    answering.prepare(PLANNED.model_dump_json())

    run(base)
    before = answering.order["is_admitted"]
    admit(layout, file)
    run(base)

    assert (before, answering.order["is_admitted"]) == (False, True)


@pytest.mark.parametrize("runs", [True, False])
def test_the_process_is_told_the_settings_and_whether_a_daemon_runs(answering, base, file, runs):
    layout = Layout(base)
    layout.create()
    if runs:
        StatusBoard(layout.status_file, daemon_pid=os.getpid()).publish()
    answering.prepare(PLANNED.model_dump_json())

    run(base, "--set", "training.epochs=3")

    order = DryRunOrder.model_validate(answering.order)
    assert (order.file, order.base_dir) == (str(file), str(base))
    assert order.settings["training"]["epochs"] == 3
    assert order.daemon_runs == runs


def test_the_process_is_told_what_a_daemon_would_replay(answering, base):
    layout = Layout(base)
    layout.create()
    ledger = Ledger(layout.ledger_file, clock=lambda: 1_000_000_000.0)
    for name, start in (("old.jsonl", 10), ("chat.jsonl", 0)):  # the second has what is asked about
        path = write_jsonl(layout.finished(Outcome.COMPLETED) / name, rows(3, start=start))
        ledger.add_job(job_for(path, id=name[:3]), identity_of(path.stat()), "completed")
    ledger.close()
    answering.prepare(PLANNED.model_dump_json())
    asked = []

    for fraction in (0.5, 0):
        run(base, "--set", f"training.replay_fraction={fraction}")
        asked.append(DryRunOrder.model_validate(answering.order))

    assert [[file.job_id for file in order.replayed] for order in asked] == [["old.jsonl"], []]
    assert asked[0].replay_folder == str(layout.finished(Outcome.COMPLETED))


@pytest.mark.parametrize("fault, exit_code", [(FaultKind.BAD_CONFIG, 78), (FaultKind.BAD_DATA, 1)])
def test_a_refusal_is_the_commands_error(answering, base, file, fault, exit_code):
    answering.prepare(Refused(message="no", fault=fault).model_dump_json(), code=exit_code)

    with pytest.raises(FileRefused, match=r"^no$") as refused:
        Client(base).data.dry_run(file)

    assert refused.value.exit_code == exit_code


def test_a_file_that_is_not_there_is_one_sentence_and_nothing_is_started(base, file, monkeypatch):
    monkeypatch.setattr(one_shot, "command_of", lambda module: ["/no/such/command"])
    file.unlink()

    with pytest.raises(NotATrainingFile, match=r"chat\.jsonl is not a file; expected one with rows"):
        Client(base).data.dry_run(file)


def test_bad_settings_are_refused_as_by_the_daemon_and_nothing_is_started(base, file, monkeypatch):
    monkeypatch.setattr(one_shot, "command_of", lambda module: ["/no/such/command"])

    with pytest.raises(InvalidSettings, match=r"training\.epochs is 0; expected a number") as refused:
        Client(base).data.dry_run(file, ["training.epochs=0"])

    assert refused.value.exit_code == 78


@pytest.mark.loads_torch
def test_the_real_process_plans_a_file_where_no_daemon_has_ever_run(base, tmp_path):
    file = write_jsonl(tmp_path / "chat.jsonl", rows(5))
    overrides = ["training.batch_size=2", "training.gradient_accumulation=1", "training.cpu_threads=1"]

    found = Client(base).data.dry_run(file, overrides)

    planned, speed = found.planned, found.speed
    assert (planned.rows, planned.steps, planned.model_name) == (5, 3, "tiny")
    assert planned.tokens > planned.supervised_tokens > 0
    assert speed is not None
    assert speed.tokens_per_s > 0
    assert not base.exists()
