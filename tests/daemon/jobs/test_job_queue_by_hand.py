"""What people do to the queue's folders by hand, and how the queue follows."""

import os

import pytest

from daemon.jobs.job_queue import Ending
from tests.daemon.filled_queue import events, order_of, put, states
from tests.support import rows, write_jsonl
from trainer.protocol.job import Outcome, Priority


@pytest.mark.parametrize("sees", ["rescan", "event", "event of the old name first"])
def test_a_file_moved_by_hand_changes_its_priority_and_keeps_its_place(queue, layout, ledger, sees):
    first = put(queue, layout, "a.jsonl", id="1", priority=Priority.LOW)
    put(queue, layout, "b.jsonl", id="2", priority=Priority.HIGH)
    target = layout.waiting(Priority.HIGH) / "a.jsonl"

    first.rename(target)
    paths = {"rescan": [], "event": [target], "event of the old name first": [first, target]}[sees]
    strangers = [queue.notice(path) for path in paths] if paths else queue.look()

    assert not any(strangers)
    assert queue.next().id == "1"
    assert queue.next().priority == Priority.HIGH
    assert queue.look() == []
    assert order_of(queue) == ["a.jsonl", "b.jsonl"]
    assert states(ledger) == {"1": "completed", "2": "completed"}


def test_a_file_moved_there_and_back_is_still_one_job(queue, layout):
    path = put(queue, layout, "a.jsonl", id="1")
    elsewhere = layout.waiting(Priority.LOW) / "a.jsonl"

    path.rename(elsewhere)
    queue.look()
    elsewhere.rename(path)
    queue.look()

    assert len(queue) == 1
    assert order_of(queue) == ["a.jsonl"]


@pytest.mark.parametrize("looks", [True, False])
def test_a_file_renamed_by_hand_is_the_same_job_under_its_new_name(queue, layout, ledger, looks):
    path = put(queue, layout, "a.jsonl", id="1")
    renamed = path.with_name("z.jsonl")

    path.rename(renamed)
    strangers = queue.look() if looks else [queue.notice(path), queue.notice(renamed)]

    assert not any(strangers)
    assert (queue.next().id, queue.next().name) == ("1", "z.jsonl")
    assert len(queue) == 1
    assert events(ledger, "removed") == []


def test_a_name_that_no_training_file_bears_leaves_the_queue(queue, layout, ledger):
    path = put(queue, layout, "a.jsonl", id="1")

    path.rename(path.with_name("a.jsonl.part"))
    strangers = queue.look()

    assert strangers == []
    assert queue.next() is None
    assert states(ledger) == {"1": "removed"}


def test_a_file_put_straight_into_a_folder_is_to_be_checked(queue, layout):
    path = write_jsonl(layout.waiting(Priority.HIGH) / "by-hand.jsonl", rows(1))

    by_event = queue.notice(path)
    by_rescan = queue.look()

    assert by_event == path
    assert by_rescan == [path]
    assert queue.next() is None


@pytest.mark.parametrize("name", [".hidden.jsonl", "a.jsonl.tmp", "notes.txt"])
def test_what_is_not_meant_for_training_is_left_alone(queue, layout, name):
    path = write_jsonl(layout.waiting(Priority.HIGH) / name, rows(1))

    assert queue.notice(path) is None
    assert queue.look() == []


def test_a_folder_in_the_queue_is_no_training_file(queue, layout):
    folder = layout.waiting(Priority.HIGH) / "folder.jsonl"
    folder.mkdir()

    assert queue.notice(folder) is None
    assert queue.look() == []


def test_a_file_removed_by_hand_is_forgotten_and_noted(queue, layout, ledger):
    path = put(queue, layout, "a.jsonl", id="1")
    put(queue, layout, "b.jsonl", id="2")

    path.unlink()
    queue.look()

    assert queue.next().id == "2"
    assert len(queue) == 1
    assert states(ledger)["1"] == "removed"
    assert events(ledger, "removed") == ["a.jsonl was taken out of the queue"]


