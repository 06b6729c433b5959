"""What happened in a period that reaches until now: steps by file, files that ended otherwise, events."""

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from daemon.ledger.event_stream import RecordedEvent, recorded_event
from daemon.ledger.reader import has_table, open_read_only
from daemon.ledger.stretches import table_of_stretches
from trainer.protocol.text import printable

ENDED_OTHERWISE = "('failed', 'skipped')"
EVENTS_WITH_STEPS = "('checkpoint', 'worker_ready', 'went_back')"
STEP_NAMES = ("global_step", "from_step")
# Of old steps every hundredth is kept, so a job that ended has its sums in its own row; a part of one has not
TRAINED = """
WITH in_period AS (
    SELECT job_id, min(first_step) AS first_step, max(last_step) AS last_step,
        sum(min(last_step, :until) - max(first_step, :after + 1) + 1) AS num_steps,
        min(first_step) > :after AND max(last_step) <= :until
            AND job_id NOT IN (SELECT id FROM jobs WHERE state IN ('waiting', 'processing')) AS is_whole
    FROM {stretches} WHERE last_step > :after AND first_step <= :until GROUP BY job_id
), sums AS (
    SELECT job_id, sum(rows) AS rows, sum(tokens) AS tokens, sum(seconds) AS seconds,
        min(global_step) AS first_step, max(global_step) AS last_step
    FROM steps WHERE global_step > :after AND global_step <= :until GROUP BY job_id
)
SELECT jobs.id AS job_id, jobs.display AS name, jobs.state, jobs.finished_at, in_period.num_steps AS steps,
    max(in_period.first_step, :after + 1) AS first_step, min(in_period.last_step, :until) AS last_step,
    coalesce(iif(is_whole AND jobs.tokens IS NOT NULL, jobs.rows_trained, sums.rows), 0) AS rows,
    coalesce(iif(is_whole AND jobs.tokens IS NOT NULL, jobs.tokens, sums.tokens), 0) AS tokens,
    coalesce(iif(is_whole AND jobs.seconds IS NOT NULL, jobs.seconds, sums.seconds), 0.0) AS seconds,
    (SELECT loss FROM steps WHERE global_step = sums.first_step) AS first_loss,
    (SELECT loss FROM steps WHERE global_step = sums.last_step) AS last_loss
FROM in_period JOIN jobs ON jobs.id = in_period.job_id LEFT JOIN sums ON sums.job_id = in_period.job_id
"""


@dataclass(frozen=True, kw_only=True)
class PeriodFile:
    """A file with the steps that the model was trained on in a period."""

    job_id: str
    name: str
    """Printable."""
    state: str
    """Of the job: completed, failed, skipped, waiting or processing."""
    finished_at: str | None
    """UTC, ISO 8601."""
    first_step: int
    """Of the model's life."""
    last_step: int
    steps: int
    rows: int
    tokens: int
    seconds: float
    first_loss: float | None
    last_loss: float | None


@dataclass(frozen=True, kw_only=True)
class PeriodSums:
    """All files of a period together."""

    files: int = 0
    steps: int = 0
    rows: int = 0
    tokens: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class EndedOtherwise:
    """A file that failed or was skipped."""

    name: str
    """Printable."""
    outcome: str
    """failed or skipped."""
    at: str
    """UTC, ISO 8601."""
    kind: str | None
    """The class of the fault, such as bad_data; None where it is not known."""
    reason: str
    """Printable."""
    completed_at: str | None = None
    """When a file of this name was completed afterwards, such as after it was repaired; UTC, ISO 8601."""


def read_trained(path: Path, *, after: int, until: int, limit: int) -> tuple[PeriodSums, list[PeriodFile]]:
    """Return what the model was trained on between two global steps: the sums, and the newest files.

    Args:
        after: the step before the first one.
        until: the last one.
        limit: files; they come in the order of their last steps.
    Raises:
        UnreadableLedger: it cannot be read.
    """
    if not path.exists():
        return PeriodSums(), []
    with open_read_only(path) as database:
        trained = TRAINED.format(stretches=table_of_stretches(database))
        values = {"after": after, "until": until, "limit": limit}
        sums = database.execute(
            "SELECT count(*) AS files, total(steps) AS steps, total(rows) AS rows, total(tokens) AS tokens,"
            f" total(seconds) AS seconds FROM ({trained})",
            values,
        ).fetchone()
        newest = f"SELECT * FROM ({trained}) ORDER BY last_step DESC LIMIT :limit"
        files = [PeriodFile(**row) for row in database.execute(newest, values)]
    together = PeriodSums(
        files=sums["files"],
        steps=int(sums["steps"]),
        rows=int(sums["rows"]),
        tokens=int(sums["tokens"]),
        seconds=sums["seconds"],
    )
    return together, files[::-1]


