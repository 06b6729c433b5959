"""Read the ledger beside a running daemon, or after one that has died. Changes nothing on disk."""

import json
import os
import sqlite3
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from daemon.files.identity import Identity, identity_of_row, signed
from daemon.ledger.completed_files import NEWEST_COMPLETED, Completed, completed, replayed_files
from trainer.protocol.job import EarlierFile, Outcome, Priority, Window

TIMEOUT_S = 5.0
RECENT_STEPS = 200  # enough that a slow one does not matter


class UnreadableLedger(RuntimeError):
    """The ledger cannot be read; the message says why and what happens to it."""


@dataclass(frozen=True, kw_only=True)
class LedgerJob:
    """A job as the ledger has it."""

    id: str
    is_ended: bool
    start_number: int | None
    """Its number in the order of starts; None while it waits."""
    name: str
    """As the system has it; not printable."""
    priority: Priority
    sha256: str
    rejected_lines: tuple[int, ...]
    settings: dict[str, Any] | None
    """Those it has started with; None before its first start."""
    identity: Identity
    left_out: tuple[Window, ...]
    """Steps that are not trained."""
    replayed: tuple[EarlierFile, ...]
    """Files that it replays rows from; chosen when it first starts."""


@contextmanager
def open_read_only(path: Path) -> Iterator[sqlite3.Connection]:
    """Open the ledger for reading.

    Raises:
        UnreadableLedger: it is damaged, locked or not a ledger; also for what happens inside the block.
    """
    # With no log beside it nobody writes; a reader that does not know this would leave a log of its own
    is_at_rest = not path.with_name(path.name + "-wal").exists()
    options = "mode=ro&immutable=1" if is_at_rest else "mode=ro"
    try:
        database = sqlite3.connect(f"{path.absolute().as_uri()}?{options}", uri=True, timeout=TIMEOUT_S)
        try:
            database.row_factory = sqlite3.Row
            yield database
        finally:
            database.close()
    except (sqlite3.Error, ValueError, TypeError, KeyError, IndexError) as error:
        raise UnreadableLedger(
            f"{path}: {error}; expected a ledger; the next start quarantines a damaged one"
        ) from error


def has_table(database: sqlite3.Connection, name: str) -> bool:
    """Whether a table is there; a ledger that no daemon of this release has opened yet lacks some."""
    return database.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (name,)).fetchone() is not None


def read_jobs(path: Path, *, inodes: Collection[int]) -> list[LedgerJob]:
    """Return the open jobs, and the ended ones whose files have these inodes; none if there is no ledger.

    Raises:
        UnreadableLedger: it cannot be read.
    """
    if not path.exists():
        return []
    ended = ",".join(str(number) for number in map(signed, inodes))
    with open_read_only(path) as database:
        # All columns: a ledger that no daemon of this release has opened yet lacks the newest ones
        rows = database.execute(
            f"SELECT * FROM jobs WHERE state IN ('waiting', 'processing') OR inode IN ({ended}) ORDER BY id"
        )
        return [_job(row) for row in rows if row["state"] != "removed"]


def read_completed(path: Path) -> list[Completed]:
    """Return the completed files that a new job may replay, newest first; none if there is no ledger.

    Raises:
        UnreadableLedger: it cannot be read.
    """
    if not path.exists():
        return []
    with open_read_only(path) as database:
        return [completed(row) for row in database.execute(NEWEST_COMPLETED)]


def _job(row: sqlite3.Row) -> LedgerJob:
    columns = row.keys()
    is_new = "began" in columns
    windows = json.loads((is_new and row["left_out"]) or "[]")
    return LedgerJob(
        id=row["id"],
        is_ended=row["state"] in list(Outcome),
        start_number=row["began"] if is_new and row["state"] == "processing" else None,
        name=os.fsdecode(row["name"]),
        priority=Priority(row["priority"]),
        sha256=row["sha256"],
        rejected_lines=tuple(json.loads(row["rejected"])),
        settings=json.loads(row["settings"]) if row["settings"] else None,
        identity=identity_of_row(row),
        left_out=tuple(Window(first=first, last=last) for first, last in windows),
        replayed=replayed_files(row["replayed"] if "replayed" in columns else None),
    )


def recent_speed(path: Path) -> float | None:
    """Return the tokens per second of the newest steps; None without any.

    Raises:
        UnreadableLedger: it cannot be read.
    """
    if not path.exists():
        return None
    with open_read_only(path) as database:
        newest = f"SELECT tokens, seconds FROM steps ORDER BY global_step DESC LIMIT {RECENT_STEPS}"
        tokens, seconds = database.execute(f"SELECT sum(tokens), sum(seconds) FROM ({newest})").fetchone()
    return tokens / seconds if seconds else None


def newest_moment(path: Path) -> str | None:
    """Return when the newest event was noted; None without one. Checks the whole file for damage.

    Raises:
        UnreadableLedger: it is damaged, locked or not a ledger.
    """
    with open_read_only(path) as database:
        [health] = database.execute("PRAGMA quick_check(1)").fetchone()
        if health != "ok":
            raise sqlite3.DatabaseError(health)
        moment = database.execute("SELECT max(at) FROM events").fetchone()[0]
        return None if moment is None else str(moment)
