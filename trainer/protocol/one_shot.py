"""Processes that carry out one order and exit: how one is started, what goes in and what comes out.

standard input    the order, one JSON object
standard error    how far it is, for people, a line each
standard output   one JSON object: the answer, or `Refused`
exit code         0 answered, 1 refused, 78 refused because of the settings; without an answer it has died

The other side is `trainer.mains.one_shot`.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Literal, TypeVar

from pydantic import BaseModel, ConfigDict

from trainer.protocol.child_process import own_environment
from trainer.protocol.job import FaultKind

REFUSED_EXIT_CODE = 1
BAD_CONFIG_EXIT_CODE = 78  # EX_CONFIG: no use in trying again

Answer = TypeVar("Answer", bound=BaseModel)


class OneShotOrder(BaseModel):
    """What a process is to do."""

    model_config = ConfigDict(frozen=True)

    parent_pid: int | None = None
    """The process that it ends with; `start` fills in its own. None for an order given by hand."""


class Refused(BaseModel):
    """Why there is no answer."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["refused"] = "refused"
    message: str
    fault: FaultKind
    errno: int | None = None
    """Of the system, where it was an error of its."""


class OrderRefused(RuntimeError):
    """An order was not carried out; the message says why."""

    def __init__(self, message: str, fault: FaultKind, errno: int | None = None) -> None:
        super().__init__(message)
        self.fault = fault
        self.errno = errno

    @property
    def exit_code(self) -> int:
        """How a process ends with which this is the last word."""
        return BAD_CONFIG_EXIT_CODE if self.fault is FaultKind.BAD_CONFIG else REFUSED_EXIT_CODE

    @property
    def as_message(self) -> Refused:
        return Refused(message=str(self), fault=self.fault, errno=self.errno)


class NoAnswer(RuntimeError):
    """A process died before it had answered, or its answer cannot be read. No file is at fault.

    Args:
        exit_code: negative for a signal.
        what: is wrong with the answer.
    """

    def __init__(self, exit_code: int, what: str | None = None) -> None:
        super().__init__(f"ended with code {exit_code}" + (f", and {what}" if what else ""))
        self.exit_code = exit_code


class TimedOut(NoAnswer):
    """A process took too long, and was killed."""


def command_of(module: str) -> list[str]:
    """Return how a module is run as a process."""
    # -P: a file in the working directory must not be mistaken for a module
    return [sys.executable, "-P", "-m", module]


def start(
    module: str,
    order: OneShotOrder,
    *,
    stdout: int | IO[bytes] = subprocess.PIPE,
    stderr: int | None = None,
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a process that carries out `order`, and return at once.

    It ends with the thread that calls this.

    Args:
        module: such as `trainer.mains.inspect_file`.
        environment: None passes on that of this process.
    """
    order = order.model_copy(update={"parent_pid": order.parent_pid or os.getpid()})
    with tempfile.TemporaryFile() as paper:  # a pipe would make us wait until the process reads
        paper.write(as_json(order))
        paper.seek(0)
        return subprocess.Popen(
            command_of(module),
            stdin=paper,
            stdout=stdout,
            stderr=stderr,
            env=own_environment() if environment is None else environment,
        )


def as_json(message: BaseModel) -> bytes:
    """Return a message as JSON in ASCII: names of files need not be UTF-8."""
    return json.dumps(message.model_dump(mode="json")).encode("ascii")


def ask(
    module: str,
    order: OneShotOrder,
    answer_type: type[Answer],
    *,
    timeout_s: float | None = None,
    environment: Mapping[str, str] | None = None,
    on_start: Callable[[subprocess.Popen[bytes]], object] = lambda process: None,
    on_progress: Callable[[str], object] | None = None,
) -> Answer:
    """Have a process carry out an order, and return its answer. It is killed by whatever is raised here.

    Args:
        on_start: called with the process, which another thread may ask to end.
        on_progress: called with each line that it says on standard error; None leaves them to ours.
    Raises:
        OrderRefused: it says no.
        TimedOut: it took longer than `timeout_s`.
        NoAnswer: it died.
        OSError: it could not be started.
    """
    words = None if on_progress is None else subprocess.PIPE
    # A file, because a full pipe would be waited for while only the words are read
    with tempfile.TemporaryFile() as answer:
        with start(module, order, stdout=answer, stderr=words, environment=environment) as process:
            is_late = threading.Event()
            try:
                on_start(process)
                with _limited(process, timeout_s, is_late):
                    if on_progress and process.stderr:
                        for line in process.stderr:
                            on_progress(line.decode(errors="replace").rstrip())
                    exit_code = process.wait()
            except BaseException:
                process.kill()
                raise
        if is_late.is_set() and exit_code == -signal.SIGKILL:
            raise TimedOut(exit_code)
        answer.seek(0)
        return read_answer(exit_code, answer.read(), answer_type)


@contextmanager
def _limited(
    process: subprocess.Popen[bytes], timeout_s: float | None, is_late: threading.Event
) -> Iterator[None]:
    """Kill a process that takes longer than the block may, and say so."""
    if timeout_s is None:
        yield
        return

    def end() -> None:
        is_late.set()
        process.kill()

    timer = threading.Timer(timeout_s, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def read_answer(exit_code: int, said: bytes, answer_type: type[Answer]) -> Answer:
    """Return what a process that has ended has answered.

    Raises:
        OrderRefused: it says no.
        NoAnswer: it died, or what it said is cut off or no answer.
    """
    if exit_code not in (0, REFUSED_EXIT_CODE, BAD_CONFIG_EXIT_CODE) or not said:
        raise NoAnswer(exit_code)
    try:
        content = json.loads(said)
        answer = Refused.model_validate(content) if exit_code else answer_type.model_validate(content)
    except (ValueError, RecursionError) as error:
        raise NoAnswer(exit_code, "its answer is cut off, or none") from error
    if isinstance(answer, Refused):
        raise OrderRefused(answer.message, answer.fault, answer.errno)
    return answer
