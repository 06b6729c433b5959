"""Ask a process that may load transformers: one JSON order goes in, one JSON answer comes out."""

import json
import signal
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from daemon.client.errors import HelperFailed
from daemon.supervision.launcher import worker_environment
from trainer.protocol.text import printable

LAST_WORDS = 20  # lines of a process that ended without an answer
TRACEBACK = "Traceback (most recent call last):"


def command_of(module: str) -> list[str]:
    """Return how a module is run as a process."""
    # -P: a file in the working directory must not be mistaken for a module
    return [sys.executable, "-P", "-m", module]


def ask(module: str, order: Mapping[str, Any], *, tell: Callable[[str], object]) -> bytes:
    """Return what a process answers to an order.

    Args:
        module: such as `trainer.mains.inspect_file`.
        tell: called with each line that says how far it is, printable.
    Raises:
        HelperFailed: there is no answer; the message is what the process has said last.
    """
    words: deque[str] = deque(maxlen=LAST_WORDS)
    # Files, because a full pipe would be waited for while only the words are read
    with tempfile.TemporaryFile() as question, tempfile.TemporaryFile() as answer:
        question.write(json.dumps(order).encode())  # in ASCII: names of files need not be UTF-8
        question.seek(0)
        process = subprocess.Popen(
            command_of(module),
            stdin=question,
            stdout=answer,
            stderr=subprocess.PIPE,
            env=worker_environment(),
        )
        with process:
            for line in process.stderr or ():
                words.append(printable(line.decode(errors="replace").rstrip()))
                tell(words[-1])
        if code := process.returncode:
            raise HelperFailed(_why(words, code), exit_code=max(1, code))
        answer.seek(0)
        return answer.read()


def _why(words: deque[str], code: int) -> str:
    if code == -signal.SIGKILL:
        return "the process was killed, probably for its memory; stop what else runs here"
    if not words:
        return f"the process ended with code {code} and said nothing"
    if TRACEBACK not in words:
        return words[-1]
    return "\n".join(list(words)[words.index(TRACEBACK) :])
