"""The order in which the model was trained, for ever: stretches of steps of one job that followed each other.

Steps are thinned out, stretches are not: there is one for each time that another job came to its turn.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from daemon.ledger.database import STRETCHES_IN_STEPS, Database
from daemon.ledger.reader import has_table, open_read_only
from trainer.protocol.branch_path import Segment
from trainer.protocol.messages import StepReport


@dataclass(frozen=True, kw_only=True)
class RecordedStretch:
    """Steps of one job that followed each other."""

    first_step: int
    """In the model's life, counted from 1."""
    last_step: int
    job_id: str
    first_file_step: int
    """In its file, counted from 1."""


class Stretches:
    """Writes the table. The steps of a model's life are added in their order."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, steps: Sequence[StepReport]) -> None:
        """Note steps. Where they differ from what was noted, they replace it, and what came after it."""
        for stretch in _stretches_of(steps):
            if self._is_noted(stretch):
                continue
            self.rewind(stretch.first_step - 1)
            self._append(stretch)

    def put_away(self, segment: Segment) -> None:
        """Copy the stretches of a segment of the present state to those that are left."""
        rows = self._database.read(
            "SELECT * FROM stretches WHERE last_step > ? AND first_step <= ?", (segment.after, segment.until)
        )
        cut = [_cut(row, segment.after, segment.until) for row in rows]
        self._database.write(
            "INSERT INTO left_stretches VALUES (?,?,?,?,?)",
            *((segment.branch, s.first_step, s.last_step, s.job_id, s.first_file_step) for s in cut),
        )

    def bring_back(self, segment: Segment) -> None:
        """Move the stretches of a segment from those that are left to the present state, as its newest."""
        values = (segment.branch, segment.after, segment.until)
        rows = self._database.read(
            "SELECT * FROM left_stretches WHERE branch = ? AND last_step > ? AND first_step <= ?"
            " ORDER BY first_step",
            values,
        )
        found = [_cut(row, segment.after, segment.until) for row in rows]
        for stretch in found:
            self._append(stretch)
        # Of the last one, a part may stay behind
        self._database.write(
            "UPDATE left_stretches SET first_file_step = first_file_step + :until + 1 - first_step,"
            " first_step = :until + 1"
            " WHERE branch = :branch AND first_step <= :until AND last_step > :until",
            {"branch": segment.branch, "until": segment.until},
        )
        self._database.write(
            "DELETE FROM left_stretches WHERE branch = ? AND first_step > ? AND last_step <= ?", values
        )

    def _append(self, stretch: RecordedStretch) -> None:
        values = {
            "first": stretch.first_step,
            "last": stretch.last_step,
            "job": stretch.job_id,
            "file": stretch.first_file_step,
        }
        self._database.write(
            "UPDATE stretches SET last_step = :last WHERE last_step = :first - 1 AND job_id = :job"
            " AND first_file_step - first_step = :file - :first",
            values,
        )
        self._database.write(
            "INSERT INTO stretches SELECT :first, :last, :job, :file"
            " WHERE NOT EXISTS (SELECT 1 FROM stretches WHERE last_step = :last)",
            values,
        )

    def _is_noted(self, stretch: RecordedStretch) -> bool:
        found = self._database.read(
            "SELECT 1 FROM stretches WHERE first_step <= ? AND last_step >= ? AND job_id = ?"
            " AND first_file_step - first_step = ?",
            (
                stretch.first_step,
                stretch.last_step,
                stretch.job_id,
                stretch.first_file_step - stretch.first_step,
            ),
        )
        return found.fetchone() is not None

    def rewind(self, global_step: int) -> None:
        """Forget what came after a step."""
        self._database.write("DELETE FROM stretches WHERE first_step > ?", (global_step,))
        self._database.write(
            "UPDATE stretches SET last_step = ? WHERE last_step > ?", (global_step, global_step)
        )


def _stretches_of(steps: Sequence[StepReport]) -> Iterator[RecordedStretch]:
    def line(step: StepReport) -> tuple[str, int]:
        return step.job_id, step.global_step - step.file_step

    for (job_id, _), group in groupby(steps, key=line):
        together = list(group)
        yield RecordedStretch(
            first_step=together[0].global_step,
            last_step=together[-1].global_step,
            job_id=job_id,
            first_file_step=together[0].file_step,
        )


def read_stretches(path: Path, *, after: int = 0, until: int | None = None) -> list[RecordedStretch]:
    """Return the stretches with steps after one and up to another, cut to them, oldest first.

    Args:
        after, until: global steps; None for the newest.
    Raises:
        UnreadableLedger: it cannot be read.
    """
    if not path.exists():
        return []
    with open_read_only(path) as database:
        return stretches_in(database, after=after, until=until)


def stretches_in(
    database: sqlite3.Connection, *, after: int = 0, until: int | None = None
) -> list[RecordedStretch]:
    """Return the stretches of an open ledger, as `read_stretches` does."""
    rows = database.execute(
        f"SELECT * FROM {table_of_stretches(database)}"
        " WHERE last_step > :after AND (:until IS NULL OR first_step <= :until) ORDER BY first_step",
        {"after": after, "until": until},
    )
    return [_cut(row, after, until) for row in rows]


def table_of_stretches(database: sqlite3.Connection) -> str:
    """Return what stands in a query for the table; an old ledger has none until a daemon opens it."""
    return "stretches" if has_table(database, "stretches") else f"({STRETCHES_IN_STEPS})"


def _cut(row: sqlite3.Row, after: int, until: int | None) -> RecordedStretch:
    first = max(row["first_step"], after + 1)
    return RecordedStretch(
        first_step=first,
        last_step=row["last_step"] if until is None else min(row["last_step"], until),
        job_id=row["job_id"],
        first_file_step=row["first_file_step"] + first - row["first_step"],
    )
