"""Read what a curve is marked with: where files begin, where the model went back, which steps did nothing."""

import json
from dataclasses import dataclass
from pathlib import Path

from daemon.ledger.reader import has_table, open_read_only
from daemon.ledger.stretches import table_of_stretches


@dataclass(frozen=True, kw_only=True)
class TrainedRows:
    """Steps of one file that followed each other, and which of its rows they took."""

    first_step: int
    """Of the model's life, as the next one."""
    last_step: int
    job_id: str
    file: str
    """Printable."""
    first_file_step: int
    """Counted in the file, from 1, as the next one."""
    last_file_step: int
    first_row: int | None
    """In the order of training, counted from 1 over all epochs; None if the ledger lacks some steps."""
    last_row: int | None


@dataclass(frozen=True, kw_only=True)
class FileBorder:
    """A step with which the model came to another file."""

    step: int
    job_id: str
    file: str
    """Printable."""
    file_step: int
    """1 where the file begins; greater where it is continued."""


@dataclass(frozen=True, kw_only=True)
class NotApplied:
    """A step that changed no weight."""

    step: int
    job_id: str
    file: str
    """Printable."""
    file_step: int
    reason: str
    lines: tuple[int, ...]
    """Numbers of the file's lines in that step."""


def read_trained_rows(path: Path, *, first: int, last: int, limit: int) -> tuple[list[TrainedRows], int]:
    """Return the first `limit` stretches in a range of global steps, and how many there are in all.

    Raises:
        UnreadableLedger: it cannot be read.
    """
    if not path.exists():
        return [], 0
    with open_read_only(path) as database:
        condition = f"FROM {table_of_stretches(database)} AS s WHERE s.last_step >= ? AND s.first_step <= ?"
        [number] = database.execute(f"SELECT count(*) {condition}", (first, last)).fetchone()
        rows = database.execute(
            "SELECT s.*, (SELECT display FROM jobs WHERE id = s.job_id) AS display"
            f" {condition} ORDER BY s.first_step LIMIT ?",
            (first, last, limit),
        ).fetchall()
        found = []
        for row in rows:
            began = max(row["first_step"], first)
            ended = min(row["last_step"], last)
            first_file_step = row["first_file_step"] + began - row["first_step"]
            last_file_step = first_file_step + ended - began
            sums = "SELECT count(*), coalesce(sum(rows), 0) FROM steps WHERE job_id = ? AND file_step"
            steps_before, rows_before = database.execute(
                f"{sums} < ?", (row["job_id"], first_file_step)
            ).fetchone()
            steps_here, rows_here = database.execute(
                f"{sums} BETWEEN ? AND ?", (row["job_id"], first_file_step, last_file_step)
            ).fetchone()
            is_known = steps_before == first_file_step - 1 and steps_here == ended - began + 1
            found.append(
                TrainedRows(
                    first_step=began,
                    last_step=ended,
                    job_id=row["job_id"],
                    file=row["display"] or row["job_id"],
                    first_file_step=first_file_step,
                    last_file_step=last_file_step,
                    first_row=rows_before + 1 if is_known else None,
                    last_row=rows_before + rows_here if is_known else None,
                )
            )
    return found, number


def read_file_borders(path: Path, *, first: int, last: int, limit: int) -> tuple[list[FileBorder], int]:
    """Return the newest `limit` borders in a range of global steps, oldest first, and how many there are.

    Raises:
        UnreadableLedger: it cannot be read.
    """
    if not path.exists():
        return [], 0
    with open_read_only(path) as database:
        condition = f"FROM {table_of_stretches(database)} AS s WHERE s.first_step BETWEEN ? AND ?"
        [number] = database.execute(f"SELECT count(*) {condition}", (first, last)).fetchone()
        rows = database.execute(
            "SELECT s.*, (SELECT display FROM jobs WHERE id = s.job_id) AS display"
            f" {condition} ORDER BY s.first_step DESC LIMIT ?",
            (first, last, limit),
        )
        found = [
            FileBorder(
                step=row["first_step"],
                job_id=row["job_id"],
                file=row["display"] or row["job_id"],
                file_step=row["first_file_step"],
            )
            for row in rows
        ]
    return found[::-1], number


def read_not_applied(path: Path, *, first: int, last: int, limit: int) -> tuple[list[NotApplied], int]:
    """Return the newest `limit` steps in a range that changed no weight, oldest first, and their number.

    Raises:
        UnreadableLedger: it cannot be read.
    """
    if not path.exists():
        return [], 0
    with open_read_only(path) as database:
        condition = "FROM not_applied AS n WHERE n.global_step BETWEEN ? AND ?"
        [number] = database.execute(f"SELECT count(*) {condition}", (first, last)).fetchone()
        rows = database.execute(
            "SELECT n.*, (SELECT display FROM jobs WHERE id = n.job_id) AS display"
            f" {condition} ORDER BY n.global_step DESC LIMIT ?",
            (first, last, limit),
        )
        found = [
            NotApplied(
                step=row["global_step"],
                job_id=row["job_id"],
                file=row["display"] or row["job_id"],
                file_step=row["file_step"],
                reason=row["reason"],
                lines=tuple(json.loads(row["lines"])),
            )
            for row in rows
        ]
    return found[::-1], number


def read_ways_back(path: Path) -> dict[int, tuple[int, int]]:
    """Return from which branch, and at which step of it, each branch began.

    Raises:
        UnreadableLedger: it cannot be read.
    """
    if not path.exists():
        return {}
    with open_read_only(path) as database:
        if not has_table(database, "branches"):
            return {}
        rows = database.execute("SELECT number, from_branch, from_step FROM branches ORDER BY number")
        return {row["number"]: (row["from_branch"], row["from_step"]) for row in rows}
