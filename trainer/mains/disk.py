"""Measure what takes disk space, or free some. A process of its own, because that takes memory and time.

    python -P -m trainer.mains.disk <order.json >answer.json

It loads no torch, stands back for everybody else, and removes checkpoints only where no worker runs.
"""

import time

from pydantic import BaseModel

from trainer.disk.cleaning import REFUSALS, clean
from trainer.disk.open_files import ignore_lease_breaks
from trainer.disk.usage import measure
from trainer.mains.one_shot import Tell, serve
from trainer.protocol.disk import CleanOrder, DiskOrder
from trainer.protocol.job import FaultKind
from trainer.protocol.layout import Layout
from trainer.protocol.one_shot import OrderRefused

NICENESS = 19


def carry_out(order: DiskOrder, tell: Tell) -> BaseModel:
    """Return what takes space, what would be removed, or what was."""
    wanted = order.order
    layout = Layout(wanted.base_dir)
    if not isinstance(wanted, CleanOrder):
        return measure(layout, backups=wanted.backups)
    ignore_lease_breaks()
    try:
        return clean(layout, wanted, clock=time.time)
    except REFUSALS as error:
        raise OrderRefused(str(error), FaultKind.ENVIRONMENT) from error


if __name__ == "__main__":
    serve(DiskOrder, carry_out, niceness=NICENESS)
