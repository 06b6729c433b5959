"""What the processes of the daemon's side share that carry out one order and exit."""

import json
import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn, TypeVar

from pydantic import BaseModel

from trainer.protocol.child_process import die_with
from trainer.protocol.layout import PRIVATE_UMASK
from trainer.protocol.one_shot import OneShotOrder, OrderRefused, as_json

NICENESS = 19

Order = TypeVar("Order", bound=OneShotOrder)


def serve(order_type: type[Order], carry_out: Callable[[Order], BaseModel]) -> NoReturn:
    """Read the order, carry it out behind whatever trains, write the answer or the refusal, and exit."""
    os.umask(PRIVATE_UMASK)
    order = order_type.model_validate(json.load(sys.stdin.buffer))
    if order.parent_pid is not None:
        die_with(order.parent_pid, signal.SIGKILL)
    os.nice(NICENESS)
    answer: BaseModel
    try:
        answer, exit_code = carry_out(order), 0
    except OrderRefused as refused:
        answer, exit_code = refused.as_message, refused.exit_code
    sys.stdout.buffer.write(as_json(answer))
    sys.stdout.flush()
    sys.exit(exit_code)
