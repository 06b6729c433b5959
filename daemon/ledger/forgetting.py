"""What the ledger knows of a content that is to be forgotten, and of the jobs that were trained after it."""

import json
import re
import sqlite3
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from daemon.files.identity import Identity, identity_of_row
from daemon.ledger.completed_files import completed, replayed_files
from daemon.ledger.job_rows import FORGOTTEN, job_of
from daemon.ledger.reader import has_table, open_read_only
from daemon.ledger.stretches import RecordedStretch, stretches_in, table_of_stretches
from trainer.protocol.job import EarlierFile, Job, Window
from trainer.protocol.text import printable

SHA256_START = re.compile(r"[0-9a-f]{8,64}")
RECENT = 1_000  # steps, for the speed


@dataclass(frozen=True, kw_only=True)
class Content:
    """A content that was accepted, once or several times."""

    sha256: str
    names: tuple[str, ...]
    """Printable."""
    job_ids: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class TrainedJob:
    """A job with everything that decides how it is trained."""

    job: Job
    state: str
    identity: Identity
    settings: dict[str, Any] | None
    """The sections that it has kept since it started."""
    replayed: tuple[EarlierFile, ...]
    micro_batch_tokens: int | None
    left_out: tuple[Window, ...]
    started_at: str | None
    seconds_per_step: float | None
    is_forgotten: bool


class ForgettingReader:
    """An open ledger, and the questions to it."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def contents(self, name: str) -> list[Content]:
        """Return the contents that a person may mean.

        Args:
            name: of a file as it is or as it is shown, the id of a job, or the start of a SHA-256.
        """
        start = f"{name}%" if SHA256_START.fullmatch(name) else None
        found = self._database.execute(
            "SELECT DISTINCT sha256 FROM jobs WHERE display = :name OR id = :name"
            " OR (:start IS NOT NULL AND sha256 LIKE :start) ORDER BY sha256",
            {"name": printable(name), "start": start},
        )
        return [self.content(row["sha256"]) for row in found.fetchall()]

    def content(self, sha256: str) -> Content:
        """Return a content with the jobs that have it."""
        rows = self._database.execute(
            "SELECT id, display FROM jobs WHERE sha256 = ? ORDER BY id", (sha256,)
        ).fetchall()
        return Content(
            sha256=sha256,
            names=tuple(dict.fromkeys(row["display"] for row in rows)),
            job_ids=tuple(row["id"] for row in rows),
        )

    def replaying(self, sha256: str) -> list[str]:
        """Return the ids of the jobs that were to replay rows of a content."""
        rows = self._database.execute(
            "SELECT id, replayed FROM jobs WHERE replayed IS NOT NULL AND instr(replayed, ?)", (sha256,)
        )
        return [
            row["id"]
            for row in rows
            if any(file.sha256 == sha256 for file in replayed_files(row["replayed"]))
        ]

    def job(self, job_id: str) -> TrainedJob | None:
        """Return a job; None if the ledger does not know it."""
        row = self._database.execute("SELECT * FROM jobs WHERE id = ?", (job_id,)).fetchone()
        return _job(row) if row else None

    def stretches(self, *, after: int, until: int) -> list[RecordedStretch]:
        """Return the stretches of the present state between two steps, cut to them, oldest first."""
        return stretches_in(self._database, after=after, until=until)

    def first_steps(self, job_ids: Collection[str]) -> list[int]:
        """Return the first steps of the stretches that jobs have in the present state."""
        marks = ",".join("?" * len(job_ids))
        rows = self._database.execute(
            f"SELECT first_step FROM {table_of_stretches(self._database)} WHERE job_id IN ({marks})",
            list(job_ids),
        )
        return [row["first_step"] for row in rows]

    def last_steps(self, job_ids: Collection[str]) -> list[int]:
        """Return the last steps of these stretches."""
        marks = ",".join("?" * len(job_ids))
        rows = self._database.execute(
            f"SELECT last_step FROM {table_of_stretches(self._database)} WHERE job_id IN ({marks})",
            list(job_ids),
        )
        return [row["last_step"] for row in rows]

    def left_first_steps(self, job_ids: Collection[str]) -> list[tuple[int, int]]:
        """Return the branches, and the first steps there, of stretches that the model has left."""
        if not has_table(self._database, "left_stretches"):
            return []
        marks = ",".join("?" * len(job_ids))
        rows = self._database.execute(
            f"SELECT branch, first_step FROM left_stretches WHERE job_id IN ({marks})", list(job_ids)
        )
        return [(row["branch"], row["first_step"]) for row in rows]

    def older_completed(self, before_id: str, *, until: str) -> Iterator[EarlierFile]:
        """Yield the files of jobs before one that had been completed at a time, newest first."""
        rows = self._database.execute(
            "SELECT * FROM jobs WHERE state = 'completed' AND id < ? AND finished_at <= ? ORDER BY id DESC",
            (before_id, until),
        )
        for row in rows:
            yield completed(row).file

    def seconds_per_step(self) -> float | None:
        """Return what the newest steps took on average; None without any."""
        newest = f"SELECT seconds FROM steps ORDER BY global_step DESC LIMIT {RECENT}"
        [found] = self._database.execute(f"SELECT avg(seconds) FROM ({newest})").fetchone()
        return found if found is None else float(found)


@contextmanager
def reading_to_forget(path: Path) -> Iterator[ForgettingReader]:
    """Open the ledger for these questions.

    Raises:
        UnreadableLedger: it cannot be read.
    """
    with open_read_only(path) as database:
        yield ForgettingReader(database)


def _job(row: sqlite3.Row) -> TrainedJob:
    windows = json.loads(row["left_out"] or "[]")
    steps, seconds = row["steps"], row["seconds"]
    return TrainedJob(
        job=job_of(row),
        state=row["state"],
        identity=identity_of_row(row),
        settings=json.loads(row["settings"]) if row["settings"] else None,
        replayed=replayed_files(row["replayed"]),
        micro_batch_tokens=row["micro_batch_tokens"],
        left_out=tuple(Window(first=first, last=last) for first, last in windows),
        started_at=row["started_at"],
        seconds_per_step=seconds / steps if seconds and steps else None,
        is_forgotten=row["state"] == "removed" and f'"{FORGOTTEN}' in (row["reason"] or ""),
    )
