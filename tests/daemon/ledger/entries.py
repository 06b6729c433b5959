"""What tests note in a ledger, and how they read it."""

import sqlite3

from daemon.ledger.crash_rows import Crash
from trainer.protocol.job import FaultKind
from trainer.protocol.messages import StepReport


def step(number, *, job_id="1", file_step=None, loss=1.0, tokens=10, not_applied=None, lines=()):
    return StepReport(
        global_step=number, job_id=job_id, file_step=file_step or number, rows=1, tokens=tokens,
        supervised_tokens=5, loss=loss, learning_rate=1e-4, grad_norm=None, seconds=0.5,
        not_applied=not_applied, lines=lines,
    )  # fmt: skip


def read(layout, query):
    """Read committed rows as another program does."""
    database = sqlite3.connect(f"file:{layout.ledger_file}?mode=ro", uri=True, timeout=0)
    try:
        return database.execute(query).fetchall()
    finally:
        database.close()


def crash(message="it crashed", details=None):
    return Crash(
        kind=FaultKind.CRASH, message=message, details=details, job_id="1", display="a.jsonl",
        global_step=7, file_step=3,
    )  # fmt: skip
