"""What every command prints with --json is what the committed schema says."""

import importlib
import json
import os
import threading
from functools import cache
from pathlib import Path

import pytest
from typer.testing import CliRunner

from daemon.cli.document import MARKDOWN_FILE, SCHEMA_FILE, json_schema, markdown
from daemon.cli.json_outputs import OUTPUTS
from daemon.client import Client
from daemon.client.results import Obeyed, Started
from daemon.control.control_files import read_requests
from daemon.files.identity import identity_of
from daemon.jobs.admission import admit
from daemon.jobs.reasons import write_reason
from daemon.ledger.crash_rows import Crash
from daemon.ledger.ledger import Ledger
from daemon.status.board import StatusBoard
from daemon.status.data_reports import write_report
from tests.daemon.cli.backup_answers import ANSWERS
from tests.daemon.cli.test_dry_run import PLANNED
from tests.daemon.cli.test_models_compare import LOSS
from tests.daemon.cli.test_training_data_report import report
from tests.daemon.cli.test_training_data_show import ANSWER, PROMPT, row_with
from tests.health import damage, publish
from tests.json_schema import violations
from tests.support import FakeClock, eventually, job_for, rows, write_jsonl
from trainer.protocol import one_shot
from trainer.protocol.comparison import Compared, ComparedAnswer
from trainer.protocol.gate import GateVerdict, JudgedFile, LossComparison, SuiteComparison
from trainer.protocol.going_back import WentBack
from trainer.protocol.job import FaultKind, JobRecord, Outcome, Priority, Reason
from trainer.protocol.layout import Layout
from trainer.protocol.manifest import Branch
from trainer.protocol.messages import PreviewMade, StepReport, SuiteScored, Validated
from trainer.protocol.status import SuiteResult

COMMAND_OF = one_shot.command_of
DOCS = Path(__file__).parents[3] / "docs"
GENERATED = "syllo --count 3 --difficulty 1 --seed 1 --out puzzles.jsonl"


@cache
def definitions():
    """Return the schemas. They take half a second, which only those wait for that need them."""
    return json_schema()["$defs"]


WENT_BACK = WentBack(
    checkpoint="step-000000005",
    branch=Branch(
        number=1, from_branch=0, from_step=5, left_step=9, at="now", why="rollback", reason="worse", jobs=()
    ),
)

WITHOUT_DAEMON = (
    *("training_daemon restart", "training_daemon install-service"),
    *("training_models rollback", "training_models restore"),
)
COMPARED = Compared(
    device="cpu", loss=LOSS, answers=(ComparedAnswer(prompt="Say 3.", before="three", after="3"),)
)

# The command as it is documented -> what else is typed
TYPED = {
    "training_daemon --dry-run": "chat.jsonl",
    "training_daemon init": "--sample",
    "training_daemon install-service": "--yes",
    "training_queue add": "chat.jsonl",
    "training_queue show": "done.jsonl",
    "training_queue set-priority": "waits.jsonl high",
    "training_queue retry": "--failed",
    "training_queue unadmit": "done.jsonl",
    "training_queue remove": "waits.jsonl",
    "training_queue clear": "--failed --skipped",
    "training_health unlock": "data.max_length --yes",
    "training_health pin": "current",
    "training_health unpin": "current",
    "training_models gc": "--all --yes",
    "training_data validate": "chat.jsonl --auto-adjust",
    "training_data report": "done.jsonl",
    "training_data show": "chat.jsonl --row 1",
    "training_data value": "done.jsonl",
    "training_data flag": "waits.jsonl --row 1 --note odd",
    "training_data flag --export": "out.jsonl",
    "training_data convert": "chat.jsonl out.jsonl --to sharegpt",
    "training_data split": "chat.jsonl --validation 0.5",
    "training_data dedupe": "chat.jsonl out.jsonl --near",
    "training_data dedupe --dry-run": "chat.jsonl",
    "training_data sample": "chat.jsonl out.jsonl --count 2",
    "training_data merge": "chat.jsonl chat.jsonl out.jsonl",
    "training_data merge --to": "messages chat.jsonl chat.jsonl out.jsonl",
    "training_data generate": GENERATED,
    "training_data analyze": "chat.jsonl",
    "training_models show": "v001",
    "training_models note": "v001 good",
    "training_models tag": "v001 good",
    "training_models alias": "deployed v001",
    "training_models lineage": "v001",
    "training_models diff-config": "v001 v002",
    "training_models rollback": "--to v001 --yes",
    "training_models rollback --dry-run": "--to v001",
    "training_models restore": "v001 --yes",
    "training_models restore --dry-run": "v001",
    "training_models delete": "v001 --yes",
    "training_models delete --dry-run": "v001",
    "training_models undelete": "v001",
    "training_models backup create": "--to backups",
    "training_models backup list": "--to backups",
    "training_models backup verify": "--to backups",
    "training_models backup restore": "--to backups --yes",
    "training_models backup drill": "--to backups",
    "training_models backup prune": "--to backups --yes",
    "training_models compare": "v001 v001 --validation chat.jsonl",
    "training_models consolidate": "--dry-run",
    "training_models forget": "waits.jsonl --yes",
    "training_models forget --dry-run": "done.jsonl",
}


