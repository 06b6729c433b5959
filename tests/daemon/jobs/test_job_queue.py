"""The queue: order, and the way of a file through its folders."""

import json
import os
import sqlite3
import time

import pytest

import daemon.files.folder
from daemon.files.identity import identity_of
from daemon.jobs.job_queue import Ending, JobQueue
from daemon.jobs.queue_index import Entry
from daemon.journal.journal import Journal
from tests.daemon.filled_queue import events, order_of, put, states
from tests.daemon.ledger.entries import step
from tests.support import job_for, rows, write_jsonl
from trainer.protocol.job import FaultKind, JobRecord, Outcome, Priority, Reason


def test_the_most_urgent_file_comes_first_and_then_the_oldest(queue, layout):
    put(queue, layout, "a.jsonl", id="4", priority=Priority.LOW)
    put(queue, layout, "b.jsonl", id="3")
    put(queue, layout, "c.jsonl", id="2")
    put(queue, layout, "d.jsonl", id="5", priority=Priority.HIGH)

    names = order_of(queue)

    assert names == ["d.jsonl", "c.jsonl", "b.jsonl", "a.jsonl"]


def test_an_empty_queue_has_nothing_next(queue):
    assert queue.next() is None
    assert queue.upcoming() is None
    assert len(queue) == 0


def test_a_file_that_was_begun_comes_before_a_more_urgent_one(queue, layout):
    put(queue, layout, "begun.jsonl", id="1", priority=Priority.LOW)
    queue.start(queue.next())

    put(queue, layout, "urgent.jsonl", id="2", priority=Priority.HIGH)

    assert queue.next().name == "begun.jsonl"
    assert queue.upcoming()[0].name == "urgent.jsonl"


# ---- the way of a file


def test_starting_moves_the_file_and_notes_it(queue, layout, ledger):
    path = put(queue, layout, "a.jsonl", id="1")

    job, moved = queue.start(queue.next())

    assert moved == layout.processing / "a.jsonl"
    assert moved.exists()
    assert not path.exists()
    assert states(ledger) == {"1": "processing"}
    assert queue.processing() == [job]
    assert queue.counts().processing == 1


def test_starting_what_is_begun_already_moves_nothing(queue, layout):
    put(queue, layout, "a.jsonl", id="1")
    job, path = queue.start(queue.next())

    assert queue.start(job) == (job, path)


@pytest.mark.parametrize("outcome", Outcome)
def test_finishing_moves_the_file_to_the_folder_of_its_outcome(queue, layout, ledger, outcome):
    put(queue, layout, "a.jsonl", id="1")
    job, path = queue.start(queue.next())

    queue.finish([Ending(job=job, outcome=outcome)])

    assert (layout.finished(outcome) / "a.jsonl").exists()
    assert not path.exists()
    assert states(ledger) == {"1": outcome.value}
    assert len(queue) == 0


@pytest.mark.parametrize(
    "name", ["a.jsonl", "漢" * 83 + ".jsonl", "\udcff" * 249 + ".jsonl"], ids=["short", "wide", "bytes"]
)
def test_a_reason_lies_beside_the_file_whatever_its_name(queue, layout, name):
    put(queue, layout, name, id="1")
    job, _ = queue.start(queue.next())
    reason = Reason(kind=FaultKind.CRASH, message="it crashed", file="a.jsonl", at="now")

    queue.finish([Ending(job=job, outcome=Outcome.FAILED, reason=reason)])

    [note] = layout.failed.glob("*.reason.json")
    assert json.loads(note.read_text())["message"] == "it crashed"
    assert (layout.failed / name).exists()
    assert queue.counts().failed == 1


def test_a_reason_that_cannot_be_written_does_not_leave_the_queue_half_done(
    queue, layout, ledger, monkeypatch
):
    put(queue, layout, "bad.jsonl", id="1")
    put(queue, layout, "good.jsonl", id="2")
    bad, _ = queue.start(queue.next())
    queue.hold_until_saved("1")
    good, _ = queue.start(queue.next())
    reason = Reason(kind=FaultKind.CRASH, message="it crashed", file="bad.jsonl", at="now")

    def fail(*arguments, **options):
        raise OSError("no space left")

    monkeypatch.setattr("daemon.jobs.reasons.write_json", fail)
    with pytest.raises(OSError, match="no space left"):
        queue.finish(
            [
                Ending(job=bad, outcome=Outcome.FAILED, reason=reason),
                Ending(job=good, outcome=Outcome.COMPLETED),
            ]
        )
    queue.look()

    assert len(queue) == 0
    assert states(ledger) == {"1": "failed", "2": "completed"}


def test_a_name_that_is_taken_gets_a_number_and_nothing_is_overwritten(queue, layout, ledger):
    for id in ("1", "2", "3"):
        put(queue, layout, "a.jsonl", id=id)
        job, _ = queue.start(queue.next())
        queue.finish([Ending(job=job, outcome=Outcome.COMPLETED)])

    names = sorted(path.name for path in layout.finished(Outcome.COMPLETED).iterdir())
    stored = [bytes(row["name"]) for row in ledger._database.read("SELECT name FROM jobs ORDER BY id")]
    assert names == ["a-2.jsonl", "a-3.jsonl", "a.jsonl"]
    assert stored == [b"a.jsonl", b"a-2.jsonl", b"a-3.jsonl"]


