"""What the model did on branches that it has left: steps and evaluations that its present state lacks.

They leave the tables of its life, where the same global steps come again, and come back if the model goes
back to where they were.
"""

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from daemon.ledger.database import Database
from daemon.ledger.reader import has_table, open_read_only
from daemon.ledger.stretches import Stretches
from trainer.protocol.branch_path import Segment, beyond, path_to, shared_step
from trainer.protocol.manifest import Branch

LEFT_BEHIND = ("steps", "not_applied", "validations", "suite_scores", "suite_answers", "previews")
"""Tables by global step; each has one beside it that begins with `left_`."""


@dataclass(frozen=True, kw_only=True)
class RecordedBranch:
    """The model went back once."""

    number: int
    """Of the branch that began then, from 1."""
    from_branch: int
    """The one that it left from: 0 until the model first went back."""
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

    def __init__(self, database: Database, stretches: Stretches) -> None:
        self._database = database
        self._stretches = stretches

    def newest(self) -> int:
        """Return the number of the newest branch; 0 if the model never went back."""
        return int(self._database.read("SELECT coalesce(max(number), 0) FROM branches").fetchone()[0])

    def newest_followed(self) -> int:
        """Return the number of the newest branch to which the queue has followed."""
        found = self._database.read("SELECT coalesce(max(number), 0) FROM branches WHERE is_followed")
        return int(found.fetchone()[0])

    def note_followed(self, number: int) -> None:
        """Note that the files of the queue are where the branch has them."""
        self._database.write("UPDATE branches SET is_followed = 1 WHERE number = ?", (number,))

    def has_steps(self, job_id: str) -> bool:
        """Whether the model has steps of a job."""
        found = self._database.read("SELECT 1 FROM stretches WHERE job_id=? LIMIT 1", (job_id,))
        return found.fetchone() is not None

    def begin(self, branch: Branch, branches: Sequence[Branch]) -> None:
        """Note that the model went back: what it did since is put away, what led to where it is comes back.

        Args:
            branches: all of the model's life.
        """
        left = path_to(branch.number - 1, branch.left_step, branches)
        now = path_to(branch.from_branch, branch.from_step, branches)
        shared = shared_step(left, now)
        for segment in beyond(left, shared):
            self._put_away(segment)
        for table in LEFT_BEHIND:
            self._database.write(f"DELETE FROM {table} WHERE global_step > ?", (shared,))
        self._stretches.rewind(shared)
        for segment in beyond(now, shared):
            self._bring_back(segment)
        self._database.write(
            "INSERT INTO branches VALUES (?,?,?,?,?,?,?,?,0)",
            (
                branch.number, branch.from_branch, branch.from_step, branch.left_step, branch.at, branch.why,
                branch.reason, json.dumps([job.model_dump(mode="json") for job in branch.jobs]),
            ),
        )  # fmt: skip

    def _put_away(self, segment: Segment) -> None:
        for table in LEFT_BEHIND:
            self._database.write(
                f"INSERT INTO left_{table} SELECT ?, * FROM {table}"
                " WHERE global_step > ? AND global_step <= ?",
                (segment.branch, segment.after, segment.until),
            )
        self._stretches.put_away(segment)

    def _bring_back(self, segment: Segment) -> None:
        values = (segment.branch, segment.after, segment.until)
        condition = "WHERE branch = ? AND global_step > ? AND global_step <= ?"
        for table in LEFT_BEHIND:
            columns = ", ".join(self._columns(table))
            self._database.write(
                f"INSERT OR REPLACE INTO {table} ({columns}) SELECT {columns} FROM left_{table} {condition}",
                values,
            )
            self._database.write(f"DELETE FROM left_{table} {condition}", values)
        self._stretches.bring_back(segment)

    def _columns(self, table: str) -> list[str]:
        return [row["name"] for row in self._database.read(f"SELECT name FROM pragma_table_info('{table}')")]


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
        from_branch=row["from_branch"],
        from_step=row["from_step"],
        left_step=row["left_step"],
        at=row["at"],
        why=row["why"],
        reason=row["reason"],
    )
