"""A file is touched, replaced or written to while it is trained: nothing is trained twice or lost."""

import os
import shutil

import pytest

from tests.support import rows, write_jsonl
from trainer.protocol.job import Outcome


def touch(path):
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))


def copy_over(path):
    """Put a copy with the same content in its place."""
    copy = path.parent.parent / "copy"
    shutil.copyfile(path, copy)
    copy.replace(path)


def replace(path):
    write_jsonl(path.parent.parent / "other", rows(5, start=100)).replace(path)


def write_into(path):
    with path.open("ab") as file:
        file.write(b"\n")


def in_training(rig, hold="a.jsonl:2", **environment):
    """Start a daemon whose worker holds in a.jsonl; return where that file lies."""
    rig.launcher.environment |= {"FAKE_HOLD": hold} | environment
    rig.start()
    rig.drop("a.jsonl")
    rig.until(lambda: len(rig.read("SELECT * FROM steps")) == 1 or None, "a step")
    return rig.layout.processing / "a.jsonl"


def ends(rig):
    """Return how jobs ended: name, state, steps."""
    return [tuple(row) for row in rig.read("SELECT display, state, steps FROM jobs ORDER BY id")]


@pytest.mark.parametrize("change", [touch, copy_over])
@pytest.mark.parametrize("is_seen", [True, False])
def test_a_touched_file_is_completed_as_usual(rig, change, is_seen):
    path = in_training(rig)

    change(path)
    if is_seen:
        rig.until(lambda: rig.read("SELECT * FROM jobs WHERE mtime_ns=?", path.stat().st_mtime_ns), "a look")
    rig.go()

    rig.until_in(Outcome.COMPLETED, "a.jsonl")
    assert rig.stop() == 0
    assert ends(rig) == [("a.jsonl", "completed", 3)]
    assert rig.events("removed") == []
    assert not path.exists()


@pytest.mark.parametrize("change", [touch, copy_over])
def test_a_file_that_is_touched_and_whose_daemon_is_restarted_goes_on(rig, change):
    path = in_training(rig)
    change(path)
    assert rig.stop() == 0

    rig.go()
    rig.start()

    rig.until_in(Outcome.COMPLETED, "a.jsonl")
    assert rig.stop() == 0
    assert ends(rig) == [("a.jsonl", "completed", 3)]
    assert rig.events("removed") == []


def test_a_file_touched_between_its_last_step_and_the_next_start_is_not_trained_again(rig, monkeypatch):
    path = in_training(rig)
    touch(path)
    with monkeypatch.context() as patch:
        patch.setattr("daemon.jobs.job_queue.JobQueue.look", lambda queue: [])
        rig.go()
        rig.until(lambda: ends(rig) == [("a.jsonl", "completed", 3)], "the end")
        assert rig.stop() == 0
    assert path.exists()

    rig.start()

    rig.until_in(Outcome.COMPLETED, "a.jsonl")
    assert rig.stop() == 0
    assert ends(rig) == [("a.jsonl", "completed", 3)]


@pytest.mark.parametrize("restarts", [True, False])
def test_a_replaced_file_is_completed_with_its_kept_content_and_the_new_one_trained_once(rig, restarts):
    path = in_training(rig)
    content = path.read_bytes()

    replace(path)
    if restarts:
        assert rig.stop() == 0
        rig.start()
    rig.until(lambda: path.with_name("a-2.jsonl").exists() and not path.exists(), "the new one to wait")
    rig.go()

    rig.until_in(Outcome.COMPLETED, "a.jsonl", "a-2.jsonl")
    assert rig.stop() == 0
    assert ends(rig) == [("a-2.jsonl", "completed", 3), ("a.jsonl", "completed", 5)]
    assert (rig.layout.finished(Outcome.COMPLETED) / "a-2.jsonl").read_bytes() == content
    assert not list(rig.layout.processing.iterdir())


def test_a_file_that_is_replaced_just_before_its_end_is_completed_and_the_new_one_trained_once(rig):
    path = in_training(rig)
    rig.launcher.environment.pop("FAKE_HOLD")

    replace(path)
    rig.go()

    rig.until(lambda: [end[1:] for end in ends(rig)] == [("completed", 3), ("completed", 5)], "both ends")
    rig.until_in(Outcome.COMPLETED, "a.jsonl")
    assert rig.stop() == 0
    assert not list(rig.layout.processing.iterdir())


def test_a_file_that_is_replaced_and_not_kept_counts_as_taken_out_and_the_new_one_is_trained_once(rig):
    rig.configure(forget={"kept_files_bytes": 0})
    path = in_training(rig)

    replace(path)
    rig.until(lambda: rig.events("removed"), "a look")
    rig.go()

    rig.until_in(Outcome.COMPLETED, "a.jsonl")
    assert rig.stop() == 0
    assert [state for _, state, _ in ends(rig)] == ["removed", "completed"]
    assert rig.events("trained")[-1].startswith("trained a.jsonl: 5 rows")


def test_a_file_that_is_written_to_is_another_one(rig):
    path = in_training(rig)

    write_into(path)
    rig.until(lambda: rig.events("removed"), "a look")
    rig.go()

    rig.until_in(Outcome.COMPLETED, "a.jsonl")
    assert rig.stop() == 0
    assert [state for _, state, _ in ends(rig)] == ["removed", "completed"]
    assert not list(rig.layout.processing.iterdir())


def test_a_crash_of_the_worker_continues_a_replaced_file_with_its_kept_content(rig):
    path = in_training(rig)
    worker = rig.launcher.launched[-1]

    replace(path)
    rig.until(lambda: path.with_name("a-2.jsonl").exists(), "a look")
    worker.kill()
    rig.go()

    rig.until_in(Outcome.COMPLETED, "a.jsonl", "a-2.jsonl")
    assert rig.stop() == 0
    assert ends(rig) == [("a-2.jsonl", "completed", 3), ("a.jsonl", "completed", 5)]
