"""The history: what stays, what is forgotten, and that it can always be read."""

import sqlite3

import pytest

from daemon.files.identity import Identity
from daemon.ledger.database import UnusableLedger
from daemon.ledger.ledger import Ledger, RetryHints
from tests.daemon.ledger.entries import crash, read, step
from tests.support import FakeClock, job_for, rows, write_jsonl
from trainer.protocol.job import EarlierFile, FaultKind, JobRecord, Outcome, Reason, Window
from trainer.protocol.messages import Validated

IDENTITY = Identity(device=1, inode=2, size=200, mtime_ns=4)


@pytest.fixture
def job(tmp_path):
    return job_for(write_jsonl(tmp_path / "a.jsonl", rows(2)), id="1", rejected_lines=(3, 7))


def test_an_open_job_comes_back_as_it_was(ledger, job):
    job = job.model_copy(update={"format": "alpaca", "metadata": {"skill": {"reverse": 2}}})
    ledger.add_job(job, IDENTITY, "waiting")

    known = ledger.find_job(job.id)

    assert IDENTITY.size == job.size_bytes
    assert (known.job, known.state, known.identity) == (job, "waiting", IDENTITY)


def test_open_files_come_in_order_of_arrival_and_ended_ones_do_not(ledger, job):
    for id, state in [("3", "waiting"), ("1", "processing"), ("2", "completed"), ("4", "removed")]:
        ledger.add_job(job.model_copy(update={"id": id}), IDENTITY, state)

    assert [(file.job_id, file.is_waiting) for file in ledger.open_files()] == [("1", 0), ("3", 1)]
    assert ledger.newest_job_id() == "4"


def test_an_empty_ledger_has_no_newest_job(ledger):
    assert ledger.newest_job_id() is None


@pytest.mark.parametrize("name", ["\udcff\udcfe.jsonl", "😀.jsonl", "a\nb.jsonl", "a'\";--.jsonl"])
def test_any_file_name_survives(ledger, layout, job, name):
    ledger.add_job(job.model_copy(update={"name": name}), IDENTITY, "waiting")
    ledger.commit()

    [file] = ledger.open_files()

    assert file.name == ledger.find_job(file.job_id).job.name == name
    [(display,)] = read(layout, "SELECT display FROM jobs")
    assert display.isprintable()


@pytest.mark.parametrize("number", [0, 2**63 - 1, 2**63, 2**64 - 1])
def test_every_inode_and_device_number_survives(ledger, job, number):
    identity = Identity(device=number, inode=number, size=job.size_bytes, mtime_ns=-1)
    ledger.add_job(job, identity, "waiting")

    [file] = ledger.open_files()

    assert file.identity == ledger.find_job(file.job_id).identity == identity


@pytest.mark.parametrize("number", [2, 2**63])
@pytest.mark.parametrize("outcome", Outcome)
def test_the_ending_of_a_file_is_known_by_its_identity(ledger, job, outcome, number):
    identity = Identity(device=1, inode=number, size=job.size_bytes, mtime_ns=4)
    reason = Reason(kind=FaultKind.CRASH, message="it crashed", file="a.jsonl", at="now")
    ledger.add_job(job, identity, "processing")
    open_still = ledger.ending_of(identity)

    ledger.finish_job(job, outcome.value, None, reason)

    assert open_still is None
    assert ledger.ending_of(identity) == (outcome, reason)
    assert ledger.ending_of(Identity(1, number, job.size_bytes, 5)) is None


def test_a_finished_job_carries_the_sums_of_its_steps(ledger, layout, job):
    ledger.add_job(job, IDENTITY, "processing")
    ledger.add_steps([step(1, loss=2.0), step(2, loss=1.0), step(3, job_id="other", loss=9.0)])
    record = JobRecord(job_id="1", sha256=job.sha256, outcome=Outcome.COMPLETED, rows_trained=2, steps=2)

    ledger.finish_job(job, "completed", record, None)
    ledger.commit()

    columns = "state, rows_trained, steps, tokens, seconds, first_loss, last_loss"
    assert read(layout, f"SELECT {columns} FROM jobs") == [("completed", 2, 2, 20, 1.0, 2.0, 1.0)]


