"""Steps beyond the newest checkpoint are lost once their worker is dead; nobody counts them as trained."""

import pytest

from daemon.files.identity import identity_of
from daemon.status.board import StatusBoard
from daemon.supervision.lost_steps import forget_lost_steps
from tests.health import publish
from tests.support import job_for, rows, write_jsonl
from trainer.protocol.job import Outcome, Priority
from trainer.protocol.manifest import Progress
from trainer.protocol.messages import Score, StepReport, SuiteScored


def step(number, *, loss=0.5):
    return StepReport(
        global_step=number, job_id="1", file_step=number, rows=4, tokens=100, supervised_tokens=50, loss=loss,
        learning_rate=1e-4, grad_norm=1.0, seconds=0.5,
    )  # fmt: skip


@pytest.fixture
def board(layout):
    return StatusBoard(layout.status_file, daemon_pid=1)


@pytest.fixture
def started(queue, layout, ledger, board):
    """A file of 40 rows with 5 steps taken."""
    path = write_jsonl(layout.waiting(Priority.NORMAL) / "a.jsonl", rows(40))
    queue.add(job_for(path, id="1"), path, identity_of(path.lstat()))
    queue.start(queue.next())
    taken = tuple(step(number, loss=number / 10) for number in range(1, 6))
    ledger.add_steps(taken)
    board.steps(taken)
    return queue


@pytest.mark.parametrize("saved, rows_left", [(3, 28), (0, 40)])
def test_what_no_checkpoint_has_is_not_trained(started, layout, ledger, board, saved, rows_left):
    if saved:
        publish(layout, 1, progress=Progress(global_step=saved, tokens_seen=300, samples_seen=12))

    assert forget_lost_steps(layout.models, ledger, board) == 5 - saved

    assert ledger.newest_step() == saved
    assert started.rows_left(besides=None) == (1, rows_left)
    shown = board.status
    assert (shown.current_step, shown.samples_seen) == (saved, 4 * saved)
    assert shown.loss == (saved / 10 if saved else None)


def test_only_scores_of_lost_steps_go_from_the_status(started, layout, ledger, board):
    for at in (2, 5):
        scored = SuiteScored(
            global_step=at, suite=f"at-{at}", overall=Score(rows=2, loss=1.0, exact_match=0.5)
        )
        board.suite_scored(scored)
    publish(layout, 1, progress=Progress(global_step=3))

    forget_lost_steps(layout.models, ledger, board)

    assert list(board.status.suite_scores) == ["at-2"]


def test_a_file_that_was_completed_in_a_lost_step_is_left_to_the_next_worker(started, layout, ledger, board):
    """It reopens the file, for which it asks the ledger whose steps came after the checkpoint."""
    job = started.find("1")
    ledger.finish_job(job, Outcome.COMPLETED, None, None)
    publish(layout, 1, progress=Progress(global_step=3))

    assert forget_lost_steps(layout.models, ledger, board) == 0

    assert ledger.completed_after(3) == ["1"]


def test_a_checkpoint_that_is_missing_for_the_moment_costs_no_history(started, layout, ledger, board):
    ledger.add_event("checkpoint", "saved")

    assert forget_lost_steps(layout.models, ledger, board) == 0

    assert ledger.newest_step() == 5


def test_a_worker_that_crashes_leaves_only_what_it_saved(rig):
    """The next one cannot be started, so nobody but the daemon says what is trained."""
    rig.launcher.environment["FAKE_CRASH"] = "a.jsonl:2"
    rig.configure(daemon={"backoff_max_s": 3600, "max_attempts": 99})
    rig.start()
    rig.drop("a.jsonl")

    rig.until(lambda: rig.events("worker_crashed"), "the crash")

    rig.until(lambda: rig.status()["current_step"] == 0, "the status of the base model")
    assert rig.read("SELECT * FROM steps") == []
