"""`training_models gates`: a line for each verdict, the reason of those that were not passed."""

import json

import pytest

from daemon.cli.training_models import app
from daemon.files.identity import Identity
from daemon.ledger.ledger import Ledger
from tests.daemon.cli.runner import runner_of
from tests.support import FakeClock
from trainer.protocol.gate import GateVerdict, JudgedFile, LossComparison
from trainer.protocol.job import Job, Priority
from trainer.protocol.layout import Layout

run = runner_of(app)


@pytest.fixture
def layout(tmp_path):
    layout = Layout(tmp_path / "work")
    layout.create()
    return layout


@pytest.fixture
def judged(layout):
    """A good file, a bad one, and one that could not be judged, with a name that a terminal would obey."""
    ledger = Ledger(layout.ledger_file, clock=FakeClock(1_700_000_000.0))
    names = ("good.jsonl", "bad.jsonl", "odd\x1b[2J.jsonl")
    outcomes = (("passed", 1.9), ("refused", 4.0), ("unjudged", None))
    for number, (name, (outcome, loss)) in enumerate(zip(names, outcomes, strict=True)):
        job_id = f"20260101-000000-00000{number}"
        job = Job(id=job_id, name=name, priority=Priority.LOW, sha256="0" * 64, rows=9, size_bytes=1)
        ledger.add_job(job, Identity(device=1, inode=number + 1, size=1, mtime_ns=1), "failed")
        losses = ()
        if loss:
            losses = (
                LossComparison(
                    against="before", global_step=0, rows=300, loss_before=2.0, loss_after=loss, t=25.04
                ),
            )
        verdict = GateVerdict(
            outcome=outcome,
            reason=f"the reason of {outcome}",
            from_step=10 * number,
            global_step=10 * number + 10,
            checkpoint="step-000000000",
            files=(JudgedFile(job_id=job_id, name=name.replace("\x1b", "\\x1b")),),
            losses=losses,
        )
        ledger.gate_verdicts.add(verdict, branch=0)
    ledger.close()
    return layout


def test_each_verdict_has_a_line_with_its_numbers(judged):
    lines = run(judged, "gates").stdout.splitlines()

    assert [line.split()[2:] for line in lines[1:] if not line.startswith(" ")] == [
        ["passed", "0", "to", "10", "-5.0%", "25.0", "good.jsonl"],
        ["refused", "10", "to", "20", "+100.0%", "25.0", "bad.jsonl"],
        ["unjudged", "20", "to", "30", "-", "-", "odd\\x1b[2J.jsonl"],
    ]
    assert [line.strip() for line in lines if line.startswith(" ")] == [
        "the reason of refused",
        "the reason of unjudged",
    ]


def test_one_file_is_asked_for_by_its_name_or_its_job(judged):
    by_name = json.loads(run(judged, "gates", "bad.jsonl", "--json").stdout)
    by_job = json.loads(run(judged, "gates", "20260101-000000-000001", "--json").stdout)

    assert by_name == by_job
    [verdict] = by_name
    assert verdict["outcome"] == "refused"
    assert verdict["losses"][0]["loss_after"] == 4.0


def test_the_newest_are_shown(judged):
    lines = run(judged, "gates", "--limit", "1").stdout.splitlines()

    assert len(lines) == 3
    assert "odd" in lines[1]


def test_a_file_that_nobody_knows_is_said_to_be_unknown(judged):
    result = run(judged, "gates", "nope.jsonl")

    assert result.exit_code == 1
    assert "no file named nope.jsonl was accepted" in str(result.exception)


def test_without_verdicts_it_says_how_there_would_be_some(layout):
    assert run(layout, "gates").stdout == (
        "the gate has judged nothing so far; it judges files with gate.enabled (docs/models/gate.md)\n"
    )


def test_a_file_that_took_another_name_is_shown_under_the_one_that_history_has(judged):
    ledger = Ledger(judged.ledger_file, clock=FakeClock(1_700_000_000.0))
    ledger.rename_job("20260101-000000-000000", "good-2.jsonl")
    ledger.close()

    shown = run(judged, "gates", "good-2.jsonl").stdout.splitlines()

    assert shown[1].endswith("  good-2.jsonl")
