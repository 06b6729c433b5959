"""Ask a process that may load torch or transformers: one order goes in, one answer comes out."""

import os
import signal
import subprocess
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from pydantic import BaseModel

from daemon.client.errors import FileRefused, HelperFailed
from daemon.supervision.launcher import worker_environment
from trainer.protocol import one_shot
from trainer.protocol.job import FaultKind
from trainer.protocol.text import printable

LAST_WORDS = 20  # lines of a process that ended without an answer
TRACEBACK = "Traceback (most recent call last):"

Answer = TypeVar("Answer", bound=BaseModel)


def ask(
    module: str,
    order: one_shot.OneShotOrder,
    answer_type: type[Answer],
    *,
    on_start: Callable[[subprocess.Popen[bytes]], object] = lambda process: None,
    timeout_s: float | None = None,
    niceness: int = 0,
    on_progress: Callable[[str], object] = lambda words: None,
) -> Answer:
    """Return what a process answers to an order, as `one_shot.ask` does, with errors for a person.

    Args:
        module: such as `trainer.mains.inspect_file`.
        on_start: called with the process, which another thread may ask to end.
        timeout_s: after which it is ended; None waits as long as it takes.
        niceness: how far it stands back for other processes, such as training; 19 is most.
        on_progress: called with each line that says how far it is, printable.
    Raises:
        FileRefused: the file, the settings or this machine do not allow it.
        HelperFailed: it failed for a reason that nobody expected, or ended without an answer.
    """
    words: deque[str] = deque(maxlen=LAST_WORDS)

    def hear(line: str) -> None:
        words.append(printable(line))
        on_progress(words[-1])

    def began(process: subprocess.Popen[bytes]) -> None:
        _stand_back(process.pid, niceness)
        on_start(process)

    try:
        return one_shot.ask(
            module,
            order,
            answer_type,
            timeout_s=timeout_s,
            environment=worker_environment(),
            on_start=began,
            on_progress=hear,
        )
    except one_shot.OrderRefused as refused:
        if refused.fault is FaultKind.CRASH:
            raise HelperFailed(_traceback_in(words) or _shown(refused)) from refused
        is_bad_config = refused.fault is FaultKind.BAD_CONFIG
        raise FileRefused(_shown(refused), is_bad_config=is_bad_config) from refused
    except one_shot.TimedOut as error:
        raise HelperFailed(
            f"it took longer than {timeout_s:g} s, and was ended; try again when the machine has less to do"
        ) from error
    except one_shot.NoAnswer as error:
        raise HelperFailed(_why_no_answer(words, error), exit_code=max(1, error.exit_code)) from error


def _stand_back(pid: int, niceness: int) -> None:
    if niceness:
        with suppress(OSError):  # it has ended already
            os.setpriority(os.PRIO_PROCESS, pid, niceness)


def _shown(refused: one_shot.OrderRefused) -> str:
    return "\n".join(map(printable, str(refused).splitlines()))


def _why_no_answer(words: deque[str], error: one_shot.NoAnswer) -> str:
    if error.exit_code == -signal.SIGKILL:
        return "the process was killed, probably because memory ran out; stop other programs and try again"
    if error.exit_code == 0 or not words:
        return f"the process {error}; it has left no message that says why; try again"
    return _traceback_in(words) or words[-1]


def _traceback_in(words: deque[str]) -> str | None:
    return "\n".join(list(words)[words.index(TRACEBACK) :]) if TRACEBACK in words else None
