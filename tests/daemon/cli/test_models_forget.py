"""The command training_models forget: what it says when it is interrupted."""

import os

import pytest

from daemon.cli.training_models import app
from daemon.client.forget import Forgets
from daemon.files.identity import identity_of
from daemon.status.board import StatusBoard
from tests.daemon.cli.runner import runner_of
from tests.daemon.ledger.entries import step
from tests.health import publish
from tests.support import job_for, rows, write_jsonl
from trainer.protocol.job import Outcome
from trainer.protocol.manifest import Progress

run = runner_of(app)


@pytest.mark.parametrize(
    "is_running, said",
    [
        (True, "the daemon continues to forget a.jsonl; training_controller status shows how far it is\n"),
        (False, "a.jsonl is not forgotten yet; asked again, it continues at its last checkpoint\n"),
    ],
)
def test_after_ctrl_c_it_says_what_continues(layout, ledger, monkeypatch, is_running, said):
    path = write_jsonl(layout.finished(Outcome.COMPLETED) / "a.jsonl", rows(1))
    ledger.add_job(job_for(path, id="1"), identity_of(path.stat()), "completed")
    ledger.commit()
    if is_running:
        StatusBoard(layout.status_file, daemon_pid=os.getpid()).publish()

    def interrupt(*arguments, **named):
        raise KeyboardInterrupt

    monkeypatch.setattr(Forgets, "carry_out", interrupt)

    result = run(layout, "forget", "a.jsonl", "--yes")

    assert result.exit_code == 130
    assert result.stdout.startswith("to be forgotten: a.jsonl (")
    assert result.stderr == said


def test_a_file_that_was_forgotten_already_is_said_to_be(layout, ledger):
    for number in (1, 2):
        path = write_jsonl(layout.finished(Outcome.COMPLETED) / "a.jsonl", rows(1))
        ledger.add_job(job_for(path, id=str(number)), identity_of(path.stat()), "completed")
    shown = []

    for job_id in ("1", "2"):
        ledger.forget_job(job_id, "bad")
        ledger.commit()
        shown.append(run(layout, "forget", "a.jsonl", "--dry-run"))

    said = "  it was forgotten already; if anything is left of it, that is erased"
    assert [said in result.stdout.splitlines() for result in shown] == [False, True]
    assert [result.exit_code for result in shown] == [0, 0]


def test_the_plan_says_which_steps_are_not_saved_yet_and_come_on_top(layout, ledger):
    path = write_jsonl(layout.finished(Outcome.COMPLETED) / "a.jsonl", rows(1))
    job = job_for(path, id="1")
    ledger.add_job(job, identity_of(path.stat()), "completed")
    ledger.add_steps([step(1, job_id=job.id)])
    ledger.commit()
    publish(layout, 1, progress=Progress(global_step=1))
    board = StatusBoard(layout.status_file, daemon_pid=os.getpid())
    board.set(worker_pid=os.getpid(), current_step=8)
    board.publish()

    shown = run(layout, "forget", "a.jsonl", "--dry-run").stdout

    assert "a worker is training, and saves first: that is 7 steps more by now, to be trained again" in shown