def test_settings_are_frozen_once_and_can_be_let_go(ledger, job):
    ledger.add_job(job, IDENTITY, "processing")
    before = ledger.frozen_settings("1")
    ledger.freeze_settings("1", {"training": {"epochs": 2}})
    frozen = ledger.frozen_settings("1")

    ledger.freeze_settings("1", None)

    assert (before, frozen, ledger.frozen_settings("1")) == (None, {"training": {"epochs": 2}}, None)


# ---- attempts


def test_an_attempt_is_on_disk_before_it_is_made(ledger, layout, job):
    ledger.add_job(job, IDENTITY, "processing")

    ledger.start_attempt("1")

    assert read(layout, "SELECT job_id, number, ended_at FROM attempts") == [("1", 1, None)]


def test_an_attempt_that_a_daemon_died_with_ends_at_its_last_sign_of_life_and_never_before_it_began(
    ledger, layout, job
):
    ledger.add_job(job, IDENTITY, "processing")
    ledger.start_attempt("1")
    [(began,)] = read(layout, "SELECT started_at FROM attempts")
    later = "9999-01-01T00:00:00.000Z"

    ledger.interrupt_attempts("1970-01-01T00:00:00.000Z")
    ledger.start_attempt("1")
    ledger.interrupt_attempts(later)
    ledger.start_attempt("1")

    ends = [(began, "interrupted"), (later, "interrupted"), (None, None)]
    assert read(layout, "SELECT ended_at, verdict FROM attempts ORDER BY number") == ends


def test_only_attempts_that_blame_the_file_are_counted(ledger, layout, job):
    ledger.add_job(job, IDENTITY, "processing")
    counts = []

    for is_charged in (True, False, True):
        ledger.start_attempt("1")
        counts.append(ledger.end_attempt("1", "crash", "boom", is_charged=is_charged))
    ledger.commit()

    assert counts == [1, 1, 2]
    assert read(layout, "SELECT number, verdict FROM attempts") == [(1, "crash"), (2, "crash"), (3, "crash")]


# ---- steps


def test_a_step_trained_again_replaces_its_first_report(ledger, layout):
    ledger.add_steps([step(1, loss=2.0)])
    ledger.add_steps([step(1, loss=1.5), step(2, loss=None)])
    ledger.commit()

    assert read(layout, "SELECT global_step, loss FROM steps") == [(1, 1.5), (2, None)]


@pytest.mark.parametrize(
    "global_step, left", [(0, []), (1, [1]), (2, [1, 2]), (3, [1, 2, 3]), (9, [1, 2, 3])]
)
def test_steps_after_the_checkpoint_are_forgotten(ledger, layout, global_step, left):
    ledger.add_steps([step(number, not_applied="the loss is nan") for number in (1, 2, 3)])
    for number in (1, 2, 3):
        ledger.add_validation(Validated(global_step=number, loss=0.5, rows=1))

    ledger.rewind(global_step)
    ledger.commit()

    assert [number for (number,) in read(layout, "SELECT global_step FROM steps")] == left
    assert [number for (number,) in read(layout, "SELECT global_step FROM not_applied")] == left
    assert [number for (number,) in read(layout, "SELECT global_step FROM validations")] == left


def test_recent_steps_stay_and_of_older_ones_every_hundredth(ledger, layout):
    ledger.add_steps([step(number) for number in range(1, 2501)])

    ledger.thin(1000)
    ledger.commit()

    left = [number for (number,) in read(layout, "SELECT global_step FROM steps ORDER BY 1")]
    assert left == [*range(100, 1501, 100), *range(1501, 2501)]


def test_thinning_again_and_again_keeps_the_bound(ledger, layout):
    for start in range(1, 10_001, 250):
        ledger.add_steps([step(number) for number in range(start, start + 250)])
        ledger.thin(1000)
    ledger.commit()

    [(number,)] = read(layout, "SELECT count(*) FROM steps")
    assert number <= 1000 + 1000 // 10 + 10_000 // 100


