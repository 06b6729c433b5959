"""What training a file achieved, from the ledger: losses before and after it, steps, tokens, time."""

import sqlite3
from dataclasses import dataclass
from pathlib import Path

from daemon.ledger.evaluation_records import Validation, validation_of
from daemon.ledger.job_records import sums_of
from daemon.ledger.reader import open_read_only
from trainer.protocol.places import OPEN_STATES
from trainer.protocol.text import printable

NOT_ENDED = (*OPEN_STATES, "removed")  # states that do not say how a file ended


class NotInLedger(ValueError):
    """There is nothing to say about a file; the message says why."""


@dataclass(frozen=True, kw_only=True)
class FileValue:
    """What a file has brought."""

    name: str
    """Printable."""
    job: str
    state: str
    rows: int
    rows_trained: int
    steps: int
    tokens: int
    seconds: float
    first_loss: float | None
    last_loss: float | None
    first_step: int | None
    """In the model's life, counted from 1; None if it has no step."""
    last_step: int | None
    other_steps: int
    """Steps of other files from the validation before it to its last step, which also affected the change."""
    before: Validation | None
    """The newest validation before its first step."""
    after: Validation | None
    """The first validation at or after its last step, unless another file was trained in between."""

    @property
    def change(self) -> float | None:
        """How much the validation loss has changed; None unless of as many rows and of the same weights."""
        if self.before is None or self.after is None:
            return None
        if (self.before.rows, self.before.weights) != (self.after.rows, self.after.weights):
            return None
        if self.before.loss is None or self.after.loss is None:
            return None
        return self.after.loss - self.before.loss


def file_value(ledger_file: Path, name: str) -> FileValue:
    """Return what a file has brought; of several with that name, the one that came last.

    Args:
        name: as `training_queue list` shows it or as it is, also with its folder, or a job id.
    Raises:
        NotInLedger: no file of this name was ever accepted, or it is gone and has no step.
        UnreadableLedger: the ledger cannot be read.
    """
    if not ledger_file.exists():
        raise NotInLedger(f"{ledger_file} is not there, so nothing has been trained here yet")
    with open_read_only(ledger_file) as database:
        job = database.execute(
            "SELECT * FROM jobs WHERE ? IN (display, id) AND (state <> 'removed'"
            " OR EXISTS (SELECT 1 FROM steps WHERE job_id = jobs.id)) ORDER BY id DESC LIMIT 1",
            (printable(name.rpartition("/")[2]),),
        ).fetchone()
        if job is not None:
            return value_of_job(database, job)
        is_removed = database.execute(
            "SELECT 1 FROM jobs WHERE ? IN (display, id)", (printable(name.rpartition("/")[2]),)
        ).fetchone()
    # After the block, which takes a ValueError for damage
    if is_removed:
        raise NotInLedger(
            f"{printable(name)} is gone, and no step of it is in the model; training_queue show "
            f"{printable(name)} says why"
        )
    raise NotInLedger(
        f"the ledger knows no file named {printable(name)}; expected a name such as "
        "training_queue list or history shows"
    )


def value_of_job(database: sqlite3.Connection, job: sqlite3.Row) -> FileValue:
    """Return what the file of a row of the table of jobs has brought."""
    sums = sums_of(database, job)
    first, last = _window(database, job["id"])
    before = _before(database, first)
    # A file may be overtaken or skipped with no validation after its newest step
    measured = first if before is None or first is None else before.global_step + 1
    return FileValue(
        name=job["display"],
        job=job["id"],
        state=job["state"],
        rows=job["rows"],
        rows_trained=sums["rows_trained"] or 0,
        steps=sums["steps"],
        tokens=sums["tokens"] or 0,
        seconds=sums["seconds"] or 0.0,
        first_loss=sums["first_loss"],
        last_loss=sums["last_loss"],
        first_step=first,
        last_step=last,
        other_steps=_other_steps(database, job["id"], measured, last),
        before=before,
        after=_after(database, job["id"], last),
    )


def _window(database: sqlite3.Connection, job_id: str) -> tuple[int | None, int | None]:
    """Return the first and the last step of a job, in the model's life."""
    first = database.execute(
        "SELECT global_step, file_step FROM steps WHERE job_id = ? ORDER BY file_step LIMIT 1", (job_id,)
    ).fetchone()
    if first is None:
        return None, None
    [last] = database.execute("SELECT max(global_step) FROM steps WHERE job_id = ?", (job_id,)).fetchone()
    # The steps before it are thinned out, if there were any
    return first["global_step"] - first["file_step"] + 1, last


def _other_steps(database: sqlite3.Connection, job_id: str, first: int | None, last: int | None) -> int:
    [number] = database.execute(
        "SELECT count(*) FROM steps WHERE job_id <> ? AND global_step BETWEEN ? AND ?", (job_id, first, last)
    ).fetchone()
    return int(number)


def _before(database: sqlite3.Connection, first: int | None) -> Validation | None:
    newest = "SELECT * FROM validations WHERE global_step < ? ORDER BY global_step DESC LIMIT 1"
    row = database.execute(newest, (first,)).fetchone()
    return validation_of(row) if row else None


def _after(database: sqlite3.Connection, job_id: str, last: int | None) -> Validation | None:
    next_of_others = "(SELECT min(global_step) FROM steps WHERE global_step > :last AND job_id <> :job)"
    first = (
        "SELECT * FROM validations WHERE global_step >= :last"
        f" AND global_step < coalesce({next_of_others}, global_step + 1) ORDER BY global_step LIMIT 1"
    )
    row = database.execute(first, {"last": last, "job": job_id}).fetchone()
    return validation_of(row) if row else None
