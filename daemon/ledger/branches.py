"""What the model did before it went back: the steps and evaluations of branches that it has left.

They leave the tables of the model's life, where the same global steps come again, and stay beside them for
ever, as thinned out as they were.
"""

import json
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from daemon.ledger.database import Database
from daemon.ledger.reader import has_table, open_read_only
from trainer.protocol.manifest import Branch

# Tables by global step -> the column it is in
LEFT_BEHIND = {
    "steps": "global_step",
    "not_applied": "global_step",
    "validations": "global_step",
    "suite_scores": "global_step",
    "previews": "global_step",
}


@dataclass(frozen=True, kw_only=True)
class RecordedBranch:
    """The model went back once."""

    number: int
    """Of the branch that began then, from 1."""
    from_step: int
    """The global step that it went back to."""
    left_step: int
    """The global step that it went back from."""
    at: str
    """UTC, ISO 8601."""
    why: str
    """rollback, gate or forget."""
    reason: str


class Branches:
    """Writes the tables of branches."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def newest(self) -> int:
        """Return the number of the newest branch; 0 if the model never went back."""
        return int(self._database.read("SELECT coalesce(max(number), 0) FROM branches").fetchone()[0])

    def add(self, branch: Branch) -> None:
        """Note that the model went back, and put away what it did since."""
        after = {"branch": branch.number, "step": branch.from_step}
        for table, column in LEFT_BEHIND.items():
            condition = f"WHERE {column} > :step"
            self._database.write(
                f"INSERT INTO left_{table} SELECT :branch, {table}.* FROM {table} {condition}", after
            )
            self._database.write(f"DELETE FROM {table} {condition}", after)
        self._database.write(
            "INSERT INTO left_stretches SELECT :branch, max(first_step, :step + 1), last_step, job_id,"
            " first_file_step + max(0, :step + 1 - first_step) FROM stretches WHERE last_step > :step",
            after,
        )
        self._database.write(
            "INSERT INTO branches VALUES (?,?,?,?,?,?,?,?)",
            (
                branch.number, branch.from_branch, branch.from_step, branch.left_step, branch.at, branch.why,
                branch.reason, json.dumps([job.model_dump(mode="json") for job in branch.undone]),
            ),
        )  # fmt: skip


def read_branches(path: Path) -> list[RecordedBranch]:
    """Return how often the model went back, oldest first.

    Raises:
        UnreadableLedger: it cannot be read.
    """
    if not path.exists():
        return []
    with open_read_only(path) as database:
        if not has_table(database, "branches"):
            return []
        return [_branch(row) for row in database.execute("SELECT * FROM branches ORDER BY number")]


def _branch(row: sqlite3.Row) -> RecordedBranch:
    return RecordedBranch(
        number=row["number"],
        from_step=row["from_step"],
        left_step=row["left_step"],
        at=row["at"],
        why=row["why"],
        reason=row["reason"],
    )