def test_thinning_waits_until_there_is_something_to_drop(ledger):
    ledger.add_steps([step(number) for number in range(1, 100)])
    statements = []
    ledger._database._connection.set_trace_callback(statements.append)

    ledger.thin(1000)

    assert statements == []


def test_old_events_are_dropped_too(ledger, layout, monkeypatch):
    monkeypatch.setattr("daemon.ledger.ledger.EVENTS_KEPT", 10)
    for number in range(30):
        ledger.add_event("test", f"event {number}")
    ledger.add_steps([step(number) for number in range(1, 1001)])

    ledger.thin(1000)
    ledger.commit()

    assert [message for (message,) in read(layout, "SELECT message FROM events")] == [
        f"event {number}" for number in range(20, 30)
    ]


def test_an_event_is_one_safe_line_with_its_time(ledger, layout):
    ledger.add_event("notice", "a\x1b[31m\nb", "1")
    ledger.commit()

    [(at, message)] = read(layout, "SELECT at, message FROM events")
    assert at == "2001-09-09T01:46:40.000Z"
    assert message.isprintable()


# ---- what was learned about a job


def test_a_job_begins_without_lessons(ledger, job):
    ledger.add_job(job, IDENTITY, "waiting")

    assert ledger.retry_hints("1") == ledger.retry_hints("unknown") == RetryHints(None, ())


def test_lessons_add_up_and_stay(ledger, layout, job):
    ledger.add_job(job, IDENTITY, "processing")

    ledger.leave_out("1", Window(first=0, last=3))
    ledger.limit_micro_batch("1", 4096)
    ledger.leave_out("1", Window(first=9, last=9))
    ledger.limit_micro_batch("1", 2048)
    ledger.commit()

    after = Ledger(layout.ledger_file, clock=FakeClock())
    assert after.retry_hints("1") == RetryHints(2048, (Window(first=0, last=3), Window(first=9, last=9)))
    after.close()


def test_every_begin_has_a_higher_number(ledger, job):
    other = job.model_copy(update={"id": "0"})
    for item in (job, other):
        ledger.add_job(item, IDENTITY, "waiting")
    before = [file.start_number for file in ledger.open_files()]

    numbers = [ledger.note_start(item) for item in (job, other, job)]

    assert before == [None, None]
    assert numbers == [1, 2, 3]
    assert [(file.is_waiting, file.start_number) for file in ledger.open_files()] == [(0, 2), (0, 3)]


# ---- steps that were not applied


def test_a_step_that_was_not_applied_is_noted_beside_the_others(ledger, layout):
    ledger.add_steps([step(1), step(2, loss=None, not_applied="the loss is nan", lines=(4, 9))])
    ledger.commit()

    assert read(layout, "SELECT * FROM not_applied") == [(2, "1", 2, "the loss is nan", "[4, 9]")]
    assert read(layout, "SELECT global_step FROM steps") == [(1,), (2,)]


@pytest.mark.parametrize("first, last, lines", [(0, 0, []), (0, 1, [4]), (1, 2, [4, 5]), (2, 9, [5])])
def test_lines_are_found_by_their_steps_as_a_plan_counts_them(ledger, first, last, lines):
    ledger.add_steps([step(2, not_applied="nan", lines=(4,)), step(3, not_applied="nan", lines=(5,))])

    assert ledger.lines_not_applied("1", Window(first=first, last=last)) == lines
    assert ledger.lines_not_applied("other", Window(first=first, last=last)) == []


# ---- crashes


def test_crashes_come_newest_first_with_their_times(ledger):
    for message in ("first", "second", "third"):
        ledger.add_crash(crash(message))

    newest = ledger.crashes(2)

    assert newest == [
        ("2001-09-09T01:46:40.000Z", crash("third")),
        ("2001-09-09T01:46:40.000Z", crash("second")),
    ]


