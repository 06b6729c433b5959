"""Who pays for the end of a worker, and what the next one is told."""

import pytest

from daemon.ledger.ledger import RetryHints
from daemon.supervision.retry import Retries
from daemon.supervision.verdict import Verdict
from tests.daemon.filled_queue import put, states
from trainer.protocol.job import FaultKind, Window
from trainer.protocol.messages import StepReport

NOTHING = RetryHints()


@pytest.fixture
def retries(queue, ledger, journal):
    return Retries(queue, ledger, journal)


@pytest.fixture
def job(queue, layout, ledger):
    """A job in training."""
    put(queue, layout, "a.jsonl", id="1")
    job, _ = queue.start(queue.next())
    ledger.freeze_settings("1", {"training": {"micro_batch_tokens": 100}})
    ledger.start_attempt("1")
    return job


def attempts(ledger):
    [row] = ledger._database.read("SELECT attempts FROM jobs").fetchall()
    return row["attempts"]


PAID_FOR = {
    FaultKind.BAD_DATA,
    FaultKind.CRASH,
    FaultKind.HANG,
    FaultKind.OUT_OF_MEMORY,
    FaultKind.GPU_OUT_OF_MEMORY,
}


@pytest.mark.parametrize("kind", [*FaultKind, None])
def test_a_file_pays_with_an_attempt_for_what_may_be_its_fault(retries, ledger, job, kind):
    verdict = Verdict(kind, "it ended", left_out=Window(first=1, last=1))

    retries.settle(job, verdict, may_blame_file=True, max_attempts=3)

    assert attempts(ledger) == int(kind in PAID_FOR)
    assert states(ledger) == {"1": "processing"}


def test_an_end_that_has_to_be_settled_again_is_paid_for_once(retries, ledger, job):
    for _ in range(2):  # as when what followed from it met a full disk
        retries.settle(job, Verdict(FaultKind.CRASH, "it ended"), may_blame_file=True, max_attempts=3)

    assert attempts(ledger) == 1


def test_what_a_file_has_paid_can_be_taken_back(retries, ledger, job):
    retries.settle(job, Verdict(FaultKind.CRASH, "it ended"), may_blame_file=True, max_attempts=3)

    ledger.forgive(job.id)

    assert attempts(ledger) == 0


@pytest.mark.parametrize("kind", FaultKind)
def test_a_file_pays_nothing_for_a_worker_that_was_leaving(retries, ledger, job, kind):
    verdict = Verdict(kind, "it ended", left_out=Window(first=1, last=1))

    retries.settle(job, verdict, may_blame_file=False, max_attempts=1)

    assert attempts(ledger) == 0
    assert ledger.retry_hints("1") == NOTHING
    assert states(ledger) == {"1": "processing"}


@pytest.mark.parametrize("kind", sorted(PAID_FOR))
def test_the_last_attempt_ends_the_job(retries, ledger, job, kind):
    for _ in range(2):
        ledger.start_attempt(job.id)
        retries.settle(job, Verdict(kind, "it ended"), may_blame_file=True, max_attempts=2)

    assert states(ledger) == {"1": "failed"}
    assert retries.failed_files == 1


@pytest.mark.parametrize("kind", FaultKind)
def test_only_a_lack_of_memory_makes_the_next_try_smaller(retries, ledger, job, kind):
    retries.settle(job, Verdict(kind, "it ended"), may_blame_file=True, max_attempts=3)

    lessons = ledger.retry_hints("1")
    assert lessons.micro_batch_tokens == (50 if kind.is_out_of_memory else None)


def test_what_a_job_began_with_is_halved_where_the_settings_leave_it_open(retries, ledger, job):
    ledger.freeze_settings("1", {"training": {"micro_batch_tokens": "auto"}})
    verdict = Verdict(FaultKind.OUT_OF_MEMORY, "it ended")

    retries.settle(job, verdict, may_blame_file=True, max_attempts=9)
    unknown = ledger.retry_hints("1").micro_batch_tokens
    ledger.limit_micro_batch("1", 80)  # as when it says that it has begun
    retries.settle(job, verdict, may_blame_file=True, max_attempts=9)

    assert (unknown, ledger.retry_hints("1").micro_batch_tokens) == (None, 40)
    noted = ledger._database.read("SELECT message FROM events WHERE kind='micro_batch'").fetchall()
    assert [row["message"] for row in noted] == [
        "a.jsonl: memory ran out before its first step; the next try starts the same way",
        "a.jsonl: the next try has 40 instead of 80 tokens at once",
    ]


def test_the_next_try_never_has_less_than_one_token_at_once(retries, ledger, job):
    limits = []

    for _ in range(8):
        verdict = Verdict(FaultKind.GPU_OUT_OF_MEMORY, "it ended")
        retries.settle(job, verdict, may_blame_file=True, max_attempts=99)
        limits.append(ledger.retry_hints("1").micro_batch_tokens)

    assert limits == [50, 25, 12, 6, 3, 1, 1, 1]


def test_a_bad_configuration_lets_the_settings_go(retries, ledger, job):
    retries.settle(job, Verdict(FaultKind.BAD_CONFIG, "no"), may_blame_file=True, max_attempts=1)

    assert ledger.frozen_settings("1") is None


# ---- not finite


def not_finite(first, last):
    return Verdict(FaultKind.NAN, "the loss is nan", left_out=Window(first=first, last=last))


def test_windows_are_left_out_twice_and_the_third_ends_the_job(retries, ledger, queue, layout, job):
    known = []

    for window in [(0, 1), (4, 4), (7, 9)]:
        retries.settle(job, not_finite(*window), may_blame_file=True, max_attempts=1)
        known.append((states(ledger)["1"], len(ledger.retry_hints("1").left_out)))

    assert known == [("processing", 1), ("processing", 2), ("failed", 2)]
    note = (layout.failed / "a.jsonl.reason.json").read_text()
    assert "the loss is nan (steps 8 to 10); left out before: steps 1 to 2, step 5" in note


def test_the_lines_of_the_steps_are_named(retries, ledger, job):
    ledger.add_steps([not_applied(3, lines=(30, 7)), not_applied(4, lines=(8,)), not_applied(5, lines=(9,))])

    retries.settle(job, not_finite(2, 3), may_blame_file=True, max_attempts=1)

    [event] = ledger._database.read("SELECT message FROM events WHERE kind='left_out'").fetchall()
    assert event["message"] == "a.jsonl: steps 3 to 4 with lines 7, 8, 30 left out: the loss is nan"


def test_of_many_lines_the_first_are_named(retries, ledger, job):
    ledger.add_steps([not_applied(1, lines=tuple(range(1, 31)))])

    retries.settle(job, not_finite(0, 0), may_blame_file=True, max_attempts=1)

    [event] = ledger._database.read("SELECT message FROM events WHERE kind='left_out'").fetchall()
    assert "19, 20 and 10 more left out" in event["message"]


def test_not_finite_without_a_place_ends_the_job_because_nothing_would_change(retries, ledger, job):
    retries.settle(job, Verdict(FaultKind.NAN, "nan"), may_blame_file=True, max_attempts=3)

    assert states(ledger) == {"1": "failed"}


def not_applied(file_step, *, lines):
    return StepReport(
        global_step=file_step, job_id="1", file_step=file_step, rows=1, tokens=1, supervised_tokens=1,
        loss=None, learning_rate=1e-4, grad_norm=None, seconds=0.1, not_applied="nan", lines=lines,
    )  # fmt: skip
