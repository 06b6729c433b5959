"""What the events say about versions made by policy: the newest one, and what has happened since."""

import sqlite3
from dataclasses import dataclass
from pathlib import Path

from daemon.ledger.reader import open_read_only

ORDERED_AT = (
    "SELECT json_extract(data, '$.ordered_at') FROM events"
    " WHERE kind = 'version_made' AND json_extract(data, '$.made_by') = ? ORDER BY id DESC LIMIT 1"
)
FIRST_AND_NEWEST = (
    "SELECT min(at), max(at) FROM events WHERE kind = :kind AND at > :after"
    " AND (:outcome IS NULL OR json_extract(data, '$.outcome') = :outcome)"
)


@dataclass(frozen=True)
class Occurrences:
    """When something happened first and last; UTC, ISO 8601; None if it never did."""

    first_at: str | None = None
    newest_at: str | None = None


def newest_order(path: Path, made_by: str) -> str | None:
    """Return when the newest version made by a policy was ordered; None if none was ever made.

    Raises:
        UnreadableLedger: it cannot be read.
    """
    if not path.exists():
        return None
    with open_read_only(path) as database:
        row: sqlite3.Row | None = database.execute(ORDERED_AT, (made_by,)).fetchone()
        return str(row[0]) if row else None


def occurrences(path: Path, kind: str, *, after: str, outcome: str | None = None) -> Occurrences:
    """Return when events of a kind happened after a time.

    Args:
        after: UTC, ISO 8601; empty for all.
        outcome: only events with it.
    Raises:
        UnreadableLedger: it cannot be read.
    """
    if not path.exists():
        return Occurrences()
    with open_read_only(path) as database:
        values = {"kind": kind, "after": after, "outcome": outcome}
        return Occurrences(*database.execute(FIRST_AND_NEWEST, values).fetchone())


def is_recorded(path: Path, version: str) -> bool:
    """Whether an event says that a version was made.

    Raises:
        UnreadableLedger: it cannot be read.
    """
    if not path.exists():
        return False
    with open_read_only(path) as database:
        found = "SELECT 1 FROM events WHERE kind = 'version_made' AND json_extract(data, '$.version') = ?"
        return database.execute(found, (version,)).fetchone() is not None
