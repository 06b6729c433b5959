"""The ledger's rows by the branch on which the model did them, wherever it has put them since."""

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass

from daemon.ledger.event_stream import RecordedEvent
from daemon.ledger.reader import has_table

LAST_STEP = 2**62


@dataclass(frozen=True)
class KnownBranch:
    """The model went back once."""

    number: int
    from_branch: int
    from_step: int


class BranchTables:
    """Reads the tables of the model's life, and those of what it has left."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        self._branches: dict[int, KnownBranch] = {}
        if has_table(database, "branches"):
            rows = database.execute("SELECT number, from_branch, from_step FROM branches ORDER BY number")
            self._branches = {row["number"]: KnownBranch(*row) for row in rows}

    def after(self, branch: int) -> KnownBranch | None:
        """Return the branch that follows one; None if the model has not left it."""
        return next((item for number, item in self._branches.items() if number > branch), None)

    def rows(self, table: str, branch: int, *, after: int, limit: int) -> list[sqlite3.Row]:
        """Return the first rows of a branch after a global step, of `steps` or of a table of evaluations.

        The rows of a step are never separated.
        """
        parts = [f"SELECT * FROM {table} WHERE global_step > :after AND global_step <= :until"]
        until = LAST_STEP
        if self.after(branch):  # what it did there, and what of it is part of its life again
            until = self._until_now(branch)
            found = self._database.execute("SELECT name FROM pragma_table_info(?)", (table,))
            columns = ", ".join(row["name"] for row in found)
            parts.append(
                f"SELECT {columns} FROM left_{table} WHERE branch = :branch AND global_step > :after"
            )
        values = {"after": after, "until": until, "branch": branch, "limit": limit}
        union = f"SELECT * FROM ({' UNION ALL '.join(parts)})"
        rows = self._database.execute(f"{union} ORDER BY global_step LIMIT :limit", values).fetchall()
        if table == "steps" or len(rows) < limit:
            return rows
        values["last"] = rows[-1]["global_step"]
        return self._database.execute(
            f"{union} WHERE global_step <= :last ORDER BY global_step", values
        ).fetchall()

    def path_rows(self, branch: int, step: int) -> Iterator[sqlite3.Row]:
        """Yield the steps that led to a step of a branch, oldest first."""
        began = self._branches.get(branch)
        start = began.from_step if began else 0
        if began:
            yield from self.path_rows(began.from_branch, min(step, start))
        for row in self.rows("steps", branch, after=start, limit=LAST_STEP):
            if row["global_step"] <= step:
                yield row

    def step_of(self, event: RecordedEvent) -> int:
        """Return the global step at which something happened, as far as the ledger knows it."""
        data = event.data or {}
        if "global_step" in data:
            return int(data["global_step"])
        if event.kind == "went_back":
            return int(data["from_step"])
        if event.kind == "started" and event.job_id is not None:
            found = self._database.execute(
                "SELECT first_step + :next - first_file_step FROM stretches WHERE job_id = :job"
                " AND first_file_step <= :next AND :next <= first_file_step + last_step - first_step"
                " ORDER BY first_step DESC LIMIT 1",
                {"job": event.job_id, "next": int(data.get("first_step", 0)) + 1},
            ).fetchone()
            return int(found[0]) if found else self._newest() + 1
        if event.job_id is not None:
            query = "SELECT max(last_step) FROM stretches WHERE job_id = ?"
            [last] = self._database.execute(query, (event.job_id,)).fetchone()
            if last is not None:
                return int(last)
        return self._newest()

    def _newest(self) -> int:
        query = "SELECT coalesce(max(global_step), 0) FROM steps"
        return int(self._database.execute(query).fetchone()[0])

    def _until_now(self, branch: int) -> int:
        """Return the last step of a branch that is part of the model's life; what came before it is, too."""
        number, until = max(self._branches), LAST_STEP
        while number in self._branches and number > branch:
            began = self._branches[number]
            number, until = began.from_branch, min(until, began.from_step)
        return until if number == branch else -1
