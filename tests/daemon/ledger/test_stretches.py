"""The order of training is known for ever: through preemption, crashes and thinning."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.files.identity import Identity
from daemon.ledger.ledger import Ledger
from daemon.ledger.stretches import RecordedStretch, read_stretches
from daemon.ledger.trained_files import read_trained_files
from tests.daemon.ledger.entries import step
from tests.support import FakeClock
from trainer.protocol.job import Job, Priority


def stretch(first, last, job, file):
    return RecordedStretch(first_step=first, last_step=last, job_id=job, first_file_step=file)


def steps(text):
    """Return the steps of a life in which each letter is a step of that job."""
    taken = {}
    found = []
    for number, job in enumerate(text, start=1):
        taken[job] = taken.get(job, 0) + 1
        found.append(step(number, job_id=job, file_step=taken[job]))
    return found


def test_a_stretch_ends_where_another_job_comes_to_its_turn(layout, ledger):
    ledger.add_steps(steps("aaabba"))
    ledger.commit()

    assert read_stretches(layout.ledger_file) == [
        stretch(1, 3, "a", 1),
        stretch(4, 5, "b", 1),
        stretch(6, 6, "a", 4),
    ]


@pytest.mark.long
@given(st.text("abc", max_size=30), st.integers(1, 7))
def test_it_is_the_same_however_the_steps_were_reported(tmp_path_factory, text, size):
    folder = tmp_path_factory.mktemp("ledger")
    taken = steps(text)
    at_once, in_parts = folder / "once.sqlite3", folder / "parts.sqlite3"
    for path, width in ((at_once, len(taken) or 1), (in_parts, size)):
        ledger = Ledger(path, clock=FakeClock())
        for start in range(0, len(taken), width):
            ledger.add_steps(taken[start : start + width])
        ledger.close()

    assert read_stretches(at_once) == read_stretches(in_parts)
    counted = [job for found in read_stretches(at_once) for job in found.job_id * _length(found)]
    assert "".join(counted) == text


def _length(found):
    return found.last_step - found.first_step + 1


def test_what_is_trained_again_after_a_crash_replaces_what_was_lost(layout, ledger):
    ledger.add_steps(steps("aaabb"))

    ledger.rewind(2)
    ledger.add_steps([step(3, job_id="c", file_step=1), step(4, job_id="a", file_step=3)])
    ledger.commit()

    assert read_stretches(layout.ledger_file) == [
        stretch(1, 2, "a", 1),
        stretch(3, 3, "c", 1),
        stretch(4, 4, "a", 3),
    ]


def test_steps_that_are_reported_twice_are_one_stretch(layout, ledger):
    taken = steps("aaabb")
    ledger.add_steps(taken)

    ledger.add_steps(taken[1:])  # as a checkpoint has the newest ones
    ledger.commit()

    assert read_stretches(layout.ledger_file) == [stretch(1, 3, "a", 1), stretch(4, 5, "b", 1)]


def test_a_part_of_the_order_can_be_read(layout, ledger):
    ledger.add_steps(steps("aaabbbaa"))
    ledger.commit()

    assert read_stretches(layout.ledger_file, after=1, until=5) == [
        stretch(2, 3, "a", 2),
        stretch(4, 5, "b", 1),
    ]


def test_stretches_outlive_the_steps(layout, ledger):
    ledger.add_steps(steps("a" * 50 + "b" * 50))

    ledger.thin(keep=10)
    ledger.commit()

    assert read_stretches(layout.ledger_file) == [stretch(1, 50, "a", 1), stretch(51, 100, "b", 1)]


def test_the_files_between_two_steps_are_known_with_their_own_steps_there(layout, ledger):
    for name in "ab":
        job = Job(
            id=name, name=f"{name}.jsonl", priority=Priority.LOW, sha256=name * 64, rows=9, size_bytes=200
        )
        ledger.add_job(job, Identity(device=1, inode=2, size=200, mtime_ns=4), "processing")
    ledger.add_steps(steps("aabbaab"))
    ledger.commit()

    found = read_trained_files(layout.ledger_file, after=1, until=6)

    assert [(file.name, file.first_step, file.last_step, file.state) for file in found] == [
        ("a.jsonl", 2, 6, "processing"),
        ("b.jsonl", 3, 4, "processing"),
    ]
    assert read_trained_files(layout.ledger_file, after=7, until=9) == []
