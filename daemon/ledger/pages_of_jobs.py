"""Read jobs page by page: open ones in the order of their training, ended ones with the last one first."""

import sqlite3
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from daemon.ledger.completions import first_checkpoints
from daemon.ledger.file_value import FileValue, value_of_job
from daemon.ledger.job_records import IS_TRAINED, message_of
from daemon.ledger.reader import open_read_only
from trainer.protocol.places import Outcome

ENDED = tuple(outcome.value for outcome in Outcome)


class ListedJob(NamedTuple):
    """A job that waits or is processed."""

    id: str
    name: bytes
    """As the file system has it."""
    rows: int
    format: str
    """Empty while it is not known."""
    accepted_at: str
    is_trained: int | None
    """1 if it is trained to its end and waits for its checkpoint; None while it waits."""


class EndedJob(NamedTuple):
    """A job that has ended."""

    value: FileValue
    finished_at: str | None
    """UTC, ISO 8601."""
    checkpoint: str | None
    """Name of the first one published after its last step; None where no event says so any more."""
    reason: str | None
    """Why it failed or was skipped; printable."""
    began: int
    """Which start it was. Of those that end at once with a checkpoint, the one started last comes first."""

    @property
    def cursor(self) -> str:
        """What the page after it is asked for with."""
        return f"{self.finished_at or ''}/{self.began}/{self.value.job}"


def read_open_page(
    path: Path, *, state: str, priority: str | None, after: str, limit: int, search: str
) -> list[ListedJob]:
    """Return jobs in the order in which they are trained; none if there is no ledger.

    Args:
        state: waiting or processing.
        priority: None for all.
        after: id of the last job of the page before; "" for the first page.
        search: only files with this in their names.
    Raises:
        UnreadableLedger: it cannot be read.
    """
    if not path.exists():
        return []
    with open_read_only(path) as database:
        columns = {row["name"] for row in database.execute("PRAGMA table_info(jobs)")}
        format_column = "format" if "format" in columns else "''"  # of an earlier release
        database.row_factory = None
        rows = database.execute(
            f"SELECT id, name, rows, {format_column}, accepted_at,"
            f" CASE state WHEN 'processing' THEN {IS_TRAINED} END"
            " FROM jobs WHERE state = :state AND id > :after AND (:priority IS NULL OR priority = :priority)"
            f" AND {_has_search(database, search)} ORDER BY id LIMIT :limit",
            {"state": state, "priority": priority, "after": after, "limit": limit, "search": search},
        )
        return list(map(ListedJob._make, rows))


def read_open_names(path: Path, *, state: str, priority: str | None) -> set[bytes]:
    """Return the names of all files that wait with a priority, or are processed, as the file system has them.

    Raises:
        UnreadableLedger: it cannot be read.
    """
    if not path.exists():
        return set()
    with open_read_only(path) as database:
        names = "SELECT name FROM jobs WHERE state = ? AND (? IS NULL OR priority = ?)"
        return {row[0] for row in database.execute(names, (state, priority, priority))}


def read_ended_page(
    path: Path, *, states: Collection[str], before: str, limit: int, search: str
) -> list[EndedJob]:
    """Return jobs that have ended, the last one first; none if there is no ledger.

    Args:
        states: completed, failed or skipped.
        before: `cursor` of the last job of the page before; "" for the first page.
        search: only files with this in their names.
    Raises:
        UnreadableLedger: it cannot be read.
    """
    if not path.exists():
        return []
    wanted = ", ".join(f"'{state}'" for state in ENDED if state in states) or "''"
    at, began, job_id = [*before.split("/"), "", ""][:3]
    with open_read_only(path) as database:
        began_column = _began_column(database)
        order = ("coalesce(finished_at, '')", began_column, "id")
        rows = database.execute(
            f"SELECT *, {began_column} AS start FROM jobs WHERE state IN ({wanted})"
            f" AND (:before = '' OR ({', '.join(order)}) < (:at, :began, :id))"
            f" AND {_has_search(database, search)}"
            f" ORDER BY {' DESC, '.join(order)} DESC LIMIT :limit",
            {
                "before": before,
                "at": at,
                "began": int(began) if began.isdecimal() else 0,
                "id": job_id,
                "limit": limit,
                "search": search,
            },
        ).fetchall()
        checkpoints = _checkpoints(database, rows)
        return [
            EndedJob(
                value=value_of_job(database, row),
                finished_at=row["finished_at"],
                checkpoint=checkpoints.get(row["id"]),
                reason=message_of(row["reason"]),
                began=row["start"],
            )
            for row in rows
        ]


def _began_column(database: sqlite3.Connection) -> str:
    columns = {row["name"] for row in database.execute("PRAGMA table_info(jobs)")}
    return "coalesce(began, 0)" if "began" in columns else "0"  # else a ledger of an older version


def _checkpoints(database: sqlite3.Connection, rows: list[sqlite3.Row]) -> dict[str, str]:
    completed = [row for row in rows if row["state"] == Outcome.COMPLETED]
    if not completed:
        return {}
    # What came before the first of them began is of no use, and there may be years of it
    since = min(row["started_at"] or "" for row in completed)
    return first_checkpoints(database, {row["id"] for row in completed}, since=since)


def _has_search(database: sqlite3.Connection, search: str) -> str:
    """Return the condition that a name has what is sought in it, whatever the case of its letters."""
    if not search:
        return ":search = ''"
    folded = search.casefold()
    database.create_function("is_sought", 1, lambda name: folded in name.casefold(), deterministic=True)
    return "is_sought(display) AND :search <> ''"
