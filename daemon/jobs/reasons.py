"""`NAME.reason.json`: why a file is in `failed/` or `skipped/`."""

from pathlib import Path

from pydantic import ValidationError

from daemon.files.identity import identity_of
from daemon.files.notes import REASON_SUFFIX, is_users_file, note_beside
from daemon.ledger.ledger import Ledger
from trainer.protocol.files import UnreadableFile, read_json, write_json
from trainer.protocol.job import FaultKind, Job, JobRecord, Outcome, Reason
from trainer.protocol.layout import Layout
from trainer.protocol.text import printable

LOST = "the daemon died while it put this file here; the reason is lost, so try again: training_queue retry"


def reason_for(
    job: Job, kind: FaultKind, message: str, *, at: str, attempts: int = 0, details: str | None = None
) -> Reason:
    """Return why a job's file is put away.

    Args:
        at: the time, as every file of ours shows it.
    """
    return Reason(
        kind=kind,
        message=printable(message),
        file=printable(job.name),
        at=at,
        job_id=job.id,
        attempts=attempts,
        details=details,
        priority=job.priority,
    )


def reason_of(job: Job, record: JobRecord, *, at: str) -> Reason | None:
    """Return why a job ended as its record says; None if it was completed."""
    if record.outcome is Outcome.COMPLETED:
        return None
    kind = FaultKind.REQUEST if record.outcome is Outcome.SKIPPED else FaultKind.BAD_DATA
    return reason_for(job, kind, record.message or str(record.outcome), at=at, attempts=1)


def write_reason(path: Path, reason: Reason) -> None:
    """Write the note beside a file."""
    text = reason.model_dump(mode="json")
    write_json(note_beside(path, REASON_SUFFIX), text, durable=False)


def remove_reason(path: Path) -> None:
    """Remove the note that stands beside a file, if there is one; the ledger keeps what it said."""
    note_beside(path, REASON_SUFFIX).unlink(missing_ok=True)


def refusal_at_intake(path: Path) -> str | None:
    """Return why a file was refused before it became a job; None if it was not, or nobody knows."""
    try:
        reason = Reason.model_validate(read_json(note_beside(path, REASON_SUFFIX)))
    except (FileNotFoundError, UnreadableFile, ValidationError):
        return None
    is_refusal = reason.kind is FaultKind.BAD_DATA and reason.job_id is None
    return reason.message if is_refusal and reason.message != LOST else None


def restore_reasons(layout: Layout, ledger: Ledger, *, at: str) -> None:
    """Write the notes that a crash, between the move of a file and its note, has left unwritten."""
    for outcome in (Outcome.FAILED, Outcome.SKIPPED):
        for path in layout.finished(outcome).iterdir():
            if not is_users_file(path.name) or note_beside(path, REASON_SUFFIX).exists():
                continue
            ending = ledger.ending_of(identity_of(path.lstat()))
            kind = FaultKind.BAD_DATA if outcome is Outcome.FAILED else FaultKind.REQUEST
            lost = Reason(kind=kind, message=LOST, file=printable(path.name), at=at)
            write_reason(path, (ending and ending[1]) or lost)
