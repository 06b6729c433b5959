"""Processes that carry out one order and exit: how one is started, what goes in and what comes out.

standard input    the order, one JSON object
standard error    how far it is, for people, a line each
standard output   one JSON object: the answer, or `Refused`
exit code         0 answered, 1 refused, 78 refused because of the settings; without an answer it has died

The other side is `trainer.mains.one_shot`.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
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
    """A process died before it had answered.

    Args:
        exit_code: negative for a signal.
    """

    def __init__(self, exit_code: int) -> None:
        super().__init__(f"ended with code {exit_code}")
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
) -> Answer:
    """Have a process carry out an order, and return its answer.

    Raises:
        OrderRefused: it says no.
        TimedOut: it took longer than `timeout_s`.
        NoAnswer: it died.
        OSError: it could not be started.
    """
    with start(module, order, environment=environment) as process:
        try:
            said, _ = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired as error:
            process.kill()
            raise TimedOut(process.wait()) from error
    return read_answer(process.returncode, said, answer_type)


def read_answer(exit_code: int, said: bytes, answer_type: type[Answer]) -> Answer:
    """Return what a process that has ended has answered.

    Raises:
        OrderRefused: it says no.
        NoAnswer: it died.
    """
    if exit_code not in (0, REFUSED_EXIT_CODE, BAD_CONFIG_EXIT_CODE) or not said:
        raise NoAnswer(exit_code)
    content = json.loads(said)
    if exit_code:
        refused = Refused.model_validate(content)
        raise OrderRefused(refused.message, refused.fault, refused.errno)
    return answer_type.model_validate(content)
