"""Write the history, jobs, attempts, steps and events, to one SQLite file.

Follows the folders and checkpoints, never leads them. Written by the daemon alone; anybody may read it at any
time (write-ahead logging keeps readers and writer apart). A row per job stays for
ever, and so do the few of steps that were not applied; the rest is bounded: `thin` keeps the recent steps and
events, and of older steps every hundredth.
"""

import json
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from daemon.files.identity import Identity, identity_of_row, signed
from daemon.ledger.branches import Branches
from daemon.ledger.completed_files import NEWEST_COMPLETED, Completed, completed, replayed_files
from daemon.ledger.crash_rows import Crash, crash_of, storable
from daemon.ledger.database import open_ledger
from daemon.ledger.evaluations import Evaluations
from daemon.ledger.gate_verdicts import GateVerdicts
from daemon.ledger.job_rows import FORGOTTEN, job_of
from daemon.ledger.open_files import OpenFile, read_open_files, read_trained_rows
from daemon.ledger.stretches import Stretches
from trainer.protocol.failpoints import failpoint
from trainer.protocol.job import EarlierFile, FaultKind, Job, JobRecord, Outcome, Reason, Window
from trainer.protocol.messages import StepReport, Validated
from trainer.protocol.text import printable, utc_text

# Of a job, as its steps tell
ROWS_TRAINED = (
    "(SELECT coalesce(sum(rows), 0) FROM steps WHERE job_id=:id"
    " AND global_step NOT IN (SELECT global_step FROM not_applied))"
)
STEPS_TAKEN = "(SELECT count(*) FROM steps WHERE job_id=:id)"
THINNED_TO_EVERY = 100
EVENTS_KEPT = 100_000
CRASHES_KEPT = 5_000
MESSAGE_KEPT = 1_000
MAY_QUOTE_A_ROW = (  # of a job's events
    "(kind IN ('data_report', 'training_failed', 'given_up')"
    " OR kind = 'finished' AND json_extract(data, '$.outcome') = 'failed'"
    " OR kind = 'accepted' AND json_extract(data, '$.first_rejection') IS NOT NULL)"
)


@dataclass(frozen=True)
class KnownJob:
    """A job as the ledger remembers it."""

    job: Job
    state: str
    identity: Identity
    start_number: int | None
    """Its number in the order of starts; None before the first."""


@dataclass(frozen=True)
class RetryHints:
    """What earlier workers have found out about a job, by training it or by their ends."""

    micro_batch_tokens: int | None = None
    """What it started with where the settings say `auto`; less, once memory ran out."""
    left_out: tuple[Window, ...] = ()


