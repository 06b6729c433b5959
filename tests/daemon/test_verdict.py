"""What the end of a worker means."""

import pytest

from daemon.supervision.verdict import Verdict, backoff_s, judge_exit
from trainer.protocol.job import FaultKind
from trainer.protocol.messages import Faulted, Leaving

LEAVING = Leaving(reason="told to")


def faulted(kind):
    return Faulted(fault=kind, error_class="OSError", message="no space left", traceback="Traceback …")


def test_a_worker_that_left_as_told_has_no_fault():
    assert judge_exit(0, LEAVING, "") == Verdict(None, "told to")


@pytest.mark.parametrize("kind", FaultKind)
@pytest.mark.parametrize("exit_code", [1, 0, -11])
def test_what_the_worker_says_itself_is_believed(kind, exit_code):
    verdict = judge_exit(exit_code, faulted(kind), "last words")

    assert verdict == Verdict(kind, "OSError: no space left", "Traceback …", "no space left")


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
    verdict = judge_exit(exit_code, last_word, "last words")

    assert verdict.kind is FaultKind.CRASH
    assert message in verdict.message
    assert verdict.details == "last words"


def test_without_last_words_there_are_no_details():
    assert judge_exit(1, None, "").details is None


@pytest.mark.parametrize(
    "failures, wait_s", [(1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (8, 60), (1000, 60), (10**9, 60)]
)
def test_the_wait_doubles_up_to_its_maximum(failures, wait_s):
    assert backoff_s(failures, maximum_s=60.0) == wait_s
