"""The history: jobs, attempts, steps, events in one SQLite file.

Follows the folders and checkpoints, never leads them. Written by the daemon alone; anybody may read it at any
time (write-ahead logging keeps readers and writer apart). A row per job stays for
ever; steps and events are bounded: `thin` keeps the recent ones, and of older steps every hundredth.
"""

import json
import os
import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from daemon.settling import Identity
from trainer.protocol.job import Job, JobRecord, Outcome, Priority, Reason
from trainer.protocol.messages import StepReport, Validated
from trainer.protocol.text import printable, utc_text

SCHEMA_VERSION = 1
THINNED_TO_EVERY = 100
EVENTS_KEPT = 100_000
LOCK_TIMEOUT_S = 10.0
DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY,           -- sorts by arrival
    name BLOB NOT NULL,            -- bytes, as the file system has them
    display TEXT NOT NULL,         -- the name made printable
    priority TEXT NOT NULL,
    state TEXT NOT NULL,           -- waiting, processing, completed, failed, skipped, removed
    sha256 TEXT NOT NULL,
    rows INTEGER NOT NULL,         -- that can be trained
    rejected TEXT NOT NULL,        -- JSON list of line numbers
    size_bytes INTEGER NOT NULL,
    device INTEGER NOT NULL, inode INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
    accepted_at TEXT NOT NULL, started_at TEXT, finished_at TEXT,
    attempts INTEGER NOT NULL DEFAULT 0,
    settings TEXT,                 -- JSON; frozen when the job first starts
    reason TEXT,                   -- JSON, as in NAME.reason.json
    rows_trained INTEGER NOT NULL DEFAULT 0,
    steps INTEGER NOT NULL DEFAULT 0,
    tokens INTEGER, seconds REAL, first_loss REAL, last_loss REAL
);
CREATE INDEX IF NOT EXISTS jobs_by_state ON jobs (state, id);
CREATE TABLE IF NOT EXISTS attempts (
    job_id TEXT NOT NULL, number INTEGER NOT NULL, started_at TEXT NOT NULL,
    ended_at TEXT, verdict TEXT, message TEXT, PRIMARY KEY (job_id, number)
);
CREATE TABLE IF NOT EXISTS steps (
    global_step INTEGER PRIMARY KEY, job_id TEXT NOT NULL, file_step INTEGER NOT NULL, rows INTEGER NOT NULL,
    tokens INTEGER NOT NULL, supervised_tokens INTEGER NOT NULL, loss REAL, learning_rate REAL NOT NULL,
    grad_norm REAL, seconds REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS steps_by_job ON steps (job_id, file_step);
CREATE TABLE IF NOT EXISTS validations (global_step INTEGER PRIMARY KEY, loss REAL, rows INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS events (
    id INTEGER PRIMARY KEY, at TEXT NOT NULL, kind TEXT NOT NULL, job_id TEXT, message TEXT NOT NULL
);
"""


class DamagedLedger(sqlite3.DatabaseError):
    """The file is an SQLite file, but its pages do not fit together."""

    sqlite_errorcode = sqlite3.SQLITE_CORRUPT


class UnusableLedger(RuntimeError):
    """The ledger is whole but cannot be used: another release wrote it, or another process holds it."""


@dataclass(frozen=True)
class KnownJob:
    """An open job as the ledger remembers it."""

    job: Job
    state: str
    identity: Identity


class Ledger:
    """The open ledger. Changes become visible to others with `commit`.

    Args:
        clock: Unix seconds.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._database = _open(path)
        self._steps_since_thinning = 0

    def commit(self) -> None:
        """Make everything noted since the last call visible and durable against a crash of this process."""
        self._database.commit()

    def close(self) -> None:
        """Commit and close."""
        self.commit()
        self._database.close()

    # ---- jobs

    def add_job(self, job: Job, identity: Identity, state: str) -> None:
        """Note an accepted file."""
        self._database.execute(
            "INSERT OR REPLACE INTO jobs (id, name, display, priority, state, sha256, rows, rejected,"
            " size_bytes, device, inode, mtime_ns, accepted_at) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)",
            (
                job.id, os.fsencode(job.name), printable(job.name), job.priority.value, state,
                job.sha256, job.rows, json.dumps(job.rejected_lines), job.size_bytes,
                # SQLite's integers are signed
                _signed(identity.device), _signed(identity.inode), identity.mtime_ns, self._now(),
            ),
        )  # fmt: skip

    def open_jobs(self) -> list[KnownJob]:
        """Return the jobs that wait or are processed, in order of arrival."""
        rows = self._database.execute(
            "SELECT * FROM jobs WHERE state IN ('waiting','processing') ORDER BY id"
        )
        return [_known_job(row) for row in rows]

    def newest_job_id(self) -> str | None:
        """Return the highest job id ever given."""
        newest: str | None = self._database.execute("SELECT max(id) FROM jobs").fetchone()[0]
        return newest

    def state_of(self, job_id: str | None) -> str | None:
        """Return the state of a job; None if it is unknown."""
        row = self._database.execute("SELECT state FROM jobs WHERE id=?", (job_id,)).fetchone()
        return str(row["state"]) if row else None

    def place_job(self, job: Job, state: str) -> None:
        """Note where a job's file is now, and under which name."""
        self._database.execute(
            "UPDATE jobs SET name=?, display=?, priority=?, state=? WHERE id=?",
            (os.fsencode(job.name), printable(job.name), job.priority.value, state, job.id),
        )

    def rename_job(self, job_id: str, name: str) -> None:
        """Note that a file had to take another name."""
        self._database.execute(
            "UPDATE jobs SET name=?, display=? WHERE id=?", (os.fsencode(name), printable(name), job_id)
        )

    def ending_of(self, identity: Identity) -> tuple[Outcome, Reason | None] | None:
        """Return how the newest job with this file ended; None if it is unknown or still open."""
        row = self._database.execute(
            "SELECT state, reason FROM jobs WHERE inode=? AND device=? AND size_bytes=? AND mtime_ns=?"
            " ORDER BY id DESC LIMIT 1",
            (_signed(identity.inode), _signed(identity.device), identity.size, identity.mtime_ns),
        ).fetchone()
        if row is None or row["state"] not in list(Outcome):
            return None
        return Outcome(row["state"]), Reason.model_validate_json(row["reason"]) if row["reason"] else None

    def completed_after(self, global_step: int) -> list[str]:
        """Return the ids of completed jobs with steps that come after `global_step`."""
        rows = self._database.execute(
            "SELECT DISTINCT job_id FROM steps JOIN jobs ON jobs.id = job_id"
            " WHERE global_step > ? AND state = 'completed' ORDER BY job_id",
            (global_step,),
        )
        return [row["job_id"] for row in rows]

    def find_job(self, job_id: str) -> KnownJob | None:
        """Return a job, whatever its state; None if it is unknown."""
        row = self._database.execute("SELECT * FROM jobs WHERE id=?", (job_id,)).fetchone()
        return _known_job(row) if row else None

    def finish_job(self, job: Job, state: str, record: JobRecord | None, reason: Reason | None) -> None:
        """Note how a job ended, with the sums over its steps."""
        self.place_job(job, state)
        self._database.execute(
            "UPDATE jobs SET finished_at=:now, reason=:reason, rows_trained=:rows, steps=:steps,"
            " tokens=(SELECT sum(tokens) FROM steps WHERE job_id=:id),"
            " seconds=(SELECT sum(seconds) FROM steps WHERE job_id=:id),"
            " first_loss=(SELECT loss FROM steps WHERE job_id=:id ORDER BY file_step LIMIT 1),"
            " last_loss=(SELECT loss FROM steps WHERE job_id=:id ORDER BY file_step DESC LIMIT 1)"
            " WHERE id=:id",
            {
                "id": job.id,
                "now": self._now(),
                "reason": reason.model_dump_json() if reason else None,
                "rows": record.rows_trained if record else 0,
                "steps": record.steps if record else 0,
            },
        )

    def frozen_settings(self, job_id: str) -> dict[str, Any] | None:
        """Return the settings a job started with; None before its first start."""
        row = self._database.execute("SELECT settings FROM jobs WHERE id=?", (job_id,)).fetchone()
        return json.loads(row["settings"]) if row and row["settings"] else None

    def freeze_settings(self, job_id: str, settings: dict[str, Any] | None) -> None:
        """Note the settings a job starts with; None lets the next start choose again."""
        self._database.execute(
            "UPDATE jobs SET settings=? WHERE id=?", (json.dumps(settings) if settings else None, job_id)
        )

    # ---- attempts

    def start_attempt(self, job_id: str) -> None:
        """Note an attempt before it is made, so that it counts even if nobody lives to see its end."""
        self._database.execute(
            "UPDATE attempts SET ended_at=?, verdict='interrupted' WHERE job_id=? AND ended_at IS NULL",
            (self._now(), job_id),
        )
        self._database.execute(
            "INSERT INTO attempts (job_id, number, started_at)"
            " SELECT ?, coalesce(max(number), 0) + 1, ? FROM attempts WHERE job_id=?",
            (job_id, self._now(), job_id),
        )
        self._database.execute(
            "UPDATE jobs SET started_at=coalesce(started_at, ?) WHERE id=?", (self._now(), job_id)
        )
        self.commit()

    def end_attempt(self, job_id: str, verdict: str, message: str | None, *, is_charged: bool) -> int:
        """Note how the last attempt ended; return the number of attempts charged to the job."""
        self._database.execute(
            "UPDATE attempts SET ended_at=?, verdict=?, message=? WHERE job_id=? AND ended_at IS NULL",
            (self._now(), verdict, message, job_id),
        )
        self._database.execute("UPDATE jobs SET attempts=attempts+? WHERE id=?", (int(is_charged), job_id))
        row = self._database.execute("SELECT attempts FROM jobs WHERE id=?", (job_id,)).fetchone()
        return int(row["attempts"]) if row else 0

    # ---- steps

    def add_steps(self, steps: Iterable[StepReport]) -> None:
        """Note optimizer steps; one that is trained again after a crash replaces its first report."""
        rows = [
            (
                step.global_step, step.job_id, step.file_step, step.rows, step.tokens, step.supervised_tokens,
                step.loss, step.learning_rate, step.grad_norm, step.seconds,
            )
            for step in steps
        ]  # fmt: skip
        self._database.executemany("INSERT OR REPLACE INTO steps VALUES (?,?,?,?,?,?,?,?,?,?)", rows)
        self._steps_since_thinning += len(rows)

    def add_validation(self, result: Validated) -> None:
        """Note a validation loss."""
        self._database.execute(
            "INSERT OR REPLACE INTO validations VALUES (?,?,?)",
            (result.global_step, result.loss, result.rows),
        )

    def rewind(self, global_step: int) -> None:
        """Forget steps that the model has not taken after all: they came after its newest checkpoint."""
        self._database.execute("DELETE FROM steps WHERE global_step > ?", (global_step,))
        self._database.execute("DELETE FROM validations WHERE global_step > ?", (global_step,))

    def thin(self, keep: int) -> None:
        """Drop old steps but every hundredth, and old events; cheap unless there is much to drop."""
        if self._steps_since_thinning < keep // 10:
            return
        self._steps_since_thinning = 0
        self._database.execute(
            "DELETE FROM steps WHERE global_step % ? <> 0"
            " AND global_step <= (SELECT global_step FROM steps ORDER BY global_step DESC LIMIT 1 OFFSET ?)",
            (THINNED_TO_EVERY, keep),
        )
        self._database.execute(
            "DELETE FROM events WHERE id <= (SELECT max(id) FROM events) - ?", (EVENTS_KEPT,)
        )

    # ---- events

    def add_event(self, kind: str, message: str, job_id: str | None = None) -> None:
        """Note that something happened."""
        self._database.execute(
            "INSERT INTO events (at, kind, job_id, message) VALUES (?,?,?,?)",
            (self._now(), kind, job_id, printable(message)),
        )

    def _now(self) -> str:
        return utc_text(self._clock())


def _open(path: Path) -> sqlite3.Connection:
    try:
        return _connect(path)
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode & 0xFF not in DAMAGED:
            raise UnusableLedger(f"{path}: {error}; close what holds it or make it accessible") from error
        # Everything in it that matters can be had from folders and checkpoints; the damaged file is kept
        aside = path.with_name(f"{path.name}.corrupt-{os.stat(path).st_mtime_ns}")
        os.rename(path, aside)
        path.with_name(path.name + "-shm").unlink(missing_ok=True)
        if (log := path.with_name(path.name + "-wal")).exists():
            os.rename(log, aside.with_name(aside.name + "-wal"))
        return _connect(path)


def _connect(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=LOCK_TIMEOUT_S)
    database.row_factory = sqlite3.Row
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=FULL")
    [version] = database.execute("PRAGMA user_version").fetchone()
    if version not in (0, SCHEMA_VERSION):
        raise UnusableLedger(
            f"{path}: schema version is {version}; expected {SCHEMA_VERSION}; use the release that wrote it"
        )
    [health] = database.execute("PRAGMA quick_check(1)").fetchone()
    if health != "ok":
        database.close()
        raise DamagedLedger(health)
    database.executescript(SCHEMA)
    database.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
    return database


def _known_job(row: sqlite3.Row) -> KnownJob:
    job = Job(
        id=row["id"],
        name=os.fsdecode(row["name"]),
        priority=Priority(row["priority"]),
        sha256=row["sha256"],
        rows=row["rows"],
        size_bytes=row["size_bytes"],
        rejected_lines=tuple(json.loads(row["rejected"])),
    )
    identity = Identity(_unsigned(row["device"]), _unsigned(row["inode"]), row["size_bytes"], row["mtime_ns"])
    return KnownJob(job, row["state"], identity)


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


def _unsigned(value: int) -> int:
    return value + (1 << 64) if value < 0 else value
