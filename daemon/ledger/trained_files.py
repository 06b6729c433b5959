"""Which files the model was trained on between two steps of its life."""

from dataclasses import dataclass
from pathlib import Path

from daemon.ledger.reader import has_table, open_read_only
from daemon.ledger.stretches import table_of_stretches
from trainer.protocol.branch_path import Segment
from trainer.protocol.text import printable

FILES = (
    "SELECT job_id, display AS name, sha256, rows, state,"
    " max(min(first_step), :after + 1) AS first_step, min(max(last_step), :until) AS last_step"
)


@dataclass(frozen=True, kw_only=True)
class TrainedStretches:
    """A file with the steps that it had between two others."""

    job_id: str
    name: str
    """Printable."""
    sha256: str
    first_step: int
    """In the model's life, counted from 1; steps of other files may lie between this and the next."""
    last_step: int
    rows: int
    """Rows of the whole file that can be trained."""
    state: str
    """Of the job: completed, failed, skipped, waiting or processing."""


def read_trained_files(path: Path, *, after: int, until: int) -> list[TrainedStretches]:
    """Return the files with steps after one and up to another, in the order of their first steps there.

    Args:
        after, until: global steps.
    Raises:
        UnreadableLedger: it cannot be read.
    """
    if not path.exists():
        return []
    with open_read_only(path) as database:
        rows = database.execute(
            f"{FILES} FROM {table_of_stretches(database)} JOIN jobs ON jobs.id = job_id"
            " WHERE last_step > :after AND first_step <= :until"
            " GROUP BY job_id ORDER BY min(first_step)",
            {"after": after, "until": until},
        )
        return [TrainedStretches(**row) for row in rows]


def read_left_files(path: Path, segment: Segment) -> list[TrainedStretches]:
    """Return the files with steps in a part of a branch that the model has left, in the order of training.

    Raises:
        UnreadableLedger: it cannot be read.
    """
    if not path.exists():
        return []
    with open_read_only(path) as database:
        if not has_table(database, "left_stretches"):
            return []
        rows = database.execute(
            f"{FILES} FROM left_stretches JOIN jobs ON jobs.id = job_id"
            " WHERE branch = :branch AND last_step > :after AND first_step <= :until"
            " GROUP BY job_id ORDER BY min(first_step)",
            {"branch": segment.branch, "after": segment.after, "until": segment.until},
        )
        return [TrainedStretches(**row) for row in rows]


def first_step_of(path: Path, name: str) -> int | None:
    """Return the first step of a file in the model's life; None if the model was not trained on it.

    Args:
        name: as it is shown, or the id of its job; of several files with a name, the newest counts.
    Raises:
        UnreadableLedger: it cannot be read.
    """
    if not path.exists():
        return None
    with open_read_only(path) as database:
        row = database.execute(
            f"SELECT min(first_step) AS first FROM {table_of_stretches(database)}"
            " JOIN jobs ON jobs.id = job_id WHERE ? IN (display, jobs.id)"
            " GROUP BY job_id ORDER BY job_id DESC LIMIT 1",
            (printable(name),),
        ).fetchone()
        return int(row["first"]) if row else None