@pytest.fixture
def layout(tmp_path, monkeypatch):
    """A working directory in which there is something of everything."""
    monkeypatch.chdir(tmp_path)
    layout = Layout(tmp_path / "work")
    layout.create()
    write_jsonl(tmp_path / "chat.jsonl", rows(8))
    layout.config_file.write_text('{"data": {"max_length": 512}, "training": {"replay_fraction": 0.1}}')
    damage(publish(layout, 1, step=2))
    publish(layout, 2, step=5, settings={"training": {"epochs": 1}})
    failed = write_jsonl(layout.failed / "chat.jsonl", rows(2))
    write_reason(failed, Reason(kind=FaultKind.BAD_DATA, message="odd", file="chat.jsonl", at="now"))
    write_jsonl(layout.finished(Outcome.SKIPPED) / "chat.jsonl", rows(2))
    write_report(layout, "20260101-000000-000001", report("warning"))
    (layout.trash / "failed-20260101-000000").mkdir(parents=True)
    write_jsonl(layout.trash / "failed-20260101-000000" / "old.jsonl", rows(2))
    _fill_ledger(layout)
    Client(layout.base).models.create()
    publish(layout, 3, step=9, locked={"data.max_length": 2048}, settings={"training": {"epochs": 2}})
    Client(layout.base).models.create(note="good")
    (layout.logs / "daemon.log").write_text("2026-01-01T00:00:00.000Z INFO    started job=7\n")
    return layout


def _fill_ledger(layout):
    ledger = Ledger(layout.ledger_file, clock=FakeClock(1_000_000_000.0))
    waits = write_jsonl(layout.waiting(Priority.NORMAL) / "waits.jsonl", rows(2, start=7))
    ledger.add_job(job_for(waits, id="20260101-000000-000002"), identity_of(waits.stat()), "waiting")
    path = write_jsonl(layout.finished(Outcome.COMPLETED) / "done.jsonl", rows(2))
    admit(layout, path)
    done = job_for(path, id="20260101-000000-000001", format="messages")
    ledger.add_job(done, identity_of(path.stat()), "completed")
    step = StepReport(
        global_step=1, job_id=done.id, file_step=1, rows=2, tokens=9, supervised_tokens=5, loss=1.5,
        learning_rate=0.1, grad_norm=1.0, seconds=0.5,
    )  # fmt: skip
    ledger.add_steps([step])
    record = JobRecord(job_id=done.id, sha256="", outcome=Outcome.COMPLETED, rows_trained=2, steps=1)
    ledger.finish_job(done, "completed", record, None)
    for number in (0, 1):
        ledger.add_validation(Validated(global_step=number, loss=2.0 - number, rows=4))
    ledger.evaluations.add_scores(
        SuiteScored(global_step=1, suite="sums", overall={"rows": 2, "loss": 1.0, "exact_match": 0.5})
    )
    for number, text in ((1, "he"), (2, "she")):
        ledger.evaluations.add_preview(
            PreviewMade(global_step=number, prompt="Who?", text=text, ended_by="end", seconds=0.5)
        )
    verdict = GateVerdict(
        outcome="refused", reason="worse", from_step=0, global_step=1, checkpoint="step-000000000",
        files=(JudgedFile(job_id=done.id, name=done.name),),
        losses=(
            LossComparison(against="before", global_step=0, rows=9, loss_before=1.0, loss_after=2.0, t=8.0),
        ),
        suites=(
            SuiteComparison(suite="s", rows=9, right_before=9, right_after=0, lost=9, gained=0, p=0.004),
        ),
    )  # fmt: skip
    ledger.gate_verdicts.add(verdict, branch=0)
    ledger.add_crash(
        Crash(
            kind=FaultKind.HANG, message="still", details=None, job_id=None, display=None, global_step=None,
            file_step=None,
        )
    )  # fmt: skip
    ledger.close()


@pytest.fixture
def daemon(layout):
    """Show a running daemon, which obeys one request."""
    board = StatusBoard(layout.status_file, daemon_pid=os.getpid())
    board.error("BadFile", "it is empty", "a.jsonl")
    board.set(suite_scores={"sums": SuiteResult(step=1, rows=2, exact_match=0.5, loss=None)})
    board.publish()

    def obey():
        [request] = eventually(lambda: read_requests(layout), timeout_s=10, what="a request")
        board.command(request.name, request.id, "done")
        board.publish()
        request.path.unlink()

    thread = threading.Thread(target=obey)
    return thread


