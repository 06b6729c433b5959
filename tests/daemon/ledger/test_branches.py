"""When the model goes back, what it did since is kept apart, and the same steps can be noted again."""

import pytest

from daemon.ledger.branches import read_branches
from daemon.ledger.ledger import Ledger
from daemon.ledger.stretches import read_stretches
from tests.daemon.ledger.entries import read, step
from tests.support import FakeClock
from trainer.protocol.manifest import Branch, UndoneJob
from trainer.protocol.messages import Validated


def branch(number, *, to, left):
    return Branch(
        number=number,
        from_branch=number - 1,
        from_step=to,
        left_step=left,
        at="2026-01-01T00:00:00.000Z",
        why="rollback",
        reason="worse",
        undone=(UndoneJob(job_id="2", requeue=False),),
    )


@pytest.fixture
def trained(ledger):
    """Five steps: three of one job, two of another, and a validation after the third and the fifth."""
    ledger.add_steps([step(number, job_id="1") for number in (1, 2, 3)])
    ledger.add_steps([step(4, job_id="2", file_step=1), step(5, job_id="2", file_step=2, not_applied="nan")])
    for number in (3, 5):
        ledger.add_validation(Validated(global_step=number, loss=0.5, rows=2))
    return ledger


def test_steps_and_evaluations_after_the_target_are_kept_apart(layout, trained):
    trained.go_back(branch(1, to=2, left=5))
    trained.commit()

    assert read(layout, "SELECT global_step FROM steps") == [(1,), (2,)]
    assert read(layout, "SELECT branch, global_step FROM left_steps") == [(1, 3), (1, 4), (1, 5)]
    assert read(layout, "SELECT global_step FROM validations") == []
    assert read(layout, "SELECT branch, global_step FROM left_validations") == [(1, 3), (1, 5)]
    assert read(layout, "SELECT branch, global_step, reason FROM left_not_applied") == [(1, 5, "nan")]
    assert [(s.first_step, s.last_step) for s in read_stretches(layout.ledger_file)] == [(1, 2)]
    assert read(layout, "SELECT * FROM left_stretches") == [(1, 3, 3, "1", 3), (1, 4, 5, "2", 1)]


def test_the_same_steps_come_again_and_can_be_left_again(layout, trained):
    trained.go_back(branch(1, to=2, left=5))
    trained.add_steps([step(3, job_id="3", file_step=1), step(4, job_id="3", file_step=2)])
    trained.go_back(branch(2, to=3, left=4))
    trained.commit()

    assert read(layout, "SELECT global_step, job_id FROM steps") == [(1, "1"), (2, "1"), (3, "3")]
    left = read(layout, "SELECT branch, global_step, job_id FROM left_steps ORDER BY branch, global_step")
    assert left == [(1, 3, "1"), (1, 4, "2"), (1, 5, "2"), (2, 4, "3")]


def test_branches_are_told_with_their_reasons_and_counted(layout, trained):
    assert trained.branches.newest() == 0

    trained.go_back(branch(1, to=2, left=5))
    trained.commit()

    assert trained.branches.newest() == 1
    [found] = read_branches(layout.ledger_file)
    assert (found.number, found.from_step, found.left_step, found.reason) == (1, 2, 5, "worse")


def test_an_older_ledger_has_no_branches(layout):
    Ledger(layout.ledger_file, clock=FakeClock()).close()

    assert read_branches(layout.ledger_file) == []
