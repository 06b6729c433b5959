"""What the end of a worker means. Pure."""

import signal
from dataclasses import dataclass

from trainer.protocol.job import FaultKind, Window
from trainer.protocol.messages import CONNECTION_LOST, Faulted, Leaving

# Whose messages are written for people; of any other, the class of the exception may say more than its text
EXPLAINED = (FaultKind.BAD_DATA, FaultKind.BAD_CONFIG)


@dataclass(frozen=True, kw_only=True)
class End:
    """Everything that is known of a worker's end."""

    exit_code: int
    """As `subprocess` has it: negative for a signal."""
    last_word: Faulted | Leaving | None = None
    """What it said itself before it went."""
    was_dismissed: bool = False
    """It was asked to leave."""
    hang: str | None = None
    """How it hung, if that is why it was ended."""
    killed_because: str | None = None
    """Why it was killed by us."""
    was_given_up: bool = False
    """Somebody did not want to wait for it any longer."""
    oom_kills: int = 0
    """How many processes the kernel has killed in its lifetime because memory ran out."""
    was_saving: bool = False
    """It was writing a checkpoint, in which no file has a part."""
    stderr_tail: str = ""
    """The end of what it wrote to its standard error."""


@dataclass(frozen=True)
class Verdict:
    """How a worker ended."""

    kind: FaultKind | None
    """None when it left because it was asked to."""
    message: str
    details: str | None = None
    """Traceback, or its last words."""
    reason: str = ""
    """For a person, without the name of an exception's class."""
    left_out: Window | None = None
    """The steps that the job must leave out to go on."""
    was_preempted: bool = False
    """Somebody other than the daemon asked it to leave."""


def judge(end: End) -> Verdict:
    """Say why a worker ended. What was seen counts more than what it said, and that more than signals."""
    details = end.stderr_tail or None
    if end.hang:
        kind = FaultKind.ENVIRONMENT if end.was_saving else FaultKind.HANG
        return Verdict(kind, f"the worker hung: {end.hang}", details, end.hang)
    match end.last_word:
        case Faulted() as word:
            reason = word.message or word.error_class
            message = reason if word.fault in EXPLAINED else f"{word.error_class}: {word.message}"
            return Verdict(word.fault, message, word.traceback, reason, left_out=word.left_out)
        case Leaving() as word if end.exit_code == 0 or end.killed_because:  # everything is saved either way
            return Verdict(None, word.reason, was_preempted=not end.was_dismissed)
    if end.exit_code == CONNECTION_LOST:
        return Verdict(None, "it lost its connection to the daemon", was_preempted=True)
    if end.killed_because:
        return Verdict(None if end.was_given_up else FaultKind.CRASH, end.killed_because, details)
    if end.exit_code == -signal.SIGTERM:
        return Verdict(None, "it was killed by SIGTERM", was_preempted=True)
    if end.exit_code == -signal.SIGKILL and end.oom_kills:
        message = "the system killed the worker because memory ran out"
        kind = FaultKind.ENVIRONMENT if end.was_saving else FaultKind.OUT_OF_MEMORY
        return Verdict(kind, message, details, message)
    if end.exit_code < 0:
        return Verdict(FaultKind.CRASH, f"the worker was killed by {_signal_name(-end.exit_code)}", details)
    return Verdict(FaultKind.CRASH, f"the worker exited with code {end.exit_code}", details)


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
