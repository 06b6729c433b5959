"""Ask a process that may load torch or transformers: one order goes in, one answer comes out."""

import signal
import subprocess
import tempfile
from collections import deque
from collections.abc import Callable
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
    tell: Callable[[str], object] = lambda words: None,
) -> Answer:
    """Return what a process answers to an order.

    Args:
        module: such as `trainer.mains.inspect_file`.
        tell: called with each line that says how far it is, printable.
    Raises:
        FileRefused: the file, the settings or this machine do not allow it.
        HelperFailed: it failed for a reason that nobody expected, or ended without an answer.
    """
    words: deque[str] = deque(maxlen=LAST_WORDS)
    # A file, because a full pipe would be waited for while only the words are read
    with tempfile.TemporaryFile() as answer:
        environment = worker_environment()
        process = one_shot.start(
            module, order, stdout=answer, stderr=subprocess.PIPE, environment=environment
        )
        with process:
            for line in process.stderr or ():
                words.append(printable(line.decode(errors="replace").rstrip()))
                tell(words[-1])
        answer.seek(0)
        try:
            return one_shot.read_answer(process.returncode, answer.read(), answer_type)
        except one_shot.OrderRefused as refused:
            if refused.fault is FaultKind.CRASH:
                raise HelperFailed(_traceback_in(words) or _shown(refused)) from refused
            is_bad_config = refused.fault is FaultKind.BAD_CONFIG
            raise FileRefused(_shown(refused), is_bad_config=is_bad_config) from refused
        except one_shot.NoAnswer as error:
            message = _why_no_answer(words, error.exit_code)
            raise HelperFailed(message, exit_code=max(1, error.exit_code)) from error


def _shown(refused: one_shot.OrderRefused) -> str:
    return "\n".join(map(printable, str(refused).splitlines()))


def _why_no_answer(words: deque[str], code: int) -> str:
    if code == -signal.SIGKILL:
        return "the process was killed, probably because memory ran out; stop other programs and try again"
    if not words:
        return f"the process exited with code {code} and no message"
    return _traceback_in(words) or words[-1]


def _traceback_in(words: deque[str]) -> str | None:
    return "\n".join(list(words)[words.index(TRACEBACK) :]) if TRACEBACK in words else None