def read_ended_otherwise(path: Path, *, since: str, limit: int) -> tuple[int, list[EndedOtherwise]]:
    """Return how many files have failed or were skipped since a time, and the newest of them, oldest first.

    Args:
        since: UTC, ISO 8601.
    Raises:
        UnreadableLedger: it cannot be read.
    """
    if not path.exists():
        return 0, []
    with open_read_only(path) as database:
        jobs = database.execute(
            "SELECT display AS name, state AS outcome, finished_at AS at, reason FROM jobs"
            f" WHERE state IN {ENDED_OTHERWISE} AND finished_at >= ? ORDER BY finished_at DESC LIMIT ?",
            (since, limit),
        )
        found = [_of_job(row) for row in jobs]
        events = database.execute(
            f"SELECT * FROM events WHERE kind IN {ENDED_OTHERWISE} AND job_id IS NULL AND at >= ?"
            " ORDER BY id DESC LIMIT ?",
            (since, limit),
        )
        found += [_of_event(recorded_event(row)) for row in events]
        [number] = database.execute(
            f"SELECT (SELECT count(*) FROM jobs WHERE state IN {ENDED_OTHERWISE} AND finished_at >= :since)"
            f" + (SELECT count(*) FROM events WHERE kind IN {ENDED_OTHERWISE} AND job_id IS NULL"
            " AND at >= :since)",
            {"since": since},
        ).fetchone()
        found = sorted(found, key=lambda file: file.at)[-limit:]
        completed = _completed_since(database, since, [file.name for file in found])
    return number, [_with_completion(file, completed.get(file.name)) for file in found]


def _completed_since(database: sqlite3.Connection, since: str, names: Sequence[str]) -> dict[str, str]:
    """Return name -> when the newest file of this name was completed, of those that were."""
    rows = database.execute(
        "SELECT display, max(finished_at) AS at FROM jobs WHERE state = 'completed' AND finished_at >= ?"
        " AND display IN (SELECT value FROM json_each(?)) GROUP BY display",
        (since, json.dumps(names)),
    )
    return {row["display"]: row["at"] for row in rows}


def _with_completion(file: EndedOtherwise, at: str | None) -> EndedOtherwise:
    return replace(file, completed_at=at) if at and at > file.at else file


def _of_job(row: sqlite3.Row) -> EndedOtherwise:
    reason = json.loads(row["reason"]) if row["reason"] else {}
    return EndedOtherwise(
        name=row["name"],
        outcome=row["outcome"],
        at=row["at"],
        kind=reason.get("kind"),
        reason=printable(str(reason.get("message", "the reason is unknown"))),
    )


def _of_event(event: RecordedEvent) -> EndedOtherwise:
    facts = event.data or {}
    return EndedOtherwise(
        name=printable(str(facts.get("file", "a file"))),
        outcome=event.kind,
        at=event.at,
        kind=None,
        reason=printable(str(facts.get("reason", event.message))),
    )


def read_events_since(
    path: Path, *, since: str, levels: tuple[str, ...], limit: int, kinds: str = "*"
) -> list[RecordedEvent]:
    """Return the newest events of these levels since a time, oldest first.

    Args:
        since: UTC, ISO 8601.
        kinds: a pattern, such as `gate_*`.
    Raises:
        UnreadableLedger: it cannot be read.
    """
    if not path.exists():
        return []
    with open_read_only(path) as database:
        rows = database.execute(
            f"SELECT * FROM events WHERE at >= ? AND level IN ({', '.join('?' * len(levels))})"
            " AND kind GLOB ? ORDER BY id DESC LIMIT ?",
            (since, *levels, kinds, limit),
        )
        return [recorded_event(row) for row in rows][::-1]


def step_at(path: Path, at: str) -> int:
    """Return the global step that the model had at a time, or an earlier one if nothing closer is recorded.

    Raises:
        UnreadableLedger: it cannot be read.
    """
    if not path.exists():
        return 0
    with open_read_only(path) as database:
        known: list[tuple[str, int]] = []
        event = database.execute(
            f"SELECT * FROM events WHERE kind IN {EVENTS_WITH_STEPS} AND at <= ? ORDER BY id DESC LIMIT 1",
            (at,),
        ).fetchone()
        if event:
            facts = json.loads(event["data"])
            known += [(event["at"], int(facts[name])) for name in STEP_NAMES if name in facts]
        job = database.execute(  # they stay for ever; of events the newest do
            "SELECT finished_at, max(last_step) FROM"
            " (SELECT id, finished_at FROM jobs WHERE finished_at <= ? AND steps > 0"
            "  ORDER BY finished_at DESC LIMIT 1)"
            f" JOIN {table_of_stretches(database)} ON job_id = id",
            (at,),
        ).fetchone()
        if job and job[1] is not None:
            known.append((job[0], int(job[1])))
        return max(known, default=("", 0))[1]


def newest_step(path: Path) -> int:
    """Return the newest global step that the ledger has; 0 without one.

    Raises:
        UnreadableLedger: it cannot be read.
    """
    if not path.exists():
        return 0
    with open_read_only(path) as database:
        if not has_table(database, "steps"):
            return 0
        return int(database.execute("SELECT coalesce(max(global_step), 0) FROM steps").fetchone()[0])
