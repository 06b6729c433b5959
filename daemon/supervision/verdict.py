"""What the end of a worker means. Pure."""

import signal
from dataclasses import dataclass

from trainer.protocol.job import FaultKind
from trainer.protocol.messages import Faulted, Leaving


@dataclass(frozen=True)
class Verdict:
    """How a worker ended."""

    kind: FaultKind | None
    """None when it left because it was told to."""
    message: str
    details: str | None = None
    """Traceback, or its last words."""
    reason: str = ""
    """For a person, without the name of an exception's class."""


def judge_exit(exit_code: int, last_word: Faulted | Leaving | None, stderr_tail: str) -> Verdict:
    """Say why a worker ended.

    Args:
        exit_code: as `subprocess` has it: negative for a signal.
        last_word: what it said itself before it went.
        stderr_tail: the end of what it wrote to its standard error.
    """
    match last_word:
        case Leaving() if exit_code == 0:
            return Verdict(None, last_word.reason)
        case Faulted():
            message = f"{last_word.error_class}: {last_word.message}"
            return Verdict(last_word.fault, message, last_word.traceback, last_word.message)
    if exit_code < 0:
        return Verdict(
            FaultKind.CRASH, f"the worker was killed by {_signal_name(-exit_code)}", stderr_tail or None
        )
    return Verdict(FaultKind.CRASH, f"the worker exited with code {exit_code}", stderr_tail or None)


def backoff_s(failures: int, *, maximum_s: float) -> float:
    """Return how long to wait before the worker is started again: 1, 2, 4, … seconds.

    Args:
        failures: in a row, at least 1.
    """
    return min(maximum_s, 2.0 ** min(failures - 1, 16))


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
