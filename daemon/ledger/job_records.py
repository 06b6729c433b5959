"""Read what the ledger knows about jobs: those in the queue, one by its file, or all of them page by page."""

import json
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from daemon.files.identity import Identity, signed
from daemon.ledger.reader import open_read_only
from trainer.protocol.places import Outcome
from trainer.protocol.text import printable

OPEN = "('waiting', 'processing')"
# What was trained before the newest worker began, and after the last checkpoint until then, is lost
WORKER_BEGAN = (
    "coalesce((SELECT at FROM events WHERE kind IN ('worker_started', 'daemon_started')"
    " ORDER BY id DESC LIMIT 1), '')"
)
SAVED_BEFORE = (
    f"coalesce((SELECT at FROM events WHERE kind = 'checkpoint' AND at < {WORKER_BEGAN}"
    " ORDER BY id DESC LIMIT 1), '')"
)
IS_TRAINED = (
    "(SELECT ended_at IS NOT NULL AND verdict = 'completed'"
    f" AND (ended_at > {WORKER_BEGAN} OR ended_at <= {SAVED_BEFORE})"
    " FROM attempts WHERE job_id = jobs.id ORDER BY number DESC LIMIT 1)"
)
# As the row of a job has them once it has ended
SUMS = (
    "SELECT count(*) AS steps, sum(rows) AS rows_trained, sum(tokens) AS tokens, sum(seconds) AS seconds,"
    " (SELECT loss FROM steps WHERE job_id = :id ORDER BY file_step LIMIT 1) AS first_loss,"
    " (SELECT loss FROM steps WHERE job_id = :id ORDER BY file_step DESC LIMIT 1) AS last_loss"
    " FROM steps WHERE job_id = :id"
)


class OpenJob(NamedTuple):
    """A job that waits or is being processed."""  # a tuple, because there may be a hundred thousand of them

    name: bytes
    """As the file system has it."""
    priority: str
    state: str
    rows: int
    id: str
    format: str
    """Empty while it is not known."""
    is_trained: int | None
    """1 if it is trained to its end and waits for its checkpoint; None while it waits."""


@dataclass(frozen=True, kw_only=True)
class RecordedJob:
    """A job as the ledger has it."""

    id: str
    """Sorts by arrival."""
    name: str
    """Of its file; printable."""
    state: str
    """waiting, processing, completed, failed, skipped, or removed by hand."""
    priority: str
    sha256: str
    """Of its content."""
    rows: int
    """Rows that can be trained."""
    rejected_lines: tuple[int, ...]
    """Numbers of the lines that were rejected, counted from 1, ascending."""
    rows_trained: int
    """So far. The ledger's table of jobs has this and the next five only once the job has ended."""
    steps: int
    tokens: int
    seconds: float
    first_loss: float | None
    """Of its first step; None without one, or where it was no finite number."""
    last_loss: float | None
    accepted_at: str
    """UTC, ISO 8601, as the next two."""
    started_at: str | None
    finished_at: str | None
    attempts: int
    """Those that it was charged with."""
    format: str | None
    """Of its rows; None where it is not known."""
    reason: str | None
    """Why it failed or was skipped; printable."""


def read_open_jobs(path: Path) -> dict[bytes, list[OpenJob]]:
    """Return the jobs that wait or are processed, by the names of their files, in order of arrival.

    Raises:
        UnreadableLedger: it cannot be read.
    """
    if not path.exists():
        return {}
    with open_read_only(path) as database:
        columns = {row["name"] for row in database.execute("PRAGMA table_info(jobs)")}
        format_column = "format" if "format" in columns else "''"  # of an earlier release
        database.row_factory = None
        rows = database.execute(
            f"SELECT name, priority, state, rows, id, {format_column},"
            f" CASE state WHEN 'processing' THEN {IS_TRAINED} END"
            f" FROM jobs WHERE state IN {OPEN} ORDER BY id"
        )
        known: dict[bytes, list[OpenJob]] = {}
        for job in map(OpenJob._make, rows):
            known.setdefault(job.name, []).append(job)
        return known


def is_trained(path: Path, job_id: str) -> bool:
    """Whether a job is trained to its end, and its worker still there to save that.

    Raises:
        UnreadableLedger: it cannot be read.
    """
    with open_read_only(path) as database:
        row = database.execute(f"SELECT {IS_TRAINED} FROM jobs WHERE id = ?", (job_id,)).fetchone()
    return bool(row and row[0])


def unrecorded_steps(path: Path, job_id: str, *, until: int) -> int:
    """Return how many of the first steps of a job that the ledger knows are neither recorded nor left out.

    Args:
        until: the last of them, counted from 1 in the job.
    Raises:
        UnreadableLedger: it cannot be read.
    """
    with open_read_only(path) as database:
        count = "SELECT count(*) FROM steps WHERE job_id = ? AND file_step <= ?"
        recorded: int = database.execute(count, (job_id, until)).fetchone()[0]
        row = database.execute("SELECT * FROM jobs WHERE id = ?", (job_id,)).fetchone()
    columns = row.keys()  # an earlier release left nothing out
    windows = json.loads(row["left_out"] or "[]") if "left_out" in columns else []
    left_out = {step for first, last in windows for step in range(first, min(last + 1, until))}
    return max(0, until - recorded - len(left_out))


