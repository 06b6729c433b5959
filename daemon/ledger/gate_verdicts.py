"""The verdicts of the gate: which files made the model worse, by which numbers. Kept for ever."""

import json
import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path

from daemon.ledger.database import Database
from daemon.ledger.reader import has_table, open_read_only
from trainer.protocol.gate import GateVerdict


class RecordedVerdict(GateVerdict):
    """A verdict as the ledger has it."""

    at: str
    """UTC, ISO 8601."""
    branch: int
    """On which its steps were: how often the model had gone back before."""


class GateVerdicts:
    """Writes the table.

    Args:
        now: returns the time as text.
    """

    def __init__(self, database: Database, *, now: Callable[[], str]) -> None:
        self._database = database
        self._now = now

    def add(self, verdict: GateVerdict, *, branch: int) -> None:
        """Note a verdict. One on the same steps, which a crash has had repeated, is replaced."""
        self._database.write(
            "INSERT OR REPLACE INTO gate_verdicts VALUES (?,?,?,?,?,?,?)",
            (
                branch, verdict.global_step, verdict.from_step, self._now(), verdict.outcome,
                json.dumps([file.job_id for file in verdict.files]), verdict.model_dump_json(),
            ),
        )  # fmt: skip

    def rewind(self, global_step: int, *, branch: int) -> None:
        """Forget verdicts on steps that the model has not taken after all."""
        self._database.write(
            "DELETE FROM gate_verdicts WHERE branch = ? AND global_step > ?", (branch, global_step)
        )


def read_verdicts(path: Path, *, job_id: str | None = None, limit: int) -> list[RecordedVerdict]:
    """Return the newest verdicts, the newest first, with the present names; none if there is no ledger.

    Args:
        job_id: only those on this job.
    Raises:
        UnreadableLedger: it cannot be read.
    """
    if not path.exists():
        return []
    with open_read_only(path) as database:
        if not has_table(database, "gate_verdicts"):
            return []
        rows = database.execute(
            "SELECT * FROM gate_verdicts WHERE :job IS NULL"
            " OR EXISTS (SELECT 1 FROM json_each(jobs) WHERE value = :job)"
            " ORDER BY branch DESC, global_step DESC LIMIT :limit",
            {"job": job_id, "limit": limit},
        )
        return [_verdict(row, _names(database, row["jobs"])) for row in rows.fetchall()]


def _names(database: sqlite3.Connection, jobs: str) -> dict[str, str]:
    """Return job id -> what its file is called now: it gets a number where its name is taken."""
    found = database.execute(
        "SELECT id, display FROM jobs WHERE id IN (SELECT value FROM json_each(?))", (jobs,)
    )
    return {row["id"]: row["display"] for row in found}


def _verdict(row: sqlite3.Row, names: Mapping[str, str]) -> RecordedVerdict:
    facts = json.loads(row["verdict"]) | {"at": row["at"], "branch": row["branch"]}
    for file in facts["files"]:
        file["name"] = names.get(file["job_id"], file["name"])
    return RecordedVerdict.model_validate(facts)
