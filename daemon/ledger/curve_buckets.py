"""Sum up one number of the steps to the points of a picture, and remember the points that are finished.

A million steps take a third of a second to sum up. A picture that is drawn again and again therefore keeps
its points: each stands for as many steps as a power of two, counted from the first of the model's life, so
new steps change only the last one. What was trained again since, after a crash or because the model went
back, is noticed by the step that the newest finished point ends with: it never takes the same time twice.
"""

import sqlite3
from collections import OrderedDict
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from threading import Lock
from typing import Any, Literal, NamedTuple

from daemon.ledger.reader import open_read_only

Column = Literal["loss", "learning_rate", "grad_norm", "tokens_per_s"]
# Each reads no more than is needed: what is summed up, not how much is read, takes the time
SUMS: dict[Column, str] = {
    name: f"count(*), count({name}), min({name}), avg({name}), max({name}), 0, 0.0"
    for name in ("loss", "learning_rate", "grad_norm")
}
SUMS["tokens_per_s"] = (
    "count(*), count(nullif(seconds, 0)), min(tokens / nullif(seconds, 0)), NULL,"
    " max(tokens / nullif(seconds, 0)), sum(tokens), sum(seconds)"
)
# 9e999 is infinite; what is no number at all is null in the ledger
FINITE = "nullif(nullif({0}, 9e999), -9e999)"
FINITE_SUMS = f"count({FINITE}), min({FINITE}), avg({FINITE}), max({FINITE})"
CACHE_KIB = 256  # of the database: no page is read twice
BUCKETS_KEPT = 20_000  # about 6 MB


class Bucket(NamedTuple):
    """Steps that follow each other; all numbers are of those that the ledger has."""

    first_step: int
    """Of the model's life, as the next one."""
    last_step: int
    last_count: int
    """The last step, counted in the model's life, or in the file if only its steps are meant."""
    steps: int
    """As many as the ledger has; of old ones it keeps every hundredth."""
    finite: int
    """How many of them have a finite number."""
    low: float | None
    """None where none has."""
    mean: float | None
    high: float | None
    tokens: int
    """0 unless it is about tokens per second, as the next one."""
    seconds: float


@dataclass
class _Series:
    """The finished buckets of one number and one width."""

    lock: Lock = field(default_factory=Lock)
    by_start: dict[int, Bucket | None] = field(default_factory=dict)
    """None where there is no step."""
    newest: Bucket | None = None
    ended_with: tuple[Any, ...] | None = None
    """What the ledger said of the last step of `newest`."""


class CurveBuckets:
    """Reads the buckets of one ledger. Threads may share it.

    Args:
        most: buckets that are kept.
    """

    def __init__(self, path: Path, *, most: int = BUCKETS_KEPT) -> None:
        self._path = path
        self._most = most
        self._lock = Lock()
        self._series: OrderedDict[tuple[Column, str | None, int], _Series] = OrderedDict()

    def read(
        self, column: Column, *, job_id: str | None, first: int, last: int, max_points: int
    ) -> tuple[int, list[Bucket]]:
        """Return how many steps a bucket has, and the buckets that contain a range of global steps.

        Args:
            job_id: only steps of this job; None for all.
            max_points: at most so many buckets.
        Raises:
            UnreadableLedger: it cannot be read.
        """
        width = width_for(first, last, max_points)
        if not self._path.exists() or last < first:
            return width, []
        series = self._series_of((column, job_id, width))
        with series.lock, open_read_only(self._path) as database:
            database.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
            database.execute("BEGIN")  # all of it is about one state of the ledger
            if series.newest and _signature(database, series.newest) != series.ended_with:
                series.by_start.clear()
                series.newest = None
            found = _fill(database, series, column, job_id, range(_start(first, width), last + 1, width))
        self._drop_oldest()
        return width, found

    def _series_of(self, key: tuple[Column, str | None, int]) -> _Series:
        with self._lock:
            series = self._series.setdefault(key, _Series())
            self._series.move_to_end(key)
            return series

    def _drop_oldest(self) -> None:
        with self._lock:
            kept = sum(len(series.by_start) for series in self._series.values())
            while kept > self._most and self._series:
                _, dropped = self._series.popitem(last=False)
                kept -= len(dropped.by_start)


