"""What the end of a worker means."""

import pytest

from daemon.supervision.verdict import EXPLAINED, End, Verdict, backoff_s, judge
from trainer.protocol.job import FaultKind, Window
from trainer.protocol.messages import CONNECTION_LOST, Faulted, Leaving

LEAVING = Leaving(reason="on request")
LAST_WORDS = "last words"


def faulted(kind=FaultKind.CRASH, **fields):
    usual = {"error_class": "OSError", "message": "no space left", "traceback": "Traceback …"}
    return Faulted(fault=kind, **(usual | fields))


def test_a_worker_that_left_as_told_has_no_fault():
    assert judge(End(exit_code=0, last_word=LEAVING, was_dismissed=True)) == Verdict(None, "on request")


def test_a_worker_that_left_as_told_has_no_fault_even_if_its_exit_had_to_be_forced():
    end = End(exit_code=-9, last_word=LEAVING, was_dismissed=True, killed_because="it was slow")

    assert judge(end) == Verdict(None, "on request")


@pytest.mark.parametrize("kind", [kind for kind in FaultKind if kind not in EXPLAINED])
@pytest.mark.parametrize("exit_code", [1, 0, -9, -11])
def test_what_the_worker_says_itself_is_believed(kind, exit_code):
    end = End(exit_code=exit_code, last_word=faulted(kind), stderr_tail=LAST_WORDS, oom_kills=1)

    assert judge(end) == Verdict(kind, "OSError: no space left", "Traceback …", "no space left")


@pytest.mark.parametrize("kind", EXPLAINED)
def test_what_is_explained_to_people_needs_no_class_of_an_exception(kind):
    said = judge(End(exit_code=1, last_word=faulted(kind, error_class="BadConfig", message="epochs is 0")))
    unsaid = judge(End(exit_code=1, last_word=faulted(kind, error_class="BadConfig", message="")))

    assert (said.message, unsaid.message) == ("epochs is 0", "BadConfig")


def test_the_steps_that_must_be_left_out_are_passed_on():
    window = Window(first=3, last=5)

    assert judge(End(exit_code=1, last_word=faulted(FaultKind.NAN, left_out=window))).left_out == window


@pytest.mark.parametrize(
    "exit_code, last_word, message",
    [
        (0, None, "exited with code 0"),
        (1, None, "exited with code 1"),
        (13, LEAVING, "exited with code 13"),
        (-9, None, "killed by SIGKILL"),
        (-11, None, "killed by SIGSEGV"),
        (-9, LEAVING, "killed by SIGKILL"),
        (-64, None, "killed by SIGRTMAX"),
        (-99, None, "killed by signal 99"),
    ],
)
def test_every_other_end_is_a_crash(exit_code, last_word, message):
    verdict = judge(End(exit_code=exit_code, last_word=last_word, stderr_tail=LAST_WORDS))

    assert verdict.kind is FaultKind.CRASH
    assert message in verdict.message
    assert verdict.details == LAST_WORDS


def test_without_last_words_there_are_no_details():
    assert judge(End(exit_code=1)).details is None


# ---- cut off


def test_a_worker_that_was_cut_off_has_no_fault():
    verdict = judge(End(exit_code=CONNECTION_LOST, stderr_tail=LAST_WORDS))

    assert verdict == Verdict(None, "it lost its connection to the daemon", was_preempted=True)


def test_a_fault_that_was_still_heard_counts_more_than_being_cut_off():
    assert judge(End(exit_code=CONNECTION_LOST, last_word=faulted(FaultKind.NAN))).kind is FaultKind.NAN


# ---- preempted


@pytest.mark.parametrize(
    "exit_code, last_word",
    [(0, LEAVING), (-15, None), (-15, LEAVING)],
    ids=["saved", "at once", "in between"],
)
def test_a_worker_that_somebody_else_told_to_leave_has_no_fault(exit_code, last_word):
    verdict = judge(End(exit_code=exit_code, last_word=last_word))

    assert (verdict.kind, verdict.was_preempted) == (None, True)


def test_a_worker_that_the_daemon_told_to_leave_was_not_preempted():
    assert not judge(End(exit_code=0, last_word=LEAVING, was_dismissed=True)).was_preempted


# ---- memory


@pytest.mark.parametrize(
    "exit_code, oom_kills, killed_because, kind",
    [
        (-9, 1, None, FaultKind.OUT_OF_MEMORY),
        (-9, 0, None, FaultKind.CRASH),
        (-9, 1, "its time was up", FaultKind.CRASH),
        (-11, 1, None, FaultKind.CRASH),
        (1, 1, None, FaultKind.CRASH),
    ],
)
def test_memory_is_blamed_only_for_a_sigkill_of_the_kernel(exit_code, oom_kills, killed_because, kind):
    end = End(exit_code=exit_code, oom_kills=oom_kills, killed_because=killed_because)

    assert judge(end).kind is kind


# ---- hang and force


@pytest.mark.parametrize(
    "exit_code, last_word", [(-9, None), (0, LEAVING), (1, faulted()), (-10, None), (-15, None)]
)
def test_a_hang_stays_one_however_the_worker_ends(exit_code, last_word):
    end = End(exit_code=exit_code, last_word=last_word, hang="no progress for 121 s", stderr_tail="stacks")

    verdict = judge(end)

    assert verdict.kind is FaultKind.HANG
    assert verdict.message == "the worker hung: no progress for 121 s"
    assert (verdict.details, verdict.reason) == ("stacks", "no progress for 121 s")
    assert not verdict.was_preempted


def test_a_worker_that_we_killed_says_why():
    verdict = judge(End(exit_code=-9, killed_because="the worker had not exited, so it was killed"))

    assert (verdict.kind, verdict.message) == (FaultKind.CRASH, "the worker had not exited, so it was killed")


def test_what_a_worker_said_before_we_killed_it_counts_more():
    end = End(exit_code=-9, last_word=faulted(FaultKind.ENVIRONMENT), killed_because="it did not end")

    assert judge(end).kind is FaultKind.ENVIRONMENT


@pytest.mark.parametrize(
    "failures, wait_s", [(1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (8, 60), (1000, 60), (10**9, 60)]
)
def test_the_wait_doubles_up_to_its_maximum(failures, wait_s):
    assert backoff_s(failures, maximum_s=60.0) == wait_s
