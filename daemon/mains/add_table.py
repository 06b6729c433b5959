"""Add a table to the queue in a process of its own: reading one may take more memory than a monitor may hold.

    python -P -m daemon.mains.add_table <order.json >answer.json

It stands back for whatever trains.
"""

import json
import os
import signal
import sys
from pathlib import Path
from typing import NoReturn

from pydantic import BaseModel

from daemon.client import Client, ClientError
from trainer.protocol.added_table import AddedTable, AddTableOrder
from trainer.protocol.child_process import die_with
from trainer.protocol.job import FaultKind
from trainer.protocol.layout import PRIVATE_UMASK
from trainer.protocol.one_shot import OrderRefused, as_json

NICENESS = 19


def carry_out(order: AddTableOrder) -> AddedTable:
    """Convert the table, and let the copy appear in the inbox.

    Raises:
        OrderRefused: it cannot be converted, or the copy cannot be written.
    """
    try:
        added = Client(order.base).queue.add(Path(order.file), priority=order.priority)
    except ClientError as error:
        raise OrderRefused(str(error), FaultKind.BAD_DATA) from error
    except OSError as error:
        raise OrderRefused(str(error), FaultKind.ENVIRONMENT, error.errno) from error
    return AddedTable(added_as=added.added_as, rows=added.converted_rows)


def main() -> NoReturn:
    """Read the order, carry it out, and write the answer."""
    os.umask(PRIVATE_UMASK)
    order = AddTableOrder.model_validate(json.load(sys.stdin.buffer))
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


if __name__ == "__main__":
    main()
