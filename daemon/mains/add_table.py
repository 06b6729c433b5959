"""Add a table to the queue in a process of its own: reading one may take more memory than a monitor may hold.

    python -P -m daemon.mains.add_table <order.json >answer.json

It stands back for whatever trains.
"""

from pathlib import Path

from daemon.client import Client, ClientError
from daemon.mains.one_order import serve
from trainer.protocol.added_table import AddedTable, AddTableOrder
from trainer.protocol.job import FaultKind
from trainer.protocol.one_shot import OrderRefused


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


if __name__ == "__main__":
    serve(AddTableOrder, carry_out)