def width_for(first: int, last: int, max_points: int) -> int:
    """Return how many steps a bucket has, a power of two, so that so many contain a range."""
    width = 1
    while (last - _start(first, width)) // width + 1 > max_points:
        width *= 2
    return width


def _start(step: int, width: int) -> int:
    """Return the first step of the bucket that a step is in."""
    return (step - 1) // width * width + 1


def _fill(
    database: sqlite3.Connection, series: _Series, column: Column, job_id: str | None, starts: range
) -> list[Bucket]:
    [newest_step] = database.execute("SELECT coalesce(max(global_step), 0) FROM steps").fetchone()
    found = []
    for start in starts:
        if start in series.by_start:
            bucket = series.by_start[start]
        else:
            bucket = _read(database, column, job_id, start, start + starts.step - 1)
            if start + starts.step - 1 <= newest_step:
                series.by_start[start] = bucket
                if bucket and (series.newest is None or bucket.last_step > series.newest.last_step):
                    series.newest = bucket
        if bucket:
            found.append(bucket)
    if series.newest:
        series.ended_with = _signature(database, series.newest)
    return found


def _signature(database: sqlite3.Connection, bucket: Bucket) -> tuple[Any, ...] | None:
    row = database.execute(
        "SELECT job_id, tokens, seconds, loss FROM steps WHERE global_step = ?", (bucket.last_step,)
    ).fetchone()
    return tuple(row) if row else None


def _read(
    database: sqlite3.Connection, column: Column, job_id: str | None, start: int, end: int
) -> Bucket | None:
    # The plus keeps it from reading all steps of the job for each bucket
    condition = "global_step BETWEEN ? AND ?" + ("" if job_id is None else " AND +job_id = ?")
    values = (start, end) if job_id is None else (start, end, job_id)

    def of_steps(what: str) -> sqlite3.Row:
        found: sqlite3.Row = database.execute(
            f"SELECT {what} FROM steps WHERE {condition}", values
        ).fetchone()
        return found

    steps, finite, low, mean, high, tokens, seconds = of_steps(SUMS[column])
    if not steps:
        return None
    if (
        column == "tokens_per_s"
    ):  # of all of them together: the mean of their speeds would count short ones most
        mean = tokens / seconds if seconds else None
    elif inf in (low, high) or -inf in (low, high):
        finite, low, mean, high = of_steps(FINITE_SUMS.format(column))
    first, last = (start, end) if steps == end - start + 1 else of_steps("min(global_step), max(global_step)")
    count = last if job_id is None else _file_step(database, last)
    return Bucket(first, last, count, steps, finite, low, mean, high, tokens, seconds)


def _file_step(database: sqlite3.Connection, global_step: int) -> int:
    query = "SELECT file_step FROM steps WHERE global_step = ?"
    return int(database.execute(query, (global_step,)).fetchone()[0])


class Trained(NamedTuple):
    """How much was trained up to a step."""

    step: int
    tokens: float
    seconds: float


def cumulated(buckets: list[Bucket]) -> list[Trained]:
    """Return how much was trained up to the end of each bucket of tokens per second, from the beginning.

    A step stands for those before it that the ledger has no more, too.
    """
    found: list[Trained] = []
    counted, tokens, seconds = None, 0.0, 0.0
    for bucket in buckets:
        if counted is None:
            steps = min(bucket.last_count, bucket.last_step - bucket.first_step + 1)
        else:
            steps = bucket.last_count - counted
        share = max(1.0, steps / bucket.steps)
        counted = bucket.last_count
        tokens += bucket.tokens * share
        seconds += bucket.seconds * share
        found.append(Trained(bucket.last_step, tokens, seconds))
    return found


def step_window(path: Path, *, job_id: str | None) -> tuple[int, int] | None:
    """Return the first and the last step in the ledger; None without any.

    Args:
        job_id: of this job; None for all.
    Raises:
        UnreadableLedger: it cannot be read.
    """
    if not path.exists():
        return None
    condition, values = ("", ()) if job_id is None else (" WHERE job_id = ?", (job_id,))
    with open_read_only(path) as database:
        least = database.execute(f"SELECT min(global_step) FROM steps{condition}", values).fetchone()[0]
        greatest = database.execute(f"SELECT max(global_step) FROM steps{condition}", values).fetchone()[0]
    return None if least is None else (least, greatest)
