"""Read the optimizer steps: page by page, or summed up to as many points as a picture has."""

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from daemon.ledger.reader import open_read_only


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordedStep:
    """One optimizer step."""

    global_step: int
    """Counted over the model's life."""
    job_id: str
    file_step: int
    """Counted in its file, from 1."""
    rows: int
    replayed: int
    """Rows of earlier files, besides `rows`."""
    tokens: int
    supervised_tokens: int
    loss: float | None
    """None where it was not finite."""
    learning_rate: float
    grad_norm: float | None
    seconds: float
    waited_s: float | None = None
    """Besides `seconds`, in which its rows were not ready yet; None where it was not measured."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StepBucket:
    """Neighbouring steps, summed up to one point of a picture."""

    first_step: int
    """Of the model's life, as the next one."""
    last_step: int
    steps: int
    """As many as the ledger has; of old ones it keeps every hundredth."""
    min_loss: float | None
    """None where none of its losses was a finite number."""
    max_loss: float | None
    mean_loss: float | None
    min_grad_norm: float | None
    max_grad_norm: float | None
    mean_grad_norm: float | None
    min_learning_rate: float
    max_learning_rate: float
    mean_learning_rate: float
    min_tokens_per_s: float | None
    """None where no step has taken any time."""
    max_tokens_per_s: float | None
    tokens: int
    seconds: float


class _Axis(NamedTuple):
    """What steps are counted by; its column has an index, so a range of it is found without a search."""

    column: str
    condition: str
    values: tuple[str, ...]


def read_steps(path: Path, *, after: int, limit: int, job_id: str | None) -> list[RecordedStep]:
    """Return the first `limit` steps after a global step; none if there is no ledger.

    Args:
        job_id: only steps of this job; None for all.
    Raises:
        UnreadableLedger: it cannot be read.
    """
    if not path.exists():
        return []
    with open_read_only(path) as database:
        rows = database.execute(
            "SELECT * FROM steps WHERE global_step > :after AND (:job IS NULL OR job_id = :job)"
            " ORDER BY global_step LIMIT :limit",
            {"after": after, "job": job_id, "limit": limit},
        )
        return [step_of(row) for row in rows]


def newest_step(path: Path) -> int:
    """Return the number of the last step; 0 without one.

    Raises:
        UnreadableLedger: it cannot be read.
    """
    if not path.exists():
        return 0
    with open_read_only(path) as database:
        return int(database.execute("SELECT coalesce(max(global_step), 0) FROM steps").fetchone()[0])


def read_newest_steps(path: Path, *, limit: int) -> list[RecordedStep]:
    """Return the newest `limit` steps that changed the weights, oldest first; none if there is no ledger.

    Raises:
        UnreadableLedger: it cannot be read.
    """
    if not path.exists():
        return []
    with open_read_only(path) as database:
        rows = database.execute(
            "SELECT * FROM steps WHERE global_step NOT IN (SELECT global_step FROM not_applied)"
            " ORDER BY global_step DESC LIMIT ?",
            (limit,),
        )
        return [step_of(row) for row in rows][::-1]


def step_of(row: sqlite3.Row) -> RecordedStep:
    """Return what a row of the table of steps says."""
    known = row.keys()  # a ledger that no daemon of this release has opened lacks the newest columns
    return RecordedStep(
        global_step=row["global_step"],
        job_id=row["job_id"],
        file_step=row["file_step"],
        rows=row["rows"],
        replayed=row["replayed"] if "replayed" in known else 0,
        tokens=row["tokens"],
        supervised_tokens=row["supervised_tokens"],
        loss=row["loss"],
        learning_rate=row["learning_rate"],
        grad_norm=row["grad_norm"],
        seconds=row["seconds"],
        waited_s=row["waited_s"] if "waited_s" in known else None,
    )


def read_step_buckets(
    path: Path, *, max_points: int, job_id: str | None, last: int | None = None
) -> list[StepBucket]:
    """Return steps, summed up to at most `max_points` stretches of equal length.

    Takes memory for the points only, however many steps there are: each is one query over a range.

    Args:
        job_id: only steps of this job; None for all.
        last: only so many, the newest ones; None for all.
    Raises:
        UnreadableLedger: it cannot be read.
    """
    if not path.exists():
        return []
    axis = _Axis("global_step", "1", ()) if job_id is None else _Axis("file_step", "job_id = ?", (job_id,))
    with open_read_only(path) as database:
        return list(_buckets(database, axis, max_points, last))


def _buckets(
    database: sqlite3.Connection, axis: _Axis, max_points: int, newest: int | None
) -> Iterator[StepBucket]:
    column, condition, values = axis
    first, last = database.execute(
        f"SELECT min({column}), max({column}) FROM steps WHERE {condition}", values
    ).fetchone()
    if first is None:
        return
    first = first if newest is None else max(first, last - newest + 1)
    width = -(-(last - first + 1) // max_points)
    for start in range(first, last + 1, width):
        row = database.execute(
            "SELECT min(global_step) AS first_step, max(global_step) AS last_step, count(*) AS steps,"
            " min(loss) AS min_loss, max(loss) AS max_loss, avg(loss) AS mean_loss,"
            " min(grad_norm) AS min_grad_norm, max(grad_norm) AS max_grad_norm,"
            " avg(grad_norm) AS mean_grad_norm, min(learning_rate) AS min_learning_rate,"
            " max(learning_rate) AS max_learning_rate, avg(learning_rate) AS mean_learning_rate,"
            " min(tokens / nullif(seconds, 0)) AS min_tokens_per_s,"
            " max(tokens / nullif(seconds, 0)) AS max_tokens_per_s,"
            " sum(tokens) AS tokens, sum(seconds) AS seconds"
            f" FROM steps WHERE {condition} AND {column} BETWEEN ? AND ?",
            (*values, start, start + width - 1),
        ).fetchone()
        if row["steps"]:
            yield StepBucket(**row)