def test_the_same_name_may_wait_in_every_folder(queue, layout):
    for id, priority in enumerate(Priority):
        put(queue, layout, "a.jsonl", id=str(id), priority=priority)

    assert len(queue) == 3
    assert len(order_of(queue)) == 3


def test_the_second_of_two_names_in_processing_keeps_its_own_file(queue, layout):
    put(queue, layout, "a.jsonl", id="1")
    first, _ = queue.start(queue.next())
    queue.hold_until_saved("1")
    put(queue, layout, "a.jsonl", id="2", priority=Priority.HIGH)

    second, path = queue.start(queue.next())

    assert (first.name, second.name) == ("a.jsonl", "a-2.jsonl")
    assert path.exists()


def test_a_trained_file_is_not_chosen_again_while_it_waits_for_its_checkpoint(queue, layout):
    put(queue, layout, "a.jsonl", id="1")
    put(queue, layout, "b.jsonl", id="2")
    queue.start(queue.next())

    queue.hold_until_saved("1")

    assert queue.next().id == "2"
    assert queue.started() == []
    assert queue.is_open("1")
    assert (layout.processing / "a.jsonl").exists()


def test_what_was_not_saved_is_trained_again_when_the_worker_is_gone(queue, layout):
    put(queue, layout, "a.jsonl", id="1")
    queue.start(queue.next())
    queue.hold_until_saved("1")

    queue.release_unsaved()

    assert queue.next().id == "1"


def test_files_of_every_folder_are_counted_without_our_notes(queue, layout):
    for priority in (Priority.HIGH, Priority.NORMAL, Priority.LOW):
        put(queue, layout, "a.jsonl", id=priority.value, priority=priority)
    write_jsonl(layout.failed / "x.jsonl", rows(1))
    (layout.failed / "x.jsonl.reason.json").write_text("{}")
    (layout.failed / "x.jsonl.rejected.jsonl").write_text("{}")
    write_jsonl(layout.finished(Outcome.SKIPPED) / "y.jsonl", rows(1))

    counts = queue.counts()

    assert counts.model_dump() == {
        "high": 1, "normal": 1, "low": 1, "processing": 0, "failed": 1, "skipped": 1, "recently_completed": 0,
    }  # fmt: skip


# ---- set aside


def test_a_file_that_is_set_aside_waits_again_under_its_id_before_later_ones(queue, layout, ledger):
    put(queue, layout, "a.jsonl", id="1", priority=Priority.LOW)
    queue.start(queue.next())
    put(queue, layout, "b.jsonl", id="2", priority=Priority.LOW)

    queue.preempt("1")

    assert (layout.waiting(Priority.LOW) / "a.jsonl").exists()
    assert list(layout.processing.iterdir()) == []
    assert (queue.is_waiting("1"), queue.started()) == (True, [])
    assert states(ledger) == {"1": "waiting", "2": "waiting"}
    assert order_of(queue) == ["a.jsonl", "b.jsonl"]


def test_a_file_that_is_set_aside_takes_another_name_where_its_own_is_taken(queue, layout, ledger):
    put(queue, layout, "a.jsonl", id="1")
    queue.start(queue.next())
    put(queue, layout, "a.jsonl", id="2")

    queue.preempt("1")

    assert (queue.next().id, queue.next().name) == ("1", "a-2.jsonl")
    assert order_of(queue) == ["a-2.jsonl", "a.jsonl"]


def test_a_file_that_has_vanished_cannot_be_set_aside_and_is_noted(queue, layout, ledger):
    put(queue, layout, "a.jsonl", id="1")
    _, path = queue.start(queue.next())
    path.unlink()

    queue.preempt("1")

    assert len(queue) == 0
    assert states(ledger) == {"1": "removed"}


def test_setting_aside_is_finished_when_it_is_done_again(queue, layout, ledger, monkeypatch):
    put(queue, layout, "a.jsonl", id="1")
    queue.start(queue.next())

    def fail(*arguments):
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(ledger, "place_job", fail)
        with pytest.raises(OSError, match="no space left"):
            queue.preempt("1")
    queue.preempt("1")

    assert states(ledger) == {"1": "waiting"}
    assert order_of(queue) == ["a.jsonl"]


def test_begun_files_come_in_the_order_of_their_last_begins(queue, layout):
    for id in ("1", "2", "3"):
        put(queue, layout, f"{id}.jsonl", id=id)
    for id in ("3", "1", "2"):
        queue.start(queue.find(id))
    queue.preempt("3")

    queue.start(queue.find("3"))
    queue.start(queue.find("1"))  # as after a crash: not another begin

    assert [job.id for job in queue.started()] == ["1", "2", "3"]
    assert queue.next().id == "1"


# ---- many files


