"""What has ended workers so far, by kind, whether that was a crash, and what to do about each kind."""

import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from daemon.ledger.event_stream import recorded_event
from daemon.ledger.reader import has_table, open_read_only
from trainer.protocol.job import FaultKind
from trainer.protocol.text import printable

MESSAGE_CHARACTERS = 500
SMALLER = "lower training.micro_batch_tokens, which does not change the result"
ADVICE = {
    FaultKind.OUT_OF_MEMORY: f"The machine's memory ran out: {SMALLER}, or stop other programs.",
    FaultKind.GPU_OUT_OF_MEMORY: f"The GPU's memory ran out: {SMALLER}, or train with lora.",
    FaultKind.NAN: "Loss or gradients were not finite numbers: lower training.learning_rate, and inspect the "
    "rows of the steps that were left out.",
    FaultKind.HANG: "The worker hung: check the driver (dmesg, nvidia-smi) and the disk; if it was "
    "only slow, raise daemon.hang_after_s.",
    FaultKind.CRASH: "Read logs/worker.log and logs/worker.stderr; dmesg shows whether the system killed it.",
    FaultKind.ENVIRONMENT: "Something outside was missing, such as the model, the disk or the GPU: see the "
    "message. Training continues on its own once it is back.",
    FaultKind.BAD_CONFIG: "Correct the setting as the message says: in config.json, or, if --set gave it, "
    "with training_daemon restart --no-set. Training then continues on its own.",
    FaultKind.BAD_DATA: "Correct the file as the message says, then: training_queue retry NAME.",
    FaultKind.REGRESSION: "The gate found the model worse after a file, and took it back: training_models "
    "gates shows the numbers.",
    FaultKind.REQUEST: "It was requested; nothing has to be done.",
}
NO_CRASH = (FaultKind.BAD_CONFIG, FaultKind.ENVIRONMENT)
"""Kinds that block training: neither the program nor a file is the cause."""
TABLES = ("crashes", "deaths")  # the second in ledgers of earlier releases
UNKNOWN = "Another release recorded this; its documentation explains it."


@dataclass(frozen=True, kw_only=True)
class CrashGroup:
    """All ends of workers of one kind, described by the newest. Every text is printable."""

    kind: str
    is_crash: bool
    """False if a setting, or something outside, is what ended them, so that training was blocked."""
    count: int
    newest_at: str
    file: str | None
    """What was trained; None when it was nothing."""
    global_step: int | None
    """The last one that was reported; None while the worker still loaded the model."""
    file_step: int | None
    message: str
    advice: str
    loading: str | None
    """The checkpoint that the worker was still loading, such as checkpoints/step-000000200; None if it had
    loaded, or there was none."""


def read_crashes(ledger_file: Path, *, limit: int, since: str = "") -> list[CrashGroup]:
    """Return the newest `limit` ends of workers by kind; the kind of the newest one comes first.

    Args:
        since: only those from this time on; UTC, ISO 8601.
    Raises:
        UnreadableLedger: the ledger is damaged, locked or not a ledger.
    """
    if not ledger_file.exists():
        return []
    with open_read_only(ledger_file) as database:
        table = next((name for name in TABLES if has_table(database, name)), None)
        if table is None:
            return []
        newest = f"SELECT * FROM {table} WHERE at >= ? ORDER BY id DESC LIMIT ?"
        rows = database.execute(newest, (since, limit))
        return _grouped(rows, lambda at: _newest_checkpoint(database, at))


def _newest_checkpoint(database: sqlite3.Connection, at: str) -> str | None:
    """Return the checkpoint that a worker would have started from at that time."""
    if not has_table(database, "events"):
        return None
    newest = "SELECT * FROM events WHERE kind = 'checkpoint' AND at <= ? ORDER BY id DESC LIMIT 1"
    found = database.execute(newest, (at,)).fetchone()
    facts = recorded_event(found).data if found else None
    return printable(facts["path"]) if facts else None  # events of old releases have no facts


def _grouped(
    newest_first: Iterable[sqlite3.Row], checkpoint_at: Callable[[str], str | None]
) -> list[CrashGroup]:
    groups: dict[str, list[sqlite3.Row]] = {}
    for row in newest_first:
        groups.setdefault(row["kind"], []).append(row)
    return [_describe(kind, rows, checkpoint_at) for kind, rows in groups.items()]


def _describe(kind: str, rows: list[sqlite3.Row], checkpoint_at: Callable[[str], str | None]) -> CrashGroup:
    newest = rows[0]
    return CrashGroup(
        kind=printable(kind),
        is_crash=kind not in NO_CRASH,
        count=len(rows),
        newest_at=printable(newest["at"]),
        file=None if newest["display"] is None else printable(newest["display"]),
        global_step=newest["global_step"],
        file_step=newest["file_step"],
        message=printable(newest["message"], limit=MESSAGE_CHARACTERS),
        advice=ADVICE[FaultKind(kind)] if kind in list(FaultKind) else UNKNOWN,
        loading=checkpoint_at(newest["at"]) if newest["global_step"] is None else None,
    )