def read_page_of_jobs(path: Path, *, before: str | None, limit: int, state: str | None) -> list[RecordedJob]:
    """Return jobs, the newest first; none if there is no ledger.

    Args:
        before: id of the last job of the page before; None for the first page.
        state: only jobs in it; None for all.
    Raises:
        UnreadableLedger: it cannot be read.
    """
    if not path.exists():
        return []
    with open_read_only(path) as database:
        rows = database.execute(
            "SELECT * FROM jobs WHERE (:before IS NULL OR id < :before)"
            " AND (:state IS NULL OR state = :state) ORDER BY id DESC LIMIT :limit",
            {"before": before, "state": state, "limit": limit},
        ).fetchall()
        return [_recorded(database, row) for row in rows]


def find_job(path: Path, job_id: str) -> RecordedJob | None:
    """Return a job by its id; None if the ledger does not know it.

    Raises:
        UnreadableLedger: it cannot be read.
    """
    return _find(path, "id = ?", (job_id,))


def find_job_named(path: Path, name: str) -> RecordedJob | None:
    """Return the newest job whose file has this name, as it is or as it is shown; None if there is none.

    Raises:
        UnreadableLedger: it cannot be read.
    """
    return _find(path, "display = ?", (printable(name),))


def job_ids_named(path: Path, name: str, *, limit: int = -1) -> list[str]:
    """Return the ids of the jobs whose files have this name, as it is or as it is shown, the newest first.

    Args:
        limit: only so many; all if it is negative.
    Raises:
        UnreadableLedger: it cannot be read.
    """
    if not path.exists():
        return []
    with open_read_only(path) as database:
        newest = "SELECT id FROM jobs WHERE display = ? ORDER BY id DESC LIMIT ?"
        return [row["id"] for row in database.execute(newest, (printable(name), limit))]


def name_of_job(path: Path, job_id: str) -> str | None:
    """Return the name of a job's file, printable; None if the ledger does not know the job.

    Raises:
        UnreadableLedger: it cannot be read.
    """
    if not path.exists():
        return None
    with open_read_only(path) as database:
        row = database.execute("SELECT display FROM jobs WHERE id = ?", (job_id,)).fetchone()
        return str(row["display"]) if row else None


def read_waiting_sums(path: Path) -> tuple[int, int]:
    """Return how many jobs wait, and how many rows they have.

    Raises:
        UnreadableLedger: it cannot be read.
    """
    if not path.exists():
        return 0, 0
    with open_read_only(path) as database:
        sums = "SELECT count(*), coalesce(sum(rows), 0) FROM jobs WHERE state = 'waiting'"
        files, rows = database.execute(sums).fetchone()
        return int(files), int(rows)


def settings_of_job(path: Path, job_id: str) -> str | None:
    """Return the settings that a job started with, as JSON; None before that, and of a job that is unknown.

    Raises:
        UnreadableLedger: it cannot be read.
    """
    if not path.exists():
        return None
    with open_read_only(path) as database:
        row = database.execute("SELECT settings FROM jobs WHERE id = ?", (job_id,)).fetchone()
        return row["settings"] if row else None


def find_job_of(path: Path, identity: Identity, *, state: str = "") -> RecordedJob | None:
    """Return the newest job with this very file; None if there is none.

    Args:
        state: jobs in this one come first. A file that was put back and undone has been that of two jobs.
    Raises:
        UnreadableLedger: it cannot be read.
    """
    values = (signed(identity.inode), signed(identity.device), identity.size, identity.mtime_ns)
    condition = "inode = ? AND device = ? AND size_bytes = ? AND mtime_ns = ?"
    return _find(path, condition, values, first_in=state)


def _find(
    path: Path, condition: str, values: tuple[str | int, ...], *, first_in: str = ""
) -> RecordedJob | None:
    if not path.exists():
        return None
    with open_read_only(path) as database:
        row = database.execute(
            f"SELECT * FROM jobs WHERE {condition} ORDER BY state = ? DESC, id DESC LIMIT 1",
            (*values, first_in),
        ).fetchone()
        return _recorded(database, row) if row else None


def sums_of(database: sqlite3.Connection, row: sqlite3.Row) -> sqlite3.Row:
    """Return what has `steps`, `rows_trained`, `tokens`, `seconds` and the losses of a job.

    Of one that has not ended they are not in its row yet; of an old one the steps are thinned out.
    """
    if row["state"] in list(Outcome):
        return row
    found: sqlite3.Row = database.execute(SUMS, {"id": row["id"]}).fetchone()
    return found


def _recorded(database: sqlite3.Connection, row: sqlite3.Row) -> RecordedJob:
    sums = sums_of(database, row)
    columns = row.keys()
    return RecordedJob(
        id=row["id"],
        name=row["display"],
        state=row["state"],
        priority=row["priority"],
        sha256=row["sha256"],
        rows=row["rows"],
        rejected_lines=tuple(json.loads(row["rejected"])),
        rows_trained=sums["rows_trained"] or 0,
        steps=sums["steps"],
        tokens=sums["tokens"] or 0,
        seconds=sums["seconds"] or 0.0,
        first_loss=sums["first_loss"],
        last_loss=sums["last_loss"],
        accepted_at=row["accepted_at"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        attempts=row["attempts"],
        format=(row["format"] or None) if "format" in columns else None,
        reason=message_of(row["reason"]),
    )


def message_of(reason: str | None) -> str | None:
    """Return the sentence in the column `reason`."""
    return printable(str(json.loads(reason)["message"])) if reason else None
