"""What follows from a worker's exit: what is recorded, and when the next one starts."""

import sqlite3

import pytest

from daemon.journal.events import WorkerCrashed, WorkerFailed, WorkerLeft, WorkerNotFinite
from daemon.journal.journal import Journal
from daemon.status.board import StatusBoard
from daemon.supervision.completion import Completions
from daemon.supervision.retry import Retries
from daemon.supervision.verdict import Verdict
from daemon.supervision.worker_exit import NextStart, WorkerExit, plan_next_start
from daemon.supervision.worker_record import WorkerRecord
from daemon.supervision.worker_state import Absent, Busy
from tests.daemon.filled_queue import put
from trainer.config.schema import DaemonSettings
from trainer.protocol.job import FaultKind, Priority

SETTINGS = DaemonSettings(backoff_max_s=60, blocked_retry_s=30)
CRASHED = Verdict(FaultKind.CRASH, "it crashed")


class Recorded(list):
    """A subscriber that keeps the events."""

    def on_event(self, event, at):
        self.append(event)


@pytest.fixture
def events():
    return Recorded()


@pytest.fixture
def record():
    return WorkerRecord()


@pytest.fixture
def job(queue, layout, ledger):
    """A job in training."""
    put(queue, layout, "a.jsonl", id="1")
    job, _ = queue.start(queue.next())
    ledger.start_attempt("1")
    return job


@pytest.fixture
def exit_(queue, ledger, layout, record, events):
    journal = Journal([events])
    return WorkerExit(
        ledger,
        journal,
        StatusBoard(layout.status_file, daemon_pid=1),
        Completions(queue, ledger, journal),
        Retries(queue, ledger, journal),
        record,
        models=layout.models,
        clock=lambda: 1000.0,
    )


@pytest.mark.parametrize("failures, wait_s", [(0, 1), (1, 2), (2, 4), (5, 32), (6, 60), (99, 60)])
def test_crashes_in_a_row_wait_longer_and_longer(failures, wait_s):
    start = plan_next_start(CRASHED, has_job=True, failures=failures, settings=SETTINGS)

    assert start == NextStart(wait_s=wait_s, is_failure=True)


@pytest.mark.parametrize("kind", [FaultKind.ENVIRONMENT, FaultKind.BAD_CONFIG])
def test_what_is_wrong_outside_blocks_with_the_reason(kind):
    verdict = Verdict(kind, "OSError: no disk", reason="no disk")

    start = plan_next_start(verdict, has_job=True, failures=0, settings=SETTINGS)

    assert start == NextStart(wait_s=30, blocked="no disk")


def test_steps_that_are_not_finite_are_left_out_at_once_if_there_is_a_job_to_leave_them_out_of():
    verdict = Verdict(FaultKind.NAN, "nan")

    with_job = plan_next_start(verdict, has_job=True, failures=0, settings=SETTINGS)
    without = plan_next_start(verdict, has_job=False, failures=0, settings=SETTINGS)

    assert with_job == NextStart()
    assert without == NextStart(wait_s=1, is_failure=True)


@pytest.mark.parametrize("was_preempted, wait_s", [(False, 0), (True, 1)])
def test_a_worker_that_somebody_else_sent_away_is_not_replaced_at_once(was_preempted, wait_s):
    verdict = Verdict(None, "on request", was_preempted=was_preempted)

    start = plan_next_start(verdict, has_job=True, failures=3, settings=SETTINGS)

    assert start == NextStart(wait_s=wait_s)


@pytest.mark.parametrize("kind", FaultKind)
def test_a_crash_is_recorded_with_its_place(exit_, record, ledger, job, kind):
    record.state, record.jobs["1"] = Busy("1", Priority.NORMAL), job
    record.progress.global_step, record.progress.file_step = 12, 2

    exit_.carry_out(Verdict(kind, "it ended", "last words"))

    [(_, crash)] = ledger.crashes(10)
    assert (crash.kind, crash.message, crash.details) == (kind, "it ended", "last words")
    assert (crash.job_id, crash.display, crash.global_step, crash.file_step) == ("1", "a.jsonl", 12, 2)


def test_a_worker_without_a_file_crashes_without_one(exit_, record, ledger):
    record.progress.file_step = 2

    exit_.carry_out(CRASHED)

    [(_, crash)] = ledger.crashes(10)
    assert (crash.job_id, crash.display, crash.file_step) == (None, None, None)


def test_an_orderly_end_is_no_crash(exit_, ledger, events):
    exit_.carry_out(Verdict(None, "on request"))

    assert ledger.crashes(10) == []
    assert events == [WorkerLeft(reason="on request")]


@pytest.mark.parametrize(
    "kind, event",
    [
        (FaultKind.CRASH, WorkerCrashed),
        (FaultKind.NAN, WorkerNotFinite),
        (FaultKind.ENVIRONMENT, WorkerFailed),
        (None, WorkerLeft),
    ],
)
def test_every_exit_is_one_event_that_names_the_job(exit_, record, job, events, kind, event):
    record.state, record.jobs["1"] = Busy("1", Priority.NORMAL), job

    exit_.carry_out(Verdict(kind, "it ended", reason="it ended"))

    assert [type(item) for item in events if isinstance(item, WorkerLeft)] == [event]
    assert (events[0].job_id, events[0].file) == ("1", "a.jsonl")


def test_a_part_that_fails_is_done_again_and_those_before_it_are_not(exit_, record, ledger, monkeypatch):
    failures = iter([sqlite3.OperationalError("disk is full")])
    forget = exit_._completions.drop_unsaved

    def fail_once():
        for error in failures:
            raise error
        forget()

    monkeypatch.setattr(exit_._completions, "drop_unsaved", fail_once)
    with pytest.raises(sqlite3.OperationalError):
        exit_.carry_out(CRASHED)

    exit_.carry_out(CRASHED)

    assert len(ledger.crashes(10)) == 1
    assert record.state == Absent(1001.0)
    assert record.failures == 1


def test_a_fault_without_words_still_blocks_and_is_named():
    from daemon.supervision.verdict import End, judge
    from trainer.protocol.messages import Faulted

    word = Faulted(fault=FaultKind.ENVIRONMENT, error_class="TimeoutError", message="", traceback=None)

    verdict = judge(End(exit_code=1, last_word=word))

    start = plan_next_start(verdict, has_job=True, failures=0, settings=SETTINGS)
    assert (start.blocked, start.wait_s) == ("TimeoutError", 30)


def test_the_place_of_one_crash_is_not_that_of_the_next(exit_, record, ledger, job):
    record.state, record.jobs["1"] = Busy("1", Priority.NORMAL), job
    record.progress.file_step = 77
    exit_.carry_out(CRASHED)
    record.state, record.jobs["1"] = Busy("1", Priority.NORMAL), job

    exit_.carry_out(CRASHED)

    assert [crash.file_step for _, crash in ledger.crashes(10)] == [None, 77]
