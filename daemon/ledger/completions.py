"""Read what completed files have brought, the last one first, and the first checkpoint with each."""

import sqlite3
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from daemon.ledger.event_stream import recorded_event
from daemon.ledger.file_value import FileValue, value_of_job
from daemon.ledger.reader import open_read_only

TOGETHER = 100  # files that one checkpoint may complete beside those that are shown


@dataclass(frozen=True, kw_only=True)
class Completion:
    """A completed file."""

    value: FileValue
    finished_at: str | None
    """UTC, ISO 8601."""
    checkpoint: str | None
    """Name of the first one published after its last step; None where no event says so any more."""


def count_completions(path: Path) -> int:
    """Return how many files have been completed; 0 if there is no ledger.

    Raises:
        UnreadableLedger: it cannot be read.
    """
    if not path.exists():
        return 0
    with open_read_only(path) as database:
        return int(database.execute("SELECT count(*) FROM jobs WHERE state = 'completed'").fetchone()[0])


def read_completions(path: Path, *, limit: int) -> list[Completion]:
    """Return the files that were completed last, the last one first; none if there is no ledger.

    Raises:
        UnreadableLedger: it cannot be read.
    """
    if not path.exists():
        return []
    with open_read_only(path) as database:
        newest = "SELECT * FROM jobs WHERE state = 'completed' ORDER BY finished_at DESC, id DESC LIMIT ?"
        jobs = database.execute(newest, (limit + TOGETHER,)).fetchall()
        jobs = sorted(jobs, key=_order_of_completion, reverse=True)[:limit]
        checkpoints = first_checkpoints(database, {job["id"] for job in jobs})
        return [
            Completion(
                value=value_of_job(database, job),
                finished_at=job["finished_at"],
                checkpoint=checkpoints.get(job["id"]),
            )
            for job in jobs
        ]


def _order_of_completion(job: sqlite3.Row) -> tuple[str, int, str]:
    """Files that one checkpoint completes end at once: then the one that began later is later."""
    columns = job.keys()
    began = job["began"] if "began" in columns else None  # else a ledger of an older version
    return job["finished_at"] or "", began or 0, job["id"]


def first_checkpoint(path: Path, job_id: str) -> str | None:
    """Return the name of the first checkpoint published after a job's last step; None where no event says so.

    Raises:
        UnreadableLedger: it cannot be read.
    """
    if not path.exists():
        return None
    with open_read_only(path) as database:
        return first_checkpoints(database, {job_id}).get(job_id)


def first_checkpoints(
    database: sqlite3.Connection, job_ids: Collection[str], *, since: str = ""
) -> dict[str, str]:
    """Return the names of the first checkpoints published after the last steps of jobs, by job.

    A job that had to be trained again, because an older checkpoint was used, has a later last step.

    Args:
        since: UTC, ISO 8601. When the first of the jobs began; what happened before is not read.
    """
    first: dict[str, str] = {}
    unsaved: set[str] = set()
    read = "SELECT * FROM events WHERE kind IN ('trained', 'checkpoint') AND at >= ? ORDER BY id"
    for row in database.execute(read, (since,)):
        if row["kind"] == "trained" and row["job_id"] in job_ids:
            first.pop(row["job_id"], None)
            unsaved.add(row["job_id"])
        elif row["kind"] == "checkpoint" and unsaved:
            saved = str((recorded_event(row).data or {}).get("path", ""))
            first |= dict.fromkeys(unsaved, saved.rpartition("/")[2])
            unsaved.clear()
    return {job_id: name for job_id, name in first.items() if name}
