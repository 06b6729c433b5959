"""Read the tries at a job."""

from dataclasses import dataclass
from pathlib import Path

from daemon.ledger.reader import open_read_only


@dataclass(frozen=True, kw_only=True)
class RecordedAttempt:
    """One try at a job."""

    number: int
    """Counted from 1."""
    started_at: str
    """UTC, ISO 8601, as the next one."""
    ended_at: str | None
    """None while it lasts. Where the daemon died with it, its last sign of life, or, if the next daemon found
    none, when the next attempt began."""
    verdict: str | None
    """completed, failed, skipped, preempted, interrupted, or what kind of fault ended it."""
    message: str | None
    """Printable."""


def read_attempts(path: Path, job_id: str) -> list[RecordedAttempt]:
    """Return the tries at a job, the first one first; none if there is no ledger.

    Raises:
        UnreadableLedger: it cannot be read.
    """
    if not path.exists():
        return []
    with open_read_only(path) as database:
        rows = database.execute(
            "SELECT number, started_at, ended_at, verdict, message FROM attempts"
            " WHERE job_id = ? ORDER BY number",
            (job_id,),
        )
        return [RecordedAttempt(**row) for row in rows]