def test_choosing_and_noticing_cost_the_same_however_many_files_wait(queue, layout, ledger, monkeypatch):
    stray = write_jsonl(layout.waiting(Priority.LOW) / "stray.jsonl", rows(1))
    identity = identity_of(stray.lstat())

    def seconds():
        """Best of several, of this thread's own: what else the machine does must not count."""
        best = float("inf")
        for _ in range(7):
            started = time.thread_time()
            for _ in range(200):
                queue.next()
                queue.notice(stray)
            best = min(best, time.thread_time() - started)
        return best

    few = seconds()
    job = job_for(stray, id="0")
    for number in range(20_000):
        name = f"{number}.jsonl"
        queue._insert(
            Entry.of(
                job.model_copy(update={"id": f"{number:06}", "name": name}),
                layout.waiting(Priority.NORMAL) / name,
                identity.__class__(0, number, 1, 1),
            )
        )
    many = seconds()

    assert len(queue) == 20_000
    assert queue.next().id == "000000"
    assert many < 8 * few


def test_a_folder_that_has_not_changed_is_not_read_again(queue, layout, monkeypatch):
    put(queue, layout, "a.jsonl", id="1")
    long_ago = time.time_ns() - 10 * daemon.files.folder.TICK_NS
    for priority in Priority:
        os.utime(layout.waiting(priority), ns=(long_ago, long_ago))
    queue.look()
    read = []
    monkeypatch.setattr(daemon.files.folder.os, "listdir", lambda path: read.append(path) or [])

    queue.look()

    assert read == []
    assert queue.next().id == "1"


# ---- ledger and outcome


def test_the_sums_of_a_finished_job_stand_in_the_ledger(queue, layout, ledger):
    put(queue, layout, "a.jsonl", id="1")
    job, _ = queue.start(queue.next())
    record = JobRecord(job_id="1", sha256=job.sha256, outcome=Outcome.COMPLETED, rows_trained=2, steps=1)

    queue.finish([Ending(job=job, outcome=Outcome.COMPLETED, record=record)])

    row = ledger._database.read("SELECT * FROM jobs").fetchone()
    assert (row["rows_trained"], row["steps"], row["state"]) == (2, 1, "completed")
    assert row["finished_at"] is not None


def test_a_restart_finds_nothing_new_in_an_orderly_queue(queue, layout, ledger):
    put(queue, layout, "a.jsonl", id="1")

    after = JobQueue(layout, ledger, Journal([]))

    assert after.recover() == []
    assert after.next().id == "1"


def test_that_a_job_is_finished_is_recorded_once_with_its_state(queue, layout, ledger, monkeypatch):
    put(queue, layout, "a.jsonl", id="1")
    job, _ = queue.start(queue.next())
    commit = ledger._database.commit

    def full():
        ledger._database._connection.rollback()
        ledger._database._is_taken_back = True
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(ledger._database, "commit", full)
    with pytest.raises(sqlite3.OperationalError):
        queue.finish([Ending(job=job, outcome=Outcome.COMPLETED)])
    monkeypatch.setattr(ledger._database, "commit", commit)

    queue.finish([Ending(job=job, outcome=Outcome.COMPLETED)])

    assert states(ledger) == {"1": "completed"}
    assert events(ledger, "finished") == ["completed a.jsonl"]


def test_a_file_that_was_reopened_but_not_noted_is_not_called_gone(queue, layout, ledger, monkeypatch):
    put(queue, layout, "a.jsonl", id="1")
    job, _ = queue.start(queue.next())
    queue.finish([Ending(job=job, outcome=Outcome.COMPLETED)])
    place_job = ledger.place_job

    def full(*arguments):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(ledger, "place_job", full)
    with pytest.raises(sqlite3.OperationalError):
        queue.reopen("1")
    monkeypatch.setattr(ledger, "place_job", place_job)

    assert queue.reopen("1") == "a.jsonl"
    assert states(ledger) == {"1": "waiting"}


def test_files_that_are_still_to_be_trained_are_counted_with_their_rows(queue, layout):
    for number in "1234":
        put(queue, layout, f"{number}.jsonl", id=number)  # 3 rows each
    being_trained, _ = queue.start(queue.next())
    ended, _ = queue.start(queue.upcoming()[0])
    queue.hold_until_saved(ended.id)

    assert queue.rows_left(besides=being_trained.id) == (2, 6)
    assert queue.rows_left(besides=None) == (3, 9)


@pytest.mark.parametrize("epochs, left", [(1, 1), (2, 2)])
def test_rows_that_were_trained_before_a_stop_or_an_urgent_file_are_not_left(
    queue, ledger, layout, epochs, left
):
    put(queue, layout, "urgent.jsonl", id="1", priority=Priority.HIGH)
    put(queue, layout, "long.jsonl", id="2")  # 3 rows, as the other
    long, _ = queue.start(queue.find("2"))
    ledger.freeze_settings("2", {"training": {"epochs": epochs}})
    ledger.add_steps([step(1, job_id="2"), step(2, job_id="2")])  # of a row each

    assert queue.rows_left(besides=None) == (2, 3 + left)

    queue.preempt(long.id)

    assert queue.rows_left(besides="1") == (1, left)
