"""A crash as a value, and as a row of the ledger."""

import sqlite3
from dataclasses import dataclass

from trainer.protocol.job import FaultKind

DETAILS_KEPT = 4_096  # characters of a traceback or of last words, from the end


@dataclass(frozen=True, kw_only=True)
class Crash:
    """An end of a worker that was not in order."""

    kind: FaultKind
    message: str
    details: str | None
    """Traceback or last words."""
    job_id: str | None
    display: str | None
    """The name of its file, made printable."""
    global_step: int | None
    file_step: int | None


def storable(details: str | None) -> str | None:
    """Return the end of what a worker said last, as the ledger can hold it."""
    # Half characters, as in names of files that are not UTF-8, cannot be stored
    return details and details[-DETAILS_KEPT:].encode("utf-8", "backslashreplace").decode("utf-8")


def crash_of(row: sqlite3.Row) -> Crash:
    """Return the crash of a row of their table."""
    return Crash(
        kind=FaultKind(row["kind"]),
        message=row["message"],
        details=row["details"],
        job_id=row["job_id"],
        display=row["display"],
        global_step=row["global_step"],
        file_step=row["file_step"],
    )
