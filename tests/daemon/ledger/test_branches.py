"""When the model goes back, what it did since is kept apart; when it returns there, it comes back."""

import pytest

from daemon.ledger.branches import read_branches
from daemon.ledger.ledger import Ledger
from daemon.ledger.stretches import read_stretches
from tests.daemon.ledger.entries import read, step
from tests.support import FakeClock
from trainer.protocol.manifest import Branch, JobFate
from trainer.protocol.messages import Validated


def branch(number, *, of, to, left):
    return Branch(
        number=number,
        from_branch=of,
        from_step=to,
        left_step=left,
        at="2026-01-01T00:00:00.000Z",
        why="rollback",
        reason="worse",
        jobs=(JobFate(job_id="2", fate="undone"),),
    )


FIRST = branch(1, of=0, to=2, left=5)


@pytest.fixture
def trained(ledger):
    """Five steps: three of one job, two of another, and a validation after the third and the fifth."""
    ledger.add_steps([step(number, job_id="1") for number in (1, 2, 3)])
    ledger.add_steps([step(4, job_id="2", file_step=1), step(5, job_id="2", file_step=2, not_applied="nan")])
    for number in (3, 5):
        ledger.add_validation(Validated(global_step=number, loss=0.5, rows=2))
    return ledger


def stretches(layout):
    return [
        (s.first_step, s.last_step, s.job_id, s.first_file_step) for s in read_stretches(layout.ledger_file)
    ]


def test_steps_and_evaluations_after_the_target_are_kept_apart(layout, trained):
    trained.branches.begin(FIRST, [FIRST])
    trained.commit()

    assert read(layout, "SELECT global_step FROM steps") == [(1,), (2,)]
    assert read(layout, "SELECT branch, global_step FROM left_steps") == [(0, 3), (0, 4), (0, 5)]
    assert read(layout, "SELECT global_step FROM validations") == []
    assert read(layout, "SELECT branch, global_step FROM left_validations") == [(0, 3), (0, 5)]
    assert read(layout, "SELECT branch, global_step, reason FROM left_not_applied") == [(0, 5, "nan")]
    assert stretches(layout) == [(1, 2, "1", 1)]
    assert read(layout, "SELECT * FROM left_stretches") == [(0, 3, 3, "1", 3), (0, 4, 5, "2", 1)]


def test_what_is_returned_to_is_as_it_was(layout, trained):
    trained.commit()
    tables = ("steps", "validations", "not_applied", "stretches")
    before = {table: read(layout, f"SELECT * FROM {table}") for table in tables}
    trained.branches.begin(FIRST, [FIRST])
    trained.add_steps([step(3, job_id="3", file_step=1)])
    back = branch(2, of=0, to=5, left=3)

    trained.branches.begin(back, [FIRST, back])
    trained.commit()

    assert {table: read(layout, f"SELECT * FROM {table}") for table in tables} == before
    assert read(layout, "SELECT branch, global_step, job_id FROM left_steps") == [(1, 3, "3")]


def test_a_part_of_what_was_left_can_come_back(layout, trained):
    trained.branches.begin(FIRST, [FIRST])
    back = branch(2, of=0, to=4, left=2)

    trained.branches.begin(back, [FIRST, back])
    trained.commit()

    assert stretches(layout) == [(1, 3, "1", 1), (4, 4, "2", 1)]
    assert read(layout, "SELECT * FROM left_stretches") == [(0, 5, 5, "2", 2)]
    assert read(layout, "SELECT branch, global_step FROM left_steps") == [(0, 5)]


def test_the_same_steps_come_again_and_can_be_left_again(layout, trained):
    trained.branches.begin(FIRST, [FIRST])
    trained.add_steps([step(3, job_id="3", file_step=1), step(4, job_id="3", file_step=2)])
    second = branch(2, of=1, to=3, left=4)

    trained.branches.begin(second, [FIRST, second])
    trained.commit()

    assert read(layout, "SELECT global_step, job_id FROM steps") == [(1, "1"), (2, "1"), (3, "3")]
    left = read(layout, "SELECT branch, global_step, job_id FROM left_steps ORDER BY branch, global_step")
    assert left == [(0, 3, "1"), (0, 4, "2"), (0, 5, "2"), (1, 4, "3")]


def test_a_branch_is_followed_once_the_queue_has_followed(layout, trained):
    assert (trained.branches.newest(), trained.branches.newest_followed()) == (0, 0)

    trained.branches.begin(FIRST, [FIRST])
    assert (trained.branches.newest(), trained.branches.newest_followed()) == (1, 0)

    trained.branches.note_followed(1)
    trained.commit()
    assert trained.branches.newest_followed() == 1
    [found] = read_branches(layout.ledger_file)
    assert (found.number, found.from_step, found.left_step, found.reason) == (1, 2, 5, "worse")


def test_a_ledger_of_a_model_that_never_went_back_has_no_branches(layout):
    Ledger(layout.ledger_file, clock=FakeClock()).close()

    assert read_branches(layout.ledger_file) == []
