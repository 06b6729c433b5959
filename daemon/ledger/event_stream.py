"""The ledger's events, in order, for readers that follow them."""

import json
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from daemon.files.identity import Identity
from daemon.ledger.reader import open_read_only


@dataclass(frozen=True, kw_only=True)
class RecordedEvent:
    """Something that happened."""

    id: int
    """Counts up; a reader that keeps the last one it has seen misses none."""
    at: str
    """UTC, ISO 8601."""
    kind: str
    job_id: str | None
    message: str
    """For a person; printable."""
    data: dict[str, Any] | None = None
    """Its facts; None for events of releases that noted none."""
    level: str | None = None
    """info, warning or error; None for events of releases that noted none."""


@dataclass(frozen=True)
class Stretch:
    """Events that come one after the other, and the ledger that has them."""

    ledger: str
    """Its identity. A damaged ledger is replaced by another one, which counts its events from 1."""
    events: list[RecordedEvent]
    newest: int
    """The number of the ledger's newest event; 0 if it has none."""


def read_events(path: Path, *, after: int, limit: int) -> list[RecordedEvent]:
    """Return the first `limit` events after the one numbered `after`, also of an older release's ledger.

    Raises:
        UnreadableLedger: it cannot be read.
    """
    if not path.exists():
        return []
    with open_read_only(path) as database:
        rows = database.execute("SELECT * FROM events WHERE id > ? ORDER BY id LIMIT ?", (after, limit))
        return [recorded_event(row) for row in rows]


def read_job_events(path: Path, job_id: str, *, limit: int) -> list[RecordedEvent]:
    """Return the newest `limit` events of a job, oldest first.

    Raises:
        UnreadableLedger: it cannot be read.
    """
    if not path.exists():
        return []
    with open_read_only(path) as database:
        newest = "SELECT * FROM events WHERE job_id = ? ORDER BY id DESC LIMIT ?"
        return [recorded_event(row) for row in database.execute(newest, (job_id, limit))][::-1]


def find_copy(path: Path, dropped: Identity) -> Identity | None:
    """Return the identity of the copy that was taken of a dropped file; None if none is known.

    Raises:
        UnreadableLedger: it cannot be read.
    """
    if not path.exists():
        return None
    with open_read_only(path) as database:
        rows = database.execute("SELECT * FROM events WHERE kind = 'copied' ORDER BY id DESC")
        facts = (recorded_event(row).data or {} for row in rows)
        copies = (fact["copy"] for fact in facts if fact.get("dropped") == str(dropped))
        copy = next(copies, None)
    return Identity.from_text(copy) if copy else None


def newest_event_id(path: Path) -> int:
    """Return the number of the newest event; 0 without one.

    Raises:
        UnreadableLedger: it cannot be read.
    """
    if not path.exists():
        return 0
    with open_read_only(path) as database:
        return int(database.execute("SELECT coalesce(max(id), 0) FROM events").fetchone()[0])


def read_stretch(path: Path, *, after: int, limit: int) -> Stretch | None:
    """Return the first `limit` events after the one numbered `after`.

    Returns:
        None if there is no ledger, or no daemon of this release has opened it yet.
    Raises:
        UnreadableLedger: it cannot be read.
    """
    if not path.exists():
        return None
    with open_read_only(path) as database:
        database.execute("BEGIN")  # both answers must be about one ledger
        tables = database.execute("SELECT 1 FROM sqlite_master WHERE name='identity'").fetchone()
        identity = tables and database.execute("SELECT ledger FROM identity").fetchone()
        if not identity:
            return None
        rows = database.execute("SELECT * FROM events WHERE id > ? ORDER BY id LIMIT ?", (after, limit))
        events = [recorded_event(row) for row in rows]
        [newest] = database.execute("SELECT coalesce(max(id), 0) FROM events").fetchone()
        return Stretch(identity["ledger"], events, newest)


def recorded_event(row: sqlite3.Row) -> RecordedEvent:
    """Return the event of a row of the table `events`, also of an older release's."""
    known = row.keys()
    data = row["data"] if "data" in known else None
    return RecordedEvent(
        id=row["id"],
        at=row["at"],
        kind=row["kind"],
        job_id=row["job_id"],
        message=row["message"],
        data=json.loads(data) if data else None,
        level=row["level"] if "level" in known else None,
    )