def printed(command, layout):
    """Run a command as it is documented, with --json; return its document."""
    program, *words = [*command.split(), *TYPED.get(command, "").split()]
    app = importlib.import_module(f"daemon.cli.{program}").app
    result = CliRunner().invoke(app, [*words, "--json", "--base-dir", str(layout.base)])
    assert result.stdout, result.exception
    return json.loads(result.stdout)


def test_every_document_is_checked():
    commands = [command for command in OUTPUTS if command.startswith("training")]

    assert TYPED.keys() <= set(commands)
    assert len(commands) == len(OUTPUTS) - 2  # failures and notifications have tests of their own


@pytest.mark.parametrize("command", [command for command in OUTPUTS if command.startswith("training")])
def test_what_a_command_prints_is_what_the_schema_says(layout, daemon, answering, command, monkeypatch):
    answers = {
        "training_daemon --dry-run": PLANNED,
        "training_data show": row_with([PROMPT, ANSWER]),
        "training_models compare": COMPARED,
        "training_models rollback": WENT_BACK,
        "training_models restore": WENT_BACK,
        **ANSWERS,
    }
    if command == "training_models consolidate":
        _train_adapter(layout)
    answering.prepare(answers.get(command, report("warning")).model_dump_json())
    if command in ("training_models disk", "training_models gc"):  # whose process is a light one
        monkeypatch.setattr(one_shot, "command_of", COMMAND_OF)
    if command.startswith("training_data flag --"):
        printed("training_data flag", layout)
    if command == "training_models undelete":
        printed("training_models delete", layout)
    if OUTPUTS[command] is Obeyed or command == "training_models forget":
        daemon.start()
    if command in WITHOUT_DAEMON:
        layout.status_file.unlink()  # or there would be one to stop, or to wait for
    for variable in ("HOME", "PATH"):  # where there is no systemd
        monkeypatch.setenv(variable, str(layout.base))
    # Tests of their own start one; here it would have a file to train
    started = Started(
        pid=1, base_dir="work", log="daemon.log", overrides=["training.epochs=2"], stops_for=None
    )
    monkeypatch.setattr("daemon.client.starting.start", lambda *given, **more: started)

    document = printed(command, layout)

    if daemon.is_alive():
        daemon.join()
    assert document
    assert violations(document, definitions()[command], definitions()) == []


def _train_adapter(layout):
    layout.config_file.write_text('{"training": {"method": "lora"}}')
    publish(layout, 3, step=12, method="lora")
    printed("training_models create", layout)


def test_so_is_the_status_where_no_daemon_has_ever_run(tmp_path):
    layout = Layout(tmp_path)
    layout.create()

    document = printed("training_controller status", layout)

    assert violations(document, definitions()["training_controller status"], definitions()) == []


def test_so_is_the_overview_of_a_folder_that_is_no_working_directory(tmp_path):
    document = printed("training", Layout(tmp_path / "new"))

    assert document["status"] is None
    assert document["next"] == f"training daemon start --base-dir {tmp_path / 'new'}"
    assert violations(document, definitions()["training"], definitions()) == []


def test_so_is_a_restart_that_would_be_blocked(tmp_path):
    layout = Layout(tmp_path)
    layout.create()
    damage(publish(layout, 1, step=2))

    document = printed("training_health verify", layout)

    assert document["restart"].keys() == {"blocked", "advice"}
    assert violations(document, definitions()["training_health verify"], definitions()) == []


def test_so_is_the_lineage_of_a_file(layout):
    app = importlib.import_module("daemon.cli.training_models").app
    result = CliRunner().invoke(app, ["lineage", "done.jsonl", "--json", "--base-dir", str(layout.base)])

    document = json.loads(result.stdout)

    assert document["versions"] == ["v001", "v002"]
    assert violations(document, definitions()["training_models lineage"], definitions()) == []


def test_a_document_with_another_key_is_not_what_the_schema_says(layout):
    document = printed("training_queue status", layout) | {"unheard_of": "yes"}

    assert violations(document, definitions()["training_queue status"], definitions()) != []


def test_the_committed_schema_is_that_of_the_code():
    committed = json.loads((DOCS / SCHEMA_FILE).read_text())

    assert committed == json_schema(), "run: python -m daemon.cli.document"


def test_the_committed_page_is_that_of_the_code():
    assert (DOCS / MARKDOWN_FILE).read_text() == markdown(), "run: python -m daemon.cli.document"