def test_only_the_newest_crashes_are_kept(ledger, monkeypatch):
    monkeypatch.setattr("daemon.ledger.ledger.CRASHES_KEPT", 3)

    for number in range(9):
        ledger.add_crash(crash(f"number {number}"))

    assert [found.message for _, found in ledger.crashes(99)] == ["number 8", "number 7", "number 6"]


def test_of_long_last_words_the_end_is_kept_and_anything_can_be_stored(ledger):
    ledger.add_crash(crash("a\x1b[31m\udcff", details="x" * 10_000 + "the end \udcff"))

    [(_, kept)] = ledger.crashes(1)
    assert kept.message.isprintable()
    assert kept.details.endswith("the end \\udcff")
    assert len(kept.details) < 5_000


# ---- the file


def test_readers_see_what_is_committed_while_the_writer_goes_on(ledger, layout):
    ledger.add_event("test", "committed")
    ledger.commit()
    ledger.add_event("test", "not yet committed")

    assert read(layout, "SELECT message FROM events") == [("committed",)]


def test_a_reader_does_not_hold_the_writer_up(ledger, layout):
    reader = sqlite3.connect(f"file:{layout.ledger_file}?mode=ro", uri=True)
    cursor = reader.execute("SELECT * FROM jobs")

    ledger.add_event("test", "written meanwhile")
    ledger.commit()

    assert cursor.fetchall() == []
    reader.close()


def test_what_was_noted_is_there_after_a_restart(layout, job):
    first = Ledger(layout.ledger_file, clock=FakeClock())
    first.add_job(job, IDENTITY, "waiting")
    first.close()

    second = Ledger(layout.ledger_file, clock=FakeClock())

    assert second.find_job(job.id).job == job
    second.close()


@pytest.mark.parametrize("content", [b"no database", b"no database, for several pages" * 1000])
def test_a_damaged_ledger_is_set_aside_and_kept(layout, content):
    layout.ledger_file.write_bytes(content)

    ledger = Ledger(layout.ledger_file, clock=FakeClock())

    [aside] = layout.status.glob("ledger.sqlite3.corrupt-*")
    assert aside.read_bytes() == content
    assert list(ledger.open_files()) == []
    ledger.close()


def test_a_ledger_that_is_only_locked_is_not_set_aside(layout, job, monkeypatch):
    monkeypatch.setattr("daemon.ledger.database.LOCK_TIMEOUT_S", 0.0)
    first = Ledger(layout.ledger_file, clock=FakeClock())
    first.add_job(job, IDENTITY, "waiting")
    first.commit()
    first._database.read("BEGIN IMMEDIATE")

    with pytest.raises(UnusableLedger, match="locked"):
        Ledger(layout.ledger_file, clock=FakeClock())

    assert list(layout.status.glob("*.corrupt-*")) == []
    first.close()


# ---- rows of earlier files


def test_what_a_job_replays_is_frozen_and_released_with_its_settings(ledger, job):
    files = (
        EarlierFile(job_id="1", name="old.jsonl", sha256="cd", rows=5, rejected_lines=(2,)),
        EarlierFile(job_id="2", name="newer.jsonl", sha256="ef", rows=3),
    )
    ledger.add_job(job, IDENTITY, "processing")

    ledger.freeze_settings(job.id, {"training": {}}, files)
    frozen = ledger.replayed(job.id), ledger.replayed_by_open_jobs()
    ledger.freeze_settings(job.id, None)

    assert frozen == (files, {"1", "2"})
    assert (ledger.replayed(job.id), ledger.replayed_by_open_jobs()) == ((), set())


def test_replayed_rows_are_not_counted_as_rows_of_the_file(layout, ledger, job):
    ledger.add_job(job, IDENTITY, "processing")
    ledger.add_steps([step(number).model_copy(update={"replayed": 2}) for number in (1, 2)])

    ledger.finish_job(job, "completed", None, None)
    ledger.commit()

    assert read(layout, "SELECT rows_trained, steps FROM jobs") == [(2, 2)]
    assert read(layout, "SELECT sum(rows), sum(replayed) FROM steps") == [(2, 4)]