class Ledger:
    """The open ledger. Changes become visible to others with `commit`.

    Args:
        clock: Unix seconds.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._database = open_ledger(path)
        self._rows_since_thinning = 0
        self.evaluations = Evaluations(self._database)
        self._stretches = Stretches(self._database)
        self.branches = Branches(self._database, self._stretches)
        self.gate_verdicts = GateVerdicts(self._database, now=self._now)

    def commit(self) -> None:
        """Make everything noted since the last call visible and durable against a crash of this process."""
        failpoint("ledger.noted")
        self._database.commit()
        failpoint("ledger.committed")

    def close(self) -> None:
        """Commit and close."""
        self.commit()
        self._database.close()

    # ---- jobs

    def add_job(self, job: Job, identity: Identity, state: str) -> None:
        """Note an accepted file."""
        self._database.write(
            "INSERT OR REPLACE INTO jobs (id, name, display, priority, state, sha256, rows, rejected,"
            " size_bytes, device, inode, mtime_ns, accepted_at, format, metadata)"
            " VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
            (
                job.id, os.fsencode(job.name), printable(job.name), job.priority.value, state,
                job.sha256, job.rows, json.dumps(job.rejected_lines), job.size_bytes,
                # SQLite's integers are signed
                signed(identity.device), signed(identity.inode), identity.mtime_ns, self._now(),
                job.format, json.dumps(job.metadata),
            ),
        )  # fmt: skip

    def open_files(self) -> Iterator[OpenFile]:
        """Yield the files of the jobs that wait or are processed, in order of arrival."""
        return read_open_files(self._database)

    def trained_rows(self) -> dict[str, int]:
        """Return how many rows of each open job that was started are trained, by its id."""
        return read_trained_rows(self._database)

    def newest_job_id(self) -> str | None:
        """Return the highest job id ever given."""
        newest: str | None = self._database.read("SELECT max(id) FROM jobs").fetchone()[0]
        return newest

    def state_of(self, job_id: str | None) -> str | None:
        """Return the state of a job; None if it is unknown."""
        row = self._database.read("SELECT state FROM jobs WHERE id=?", (job_id,)).fetchone()
        return str(row["state"]) if row else None

    def place_job(self, job: Job, state: str) -> None:
        """Note where a job's file is now, and under which name."""
        self._database.write(
            "UPDATE jobs SET name=?, display=?, priority=?, state=? WHERE id=?",
            (os.fsencode(job.name), printable(job.name), job.priority.value, state, job.id),
        )

    def rename_job(self, job_id: str, name: str) -> None:
        """Note that a file had to take another name."""
        self._database.write(
            "UPDATE jobs SET name=?, display=? WHERE id=?", (os.fsencode(name), printable(name), job_id)
        )

    def identify_job(self, job_id: str, identity: Identity) -> None:
        """Note what tells a job's file from another by now."""
        self._database.write(
            "UPDATE jobs SET size_bytes=?, device=?, inode=?, mtime_ns=? WHERE id=?",
            (identity.size, signed(identity.device), signed(identity.inode), identity.mtime_ns, job_id),
        )

    def newest_job_of(self, name: str, sha256: str) -> KnownJob | None:
        """Return the job that this content had last under this name; None if there is none."""
        row = self._database.read(
            "SELECT * FROM jobs WHERE sha256=? AND name=? ORDER BY id DESC LIMIT 1",
            (sha256, os.fsencode(name)),
        ).fetchone()
        return _known_job(row) if row else None

    def ending_of(self, identity: Identity) -> tuple[Outcome, Reason | None] | None:
        """Return how the newest job with this file ended; None if it is unknown or still open."""
        row = self._database.read(
            "SELECT state, reason FROM jobs WHERE inode=? AND device=? AND size_bytes=? AND mtime_ns=?"
            " ORDER BY id DESC LIMIT 1",
            (signed(identity.inode), signed(identity.device), identity.size, identity.mtime_ns),
        ).fetchone()
        if row is None or row["state"] not in list(Outcome):
            return None
        return Outcome(row["state"]), Reason.model_validate_json(row["reason"]) if row["reason"] else None

    def completed_after(self, global_step: int) -> list[str]:
        """Return the ids of completed jobs with steps that come after `global_step`."""
        rows = self._database.read(
            "SELECT DISTINCT job_id FROM steps JOIN jobs ON jobs.id = job_id"
            " WHERE global_step > ? AND state = 'completed' ORDER BY job_id",
            (global_step,),
        )
        return [row["job_id"] for row in rows]

    def find_job(self, job_id: str) -> KnownJob | None:
        """Return a job, whatever its state; None if it is unknown."""
        row = self._database.read("SELECT * FROM jobs WHERE id=?", (job_id,)).fetchone()
        return _known_job(row) if row else None

    def finish_job(self, job: Job, state: str, record: JobRecord | None, reason: Reason | None) -> None:
        """Note how a job ended, with the sums over its steps."""
        self.place_job(job, state)
        self._database.write(
            "UPDATE jobs SET finished_at=:now, reason=:reason,"
            # Without a record (put aside while it waited) what its steps say is all there is
            f" rows_trained=coalesce(:rows, {ROWS_TRAINED}), steps=coalesce(:steps, {STEPS_TAKEN}),"
            " tokens=(SELECT sum(tokens) FROM steps WHERE job_id=:id),"
            " seconds=(SELECT sum(seconds) FROM steps WHERE job_id=:id),"
            " first_loss=(SELECT loss FROM steps WHERE job_id=:id ORDER BY file_step LIMIT 1),"
            " last_loss=(SELECT loss FROM steps WHERE job_id=:id ORDER BY file_step DESC LIMIT 1)"
            " WHERE id=:id",
            {
                "id": job.id,
                "now": self._now(),
                "reason": reason.model_dump_json() if reason else None,
                "rows": record.rows_trained if record else None,
                "steps": record.steps if record else None,
            },
        )

    def frozen_settings(self, job_id: str) -> dict[str, Any] | None:
        """Return the settings a job started with; None before its first start."""
        row = self._database.read("SELECT settings FROM jobs WHERE id=?", (job_id,)).fetchone()
        return json.loads(row["settings"]) if row and row["settings"] else None

    def freeze_settings(
        self, job_id: str, settings: dict[str, Any] | None, replayed: Sequence[EarlierFile] = ()
    ) -> None:
        """Note the settings a job starts with, and what it replays; None lets the next start choose again."""
        files = json.dumps([file.model_dump(mode="json") for file in replayed]) if replayed else None
        self._database.write(
            "UPDATE jobs SET settings=?, replayed=? WHERE id=?",
            (json.dumps(settings) if settings else None, files, job_id),
        )

    def replayed(self, job_id: str) -> tuple[EarlierFile, ...]:
        """Return the files that a job replays rows from, as they were frozen with its settings."""
        row = self._database.read("SELECT replayed FROM jobs WHERE id=?", (job_id,)).fetchone()
        return replayed_files(row["replayed"]) if row else ()

    def replayed_by_open_jobs(self) -> set[str]:
        """Return the ids of all jobs that an open job replays rows from."""
        rows = self._database.read(
            "SELECT replayed FROM jobs WHERE state IN ('waiting','processing') AND replayed IS NOT NULL"
        )
        return {file.job_id for row in rows for file in replayed_files(row["replayed"])}

    def newest_completed(self) -> list[Completed]:
        """Return the completed files that may be replayed, newest first."""
        return [completed(row) for row in self._database.read(NEWEST_COMPLETED)]

    def note_start(self, job: Job) -> int:
        """Note that a job's file was moved to `processing/`; return its number in the order of starts."""
        self.place_job(job, "processing")
        self._database.write(
            "UPDATE jobs SET began=(SELECT coalesce(max(began), 0) + 1 FROM jobs) WHERE id=?", (job.id,)
        )
        [start_number] = self._database.read("SELECT began FROM jobs WHERE id=?", (job.id,)).fetchone()
        return int(start_number)

    def replay_other_files(self, job_id: str, replayed: Sequence[EarlierFile]) -> None:
        """Note that a started job replays other files than were chosen when it started."""
        files = json.dumps([file.model_dump(mode="json") for file in replayed]) if replayed else None
        self._database.write("UPDATE jobs SET replayed=? WHERE id=?", (files, job_id))

    def open_jobs_replaying(self, sha256: str) -> list[str]:
        """Return the ids of open jobs that are to replay rows of a content."""
        rows = self._database.read(
            "SELECT id FROM jobs WHERE state IN ('waiting','processing') AND instr(replayed, ?)", (sha256,)
        )
        return [row["id"] for row in rows]

    def forget_job(self, job_id: str, reason: str) -> None:
        """Note that a job's file was forgotten and erased; what was known of its content goes."""
        if (job := self.find_job(job_id)) is None:
            return
        why = Reason(
            kind=FaultKind.REQUEST,
            message=f"{FORGOTTEN}{reason}",
            file=printable(job.job.name),
            at=self._now(),
            job_id=job_id,
        )
        self._database.write(
            "UPDATE jobs SET state='removed', reason=?, metadata='{}', rejected='[]' WHERE id=?",
            (why.model_dump_json(), job_id),
        )
        said = f"{why.file}: what was said of its rows went when it was forgotten"
        self._database.write(
            "UPDATE events SET message=:said, data=json_replace("
            "data, '$.summary', :said, '$.reason', :said, '$.first_rejection', :said)"
            f" WHERE job_id=:id AND {MAY_QUOTE_A_ROW}",
            {"said": said, "id": job_id},
        )
        for table in ("left_previews", "left_suite_answers"):  # of models that saw it
            self._database.write(f"DELETE FROM {table} WHERE global_step >= ?", (0,))

    def sum_up_again(self, job_ids: Iterable[str]) -> None:
        """Have ended jobs all of whose steps are there tell their sums anew."""
        self._database.write(
            "UPDATE jobs SET steps=(SELECT count(*) FROM steps WHERE job_id=:id),"
            f" rows_trained={ROWS_TRAINED},"
            " tokens=(SELECT sum(tokens) FROM steps WHERE job_id=:id),"
            " seconds=(SELECT sum(seconds) FROM steps WHERE job_id=:id),"
            " first_loss=(SELECT loss FROM steps WHERE job_id=:id ORDER BY file_step LIMIT 1),"
            " last_loss=(SELECT loss FROM steps WHERE job_id=:id ORDER BY file_step DESC LIMIT 1)"
            " WHERE id=:id AND state IN ('completed', 'failed', 'skipped')",
            *({"id": job_id} for job_id in job_ids),
        )

    # ---- what is known about a job

    def retry_hints(self, job_id: str) -> RetryHints:
        """Return what the next worker is to know that gets a job."""
        row = self._database.read(
            "SELECT micro_batch_tokens, left_out FROM jobs WHERE id=?", (job_id,)
        ).fetchone()
        if row is None:
            return RetryHints()
        left_out = [Window(first=first, last=last) for first, last in json.loads(row["left_out"] or "[]")]
        return RetryHints(row["micro_batch_tokens"], tuple(left_out))

    def limit_micro_batch(self, job_id: str, tokens: int | None) -> None:
        """Note how many tokens at once a job may be trained with from now on; None forgets it."""
        self._database.write("UPDATE jobs SET micro_batch_tokens=? WHERE id=?", (tokens, job_id))

    def leave_out(self, job_id: str, window: Window) -> None:
        """Note steps of a job that are not trained from now on."""
        windows = [*self.retry_hints(job_id).left_out, window]
        text = json.dumps([[window.first, window.last] for window in windows])
        self._database.write("UPDATE jobs SET left_out=? WHERE id=?", (text, job_id))

    # ---- attempts

    def interrupt_attempts(self, last_seen_at: str) -> None:
        """End the attempts that the daemon before this one left open.

        Args:
            last_seen_at: its last sign of life, UTC, ISO 8601.
        """
        self._database.write(
            "UPDATE attempts SET ended_at=max(started_at, ?), verdict='interrupted' WHERE ended_at IS NULL",
            (last_seen_at,),
        )
        self.commit()

    def start_attempt(self, job_id: str) -> None:
        """Note an attempt before it is made, so that it counts even if nobody lives to see its end."""
        now = self._now()
        self._database.write(
            "UPDATE attempts SET ended_at=?, verdict='interrupted' WHERE job_id=? AND ended_at IS NULL",
            (now, job_id),
        )
        self._database.write(
            "INSERT INTO attempts (job_id, number, started_at)"
            " SELECT ?, coalesce(max(number), 0) + 1, ? FROM attempts WHERE job_id=?",
            (job_id, now, job_id),
        )
        self._database.write("UPDATE jobs SET started_at=coalesce(started_at, ?) WHERE id=?", (now, job_id))
        self.commit()

    def end_attempt(self, job_id: str, verdict: str, message: str | None, *, is_charged: bool) -> int:
        """Note how the last attempt ended; return the number of attempts charged to the job."""
        self._database.write(
            "UPDATE jobs SET attempts=attempts+? WHERE id=?"
            # One end is charged once, also when what follows from it has to be done again
            " AND EXISTS (SELECT 1 FROM attempts WHERE job_id=? AND ended_at IS NULL)",
            (int(is_charged), job_id, job_id),
        )
        self._database.write(
            "UPDATE attempts SET ended_at=?, verdict=?, message=? WHERE job_id=? AND ended_at IS NULL",
            (self._now(), verdict, message and printable(message), job_id),
        )
        row = self._database.read("SELECT attempts FROM jobs WHERE id=?", (job_id,)).fetchone()
        return int(row["attempts"]) if row else 0

    def forgive(self, job_id: str) -> None:
        """Take back the attempts charged to a job."""
        self._database.write("UPDATE jobs SET attempts=0 WHERE id=? AND attempts > 0", (job_id,))

    # ---- steps

    def add_steps(self, steps: Sequence[StepReport]) -> None:
        """Note optimizer steps; one that is trained again after a crash replaces its first report."""
        rows = [
            (
                step.global_step, step.job_id, step.file_step, step.rows, step.tokens, step.supervised_tokens,
                step.loss, step.learning_rate, step.grad_norm, step.seconds, step.replayed, step.waited_s,
            )
            for step in steps
        ]  # fmt: skip
        self._database.write("INSERT OR REPLACE INTO steps VALUES (?,?,?,?,?,?,?,?,?,?,?,?)", *rows)
        not_applied = [
            (step.global_step, step.job_id, step.file_step, step.not_applied, json.dumps(step.lines))
            for step in steps
            if step.not_applied
        ]
        self._database.write("INSERT OR REPLACE INTO not_applied VALUES (?,?,?,?,?)", *not_applied)
        self._stretches.add(steps)
        self._rows_since_thinning += len(rows)

    def add_validation(self, result: Validated) -> None:
        """Note a validation loss."""
        self._database.write(
            "INSERT OR REPLACE INTO validations VALUES (?,?,?,?,?)",
            (result.global_step, result.loss, result.rows, result.weights, result.other_loss),
        )

    def newest_step(self) -> int:
        """Return the number of the newest step noted; 0 if there is none."""
        return int(self._database.read("SELECT coalesce(max(global_step), 0) FROM steps").fetchone()[0])

    def has_saved(self) -> bool:
        """Whether a checkpoint was ever reported."""
        events = self._database.read("SELECT 1 FROM events WHERE kind='checkpoint' LIMIT 1")
        return events.fetchone() is not None

    def measured_at(self, global_step: int) -> dict[str, float | None]:
        """Return loss, learning rate and gradient norm of a step by name, each None if it is not known."""
        names = ("loss", "learning_rate", "grad_norm")
        row = self._database.read(
            f"SELECT {', '.join(names)} FROM steps WHERE global_step=?", (global_step,)
        ).fetchone()
        return dict(row) if row else dict.fromkeys(names)

    def rewind(self, global_step: int) -> None:
        """Forget steps that the model has not taken after all: they came after its newest checkpoint."""
        losers = "SELECT DISTINCT job_id AS id FROM steps WHERE global_step > ?"
        given_up = [{"id": row["id"]} for row in self._database.read(losers, (global_step,))]
        for table in ("steps", "not_applied", "validations"):
            self._database.write(f"DELETE FROM {table} WHERE global_step > ?", (global_step,))
        self.evaluations.rewind(global_step)
        self._stretches.rewind(global_step)
        self.gate_verdicts.rewind(global_step, branch=self.branches.newest())
        self._database.write(
            f"UPDATE jobs SET rows_trained={ROWS_TRAINED}, steps={STEPS_TAKEN}"
            " WHERE id=:id AND state IN ('failed', 'skipped')",
            *given_up,
        )

    def lines_not_applied(self, job_id: str, window: Window) -> list[int]:
        """Return the numbers of the lines in a job's steps that were not applied."""
        rows = self._database.read(
            "SELECT lines FROM not_applied WHERE job_id=? AND file_step BETWEEN ? AND ?",
            (job_id, window.first + 1, window.last + 1),  # the reports count from 1
        )
        return sorted({line for row in rows for line in json.loads(row["lines"])})

    def thin(self, keep: int) -> None:
        """Drop old steps but every hundredth, and old events; cheap unless there is much to drop."""
        if self._rows_since_thinning < keep // 10:
            return
        self._rows_since_thinning = 0
        self._database.write(
            "DELETE FROM steps WHERE global_step % ? <> 0"
            " AND global_step <= (SELECT global_step FROM steps ORDER BY global_step DESC LIMIT 1 OFFSET ?)",
            (THINNED_TO_EVERY, keep),
        )
        self._database.write(
            "DELETE FROM events WHERE id <= (SELECT max(id) FROM events) - ?", (EVENTS_KEPT,)
        )
        self.evaluations.thin()

    # ---- events and crashes

    def add_event(
        self,
        kind: str,
        message: str,
        job_id: str | None = None,
        data: Mapping[str, Any] | None = None,
        *,
        at: str | None = None,
        level: str = "info",
    ) -> None:
        """Note that something happened.

        Args:
            data: its facts as JSON values.
            at: when, in UTC; None takes the present.
            level: as in the log.
        """
        self._database.write(
            "INSERT INTO events (at, kind, job_id, message, data, level) VALUES (?,?,?,?,?,?)",
            (
                at or self._now(), kind, job_id, printable(message, limit=MESSAGE_KEPT),
                json.dumps(data or {}), level,
            ),
        )  # fmt: skip
        self._rows_since_thinning += 1

    def has_unrecovered_crash(self) -> bool:
        """Whether a worker crashed and none has trained since."""
        newest = self._database.read(
            "SELECT kind FROM events WHERE kind IN ('worker_crashed', 'worker_recovered')"
            " ORDER BY id DESC LIMIT 1"
        ).fetchone()
        return newest is not None and newest["kind"] == "worker_crashed"

    def add_crash(self, crash: Crash) -> None:
        """Note that a worker has ended, and drop what is too long ago."""
        self._database.write(
            "INSERT INTO crashes (at, kind, job_id, display, global_step, file_step, message, details)"
            " VALUES (?,?,?,?,?,?,?,?)",
            (
                self._now(), crash.kind.value, crash.job_id, crash.display, crash.global_step,
                crash.file_step, printable(crash.message, limit=MESSAGE_KEPT), storable(crash.details),
            ),
        )  # fmt: skip
        self._database.write(
            "DELETE FROM crashes WHERE id <= (SELECT max(id) FROM crashes) - ?", (CRASHES_KEPT,)
        )

    def crashes(self, limit: int) -> list[tuple[str, Crash]]:
        """Return the newest crashes with their times, newest first."""
        rows = self._database.read("SELECT * FROM crashes ORDER BY id DESC LIMIT ?", (limit,))
        return [(row["at"], crash_of(row)) for row in rows]

    def _now(self) -> str:
        return utc_text(self._clock())


def _known_job(row: sqlite3.Row) -> KnownJob:
    return KnownJob(job_of(row), row["state"], identity_of_row(row), row["began"])