def test_a_file_that_vanished_unnoticed_is_passed_over_when_its_turn_comes(queue, layout, ledger):
    path = put(queue, layout, "a.jsonl", id="1")
    put(queue, layout, "b.jsonl", id="2")

    path.unlink()
    started = queue.start(queue.next())

    assert started is None
    assert queue.next().id == "2"
    assert states(ledger)["1"] == "removed"


@pytest.mark.parametrize("is_replaced", [True, False])
def test_a_file_that_changed_unnoticed_under_its_name_is_checked_again_when_its_turn_comes(
    queue, layout, ledger, is_replaced
):
    path = put(queue, layout, "a.jsonl", id="1")
    queue.look()

    if is_replaced:
        write_jsonl(layout.base / "other.jsonl", rows(3)).replace(path)
    else:
        os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    started = queue.start(queue.next())

    assert started is None
    assert states(ledger) == {"1": "removed"}
    assert path.exists()
    assert queue.next() is None
    assert queue.look() == [path]


def test_a_file_that_is_seen_to_change_under_its_name_loses_its_turn_at_once(queue, layout, ledger):
    path = put(queue, layout, "a.jsonl", id="1", priority=Priority.HIGH)
    put(queue, layout, "b.jsonl", id="2")

    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    stranger, again = queue.notice(path), queue.notice(path)

    assert stranger == again == path
    assert states(ledger) == {"1": "removed", "2": "waiting"}
    assert queue.next().id == "2"
    assert queue.look() == [path]


def test_a_file_removed_while_it_is_trained_does_not_harm_the_others(queue, layout):
    put(queue, layout, "gone.jsonl", id="1")
    put(queue, layout, "other.jsonl", id="2")
    gone, path = queue.start(queue.next())
    queue.hold_until_saved("1")
    other, _ = queue.start(queue.next())

    path.unlink()
    queue.look()
    queue.finish([Ending(job=job, outcome=Outcome.COMPLETED) for job in (gone, other)])

    assert [path.name for path in layout.finished(Outcome.COMPLETED).iterdir()] == ["other.jsonl"]
    assert len(queue) == 0


@pytest.mark.parametrize("target_priority", [Priority.HIGH, Priority.LOW])
def test_another_file_under_the_name_of_one_that_was_moved_on_is_a_new_one(queue, layout, target_priority):
    path = put(queue, layout, "a.jsonl", id="1")
    path.rename(layout.waiting(target_priority) / "a.jsonl")
    write_jsonl(path, rows(3))

    strangers = queue.look()

    assert set(strangers) == {path}
    assert (queue.next().id, queue.next().priority) == ("1", target_priority)


# ---- files that are being trained


def test_a_begun_file_that_is_renamed_stays_the_job_it_is(queue, layout, ledger):
    put(queue, layout, "a.jsonl", id="1")
    begun, path = queue.start(queue.next())

    path.rename(path.with_name("z.jsonl"))
    strangers = queue.look()

    assert strangers == []
    assert [(job.id, job.name) for job in queue.started()] == [("1", "z.jsonl")]
    queue.finish([Ending(job=begun, outcome=Outcome.COMPLETED)])
    assert (layout.finished(Outcome.COMPLETED) / "z.jsonl").exists()


@pytest.mark.parametrize("sees", ["rescan", "event"])
def test_a_begun_file_that_is_moved_back_goes_on_where_it_was(queue, layout, ledger, sees):
    put(queue, layout, "a.jsonl", id="1")
    _, path = queue.start(queue.next())
    target = layout.waiting(Priority.HIGH) / "a.jsonl"

    path.rename(target)
    strangers = queue.look() if sees == "rescan" else [queue.notice(target)]

    assert not any(strangers)
    assert [job.id for job in queue.started()] == ["1"]
    assert path.exists()
    assert not target.exists()
    assert states(ledger) == {"1": "processing"}


def test_only_the_very_file_of_a_completed_job_is_opened_again(queue, layout):
    put(queue, layout, "a.jsonl", id="1")
    begun, _ = queue.start(queue.next())
    queue.finish([Ending(job=begun, outcome=Outcome.COMPLETED)])
    path = layout.finished(Outcome.COMPLETED) / "a.jsonl"
    path.unlink()
    write_jsonl(path, rows(9))  # another file that came to have the name

    assert queue.reopen("1") is None
    assert path.exists()
