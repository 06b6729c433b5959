"""What going back means for the files, also where the ledger has not followed the model yet."""

import pytest

from daemon.files.identity import Identity
from daemon.jobs.going_back import affected_files
from daemon.jobs.version_content import trained_since
from daemon.jobs.wishes import Requeue
from daemon.ledger.ledger import Ledger
from daemon.ledger.reader import UnreadableLedger
from tests.daemon.ledger.entries import step
from tests.health import publish
from tests.support import FakeClock, job_for, rows, write_jsonl
from trainer.protocol.checkpoints import read_manifest
from trainer.protocol.layout import Layout
from trainer.protocol.manifest import Branch


@pytest.fixture
def layout(tmp_path):
    """A working directory where each of a.jsonl, b.jsonl and c.jsonl was trained for two steps."""
    layout = Layout(tmp_path)
    layout.create()
    with_ledger(layout, lambda ledger: add_files(ledger, tmp_path))
    return layout


def add_files(ledger, folder):
    for number, name in enumerate("abc"):
        job = job_for(write_jsonl(folder / f"{name}.jsonl", rows(2, start=10 * number)), id=name)
        ledger.add_job(job, Identity(1, number + 1, job.size_bytes, 1), "completed")
        first = 2 * number + 1
        ledger.add_steps([step(first + i, job_id=name, file_step=i + 1) for i in (0, 1)])


def with_ledger(layout, change):
    ledger = Ledger(layout.ledger_file, clock=FakeClock())
    change(ledger)
    ledger.close()


def branch(number, *, of, to, left, why="rollback"):
    return Branch(
        number=number, from_branch=of, from_step=to, left_step=left, at="now", why=why, reason="", jobs=()
    )


def state(layout, sequence, *, step, branches=()):
    return read_manifest(publish(layout, sequence, step=step, branches=tuple(branches)))


def fates(layout, newest, target):
    found = affected_files(layout.ledger_file, newest, target, Requeue())
    return [(file.name[0], file.first_step, file.last_step, file.fate) for file in found]


BACK = branch(1, of=0, to=2, left=6)


@pytest.mark.parametrize("has_followed", [False, True])
def test_files_come_back_whether_or_not_the_ledger_has_followed(layout, has_followed):
    full = state(layout, 1, step=6)
    newest = state(layout, 2, step=2, branches=[BACK])
    if has_followed:
        with_ledger(layout, lambda ledger: ledger.branches.begin(BACK, [BACK]))

    found = fates(layout, newest, full)

    assert found == [("b", 3, 4, "trained"), ("c", 5, 6, "trained")]


def test_what_is_undone_already_is_not_undone_again(layout):
    first = state(layout, 1, step=2)
    newest = state(layout, 2, step=2, branches=[BACK])

    found = fates(layout, newest, first)

    assert found == []


def test_files_that_came_back_are_lost_again_before_the_ledger_has_followed(layout):
    forward = branch(2, of=0, to=6, left=2)
    with_ledger(layout, lambda ledger: ledger.branches.begin(BACK, [BACK]))
    target = state(layout, 1, step=4)
    newest = state(layout, 3, step=6, branches=[BACK, forward])

    found = fates(layout, newest, target)

    assert found == [("c", 5, 6, "undone")]


def test_a_version_of_what_was_left_has_its_files_before_the_ledger_has_followed(layout):
    full = state(layout, 1, step=6)
    newest = state(layout, 2, step=2, branches=[BACK])

    found = trained_since(layout.ledger_file, None, full, newest=newest)

    assert [(file.name[0], file.first_step, file.last_step) for file in found] == [
        ("a", 1, 2),
        ("b", 3, 4),
        ("c", 5, 6),
    ]


def test_steps_that_only_a_forgotten_file_left_behind_have_to_be_taken_in_first(layout):
    forgot = branch(1, of=0, to=2, left=6, why="forget")
    target = state(layout, 1, step=2)
    newest = state(layout, 2, step=4, branches=[forgot])

    with pytest.raises(UnreadableLedger, match="training_daemon start"):
        fates(layout, newest, target)
