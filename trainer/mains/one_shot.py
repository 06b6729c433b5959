"""What processes share that carry out one order and exit; `trainer.protocol.one_shot` starts them."""

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn, TextIO, TypeVar

from pydantic import BaseModel

from trainer.mains.garbage import collect_seldom
from trainer.protocol.child_process import die_with
from trainer.protocol.job import FaultKind
from trainer.protocol.layout import PRIVATE_UMASK, Layout
from trainer.protocol.one_shot import OneShotOrder, OrderRefused, as_json
from trainer.protocol.text import system_words

KILL_ME_FIRST = "1000"
LOCK_WAIT_S = 60.0

Order = TypeVar("Order", bound=OneShotOrder)
Tell = Callable[[str], None]
"""Says for a person how far it is."""


def serve(
    order_type: type[Order], carry_out: Callable[[Order, Tell], BaseModel], *, niceness: int = 0
) -> NoReturn:
    """Read the order, carry it out, write the answer or why there is none, and end the process.

    Args:
        niceness: how far this process stands back for others, up to 19.
    """
    os.umask(PRIVATE_UMASK)
    collect_seldom()
    order = order_type.model_validate(json.load(sys.stdin.buffer))
    if order.parent_pid is not None:
        die_with(order.parent_pid, signal.SIGKILL)
    os.nice(niceness)
    be_killed_first()
    output = take_standard_output()
    answer: BaseModel
    try:
        answer, exit_code = carry_out(order, _tell), 0
    except Exception as error:
        refused = refusal_of(error)
        answer, exit_code = refused.as_message, refused.exit_code
    with output:
        output.write(as_json(answer).decode("ascii"))
    sys.stderr.flush()
    os._exit(exit_code)  # torch takes seconds to tidy up after itself


@contextmanager
def models_locked(layout: Layout) -> Iterator[None]:
    """Hold the lock of the models folder, for which a worker has a while to save and leave.

    Raises:
        OrderRefused: a worker holds it.
    """
    from filelock import FileLock, Timeout  # few orders need it

    lock = FileLock(layout.worker_lock_file, timeout=LOCK_WAIT_S)
    try:
        lock.acquire()
    except Timeout as error:
        raise OrderRefused(
            f"{layout.models} is held by a worker; expected none; stop it and try again",
            FaultKind.ENVIRONMENT,
        ) from error
    try:
        yield
    finally:
        lock.release()


def refusal_of(error: Exception) -> OrderRefused:
    """Say why an order was not carried out, and whose fault that is, as far as it is known."""
    if isinstance(error, OrderRefused):
        return error
    from trainer.mains.fault_kind import classify  # knows many modules, which few orders need

    fault = classify(error)
    if fault is FaultKind.CRASH:
        traceback.print_exception(error)
    if isinstance(error, OSError):
        return OrderRefused(system_words(error), fault, error.errno)
    return OrderRefused(str(error) or type(error).__name__, fault)


def be_killed_first() -> None:
    """Ask the system to kill this process rather than a worker, should it make the memory run out."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(KILL_ME_FIRST)


def take_standard_output() -> TextIO:
    """Return the standard output for the answer alone: whatever a library prints goes elsewhere."""
    output = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return os.fdopen(output, "w", encoding="utf-8")


def _tell(words: str) -> None:
    print(words, file=sys.stderr, flush=True)
