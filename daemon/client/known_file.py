"""All that is known of one file: where it is, what was found in it, and what became of its job."""

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import ValidationError

from daemon.client.completed_files import KeptCheckpoints, speed
from daemon.client.errors import AmbiguousName, NoSuchFile
from daemon.client.finding import everywhere, in_queue, like_it, place_of
from daemon.client.trash import outcome_of, with_present_place
from daemon.files.identity import identity_of
from daemon.files.notes import REASON_SUFFIX, list_of_refusal, lists_of_rejected, note_beside
from daemon.intake.ignored import why_not_accepted
from daemon.intake.inbox import find_files, priority_of
from daemon.jobs.admission import is_admitted
from daemon.jobs.listing import CHECKING, PROCESSING, SAVING, UNCHECKED, find_named
from daemon.ledger.attempts import RecordedAttempt, read_attempts
from daemon.ledger.completions import first_checkpoint
from daemon.ledger.evaluation_records import Validation
from daemon.ledger.event_stream import RecordedEvent, read_job_events
from daemon.ledger.file_value import FileValue, file_value
from daemon.ledger.gate_verdicts import read_verdicts
from daemon.ledger.job_records import (
    RecordedJob,
    find_job,
    find_job_named,
    find_job_of,
    is_trained,
    job_ids_named,
    unrecorded_steps,
)
from daemon.status.data_reports import read_report
from daemon.status.last_known import cursor_in
from daemon.status.reader import read_status
from trainer.protocol.data_report import OUTLIERS, DataReport
from trainer.protocol.files import UnreadableFile, file_sha256, read_json
from trainer.protocol.job import FaultKind, Outcome, Priority, Reason
from trainer.protocol.layout import Layout
from trainer.protocol.places import OPEN_STATES
from trainer.protocol.text import printable

JOB_ID = re.compile(r"\d{8}-\d{6}-\d{6}")
EVENTS_READ = 1_000
OTHERS_READ = 20
VERDICTS_READ = 10


@dataclass(frozen=True, kw_only=True)
class ReportSummary:
    """What was found in the rows of a file before it was trained."""

    sampled_rows: int
    blocks: tuple[str, ...]
    """What keeps it from being trained, unless it is admitted; printable, as the next ones."""
    warnings: tuple[str, ...]
    is_admitted: bool
    outliers: tuple[int, ...]
    """Line numbers of the rows that do not fit among the others, the first thousand; only with the gate."""


@dataclass(frozen=True, kw_only=True)
class GateNote:
    """What the gate found after a file: whether the model was worse than before it."""

    at: str
    """UTC, ISO 8601."""
    outcome: str
    """passed, refused, admitted or unjudged."""
    files: int
    """That were judged together."""
    from_step: int
    global_step: int
    reason: str
    """In words, with the numbers; printable."""


@dataclass(frozen=True, kw_only=True)
class KnownJob(RecordedJob):
    """A job, with all that the ledger and the checkpoints know of it."""

    tokens_per_s: float | None
    """None if it has taken no step."""
    total_steps: int | None
    """Those of the whole file; None before it was first started."""
    unrecorded_steps: int
    """How many of `steps` only the newest checkpoint has, such as those taken after the daemon was killed.
    The next worker reports them; until then tokens, seconds and losses are without them."""
    every_attempt: tuple[RecordedAttempt, ...]
    """The first one first, also those that it was not charged with."""
    before: Validation | None
    """The newest validation before its first step."""
    after: Validation | None
    """The first validation at or after its last step, unless another file was trained in between."""
    validation_change: float | None
    """How much the validation loss has changed; None unless both are of as many rows and the same weights."""
    other_steps: int
    """Steps of other files from the validation before it to its last step, which also affected the change."""
    checkpoint: str | None
    """Name of the first that contains it; None unless it is completed, or if that is unknown."""
    is_checkpoint_kept: bool
    """Whether that checkpoint is still there."""
    verdicts: tuple[GateNote, ...]
    """Those of the gate, oldest first."""
    events: tuple[RecordedEvent, ...]
    """The newest thousand, oldest first."""


@dataclass(frozen=True, kw_only=True)
class KnownFile:
    """A file, and what became of it."""

    name: str
    """Printable."""
    state: str
    """dropped (into inbox/), checking (unchecked if no daemon runs that could check it), waiting, processing,
    saving, completed, failed, skipped, or removed by hand."""
    place: str | None
    """Where it is, from the working directory on; printable. None if it is gone."""
    priority: str | None
    """None if it is not known."""
    reason: str | None
    """Why it failed, was skipped, or is not accepted, and then what to do; printable."""
    ended_at: str | None
    """UTC, ISO 8601. When it was completed, failed or was skipped."""
    rejected_list: str | None
    """Where the rows that were rejected are listed, from the working directory on; printable."""
    is_admitted: bool
    """Whether its content is trained whatever the check of its rows finds."""
    report: ReportSummary | None
    """None if its rows were not inspected, or the report is gone."""
    job: KnownJob | None
    """None for a file that has not become a job yet, or that was refused before."""
    other_jobs: tuple[str, ...]
    """Ids of the newest other jobs whose files have had this name, newest first."""


def known_file(layout: Layout, name: str) -> KnownFile:
    """Return all that is known of a file.

    Args:
        name: as a list of the queue shows it or as it is, also with its folder, or a job id.
    Raises:
        NoSuchFile: nobody knows it.
        AmbiguousName: several files may be meant.
        UnreadableLedger: the ledger cannot be read.
    """
    return _described(layout, *_meant(layout, name))


def report_on(layout: Layout, name: str) -> DataReport:
    """Return what was found in the rows of a file before it was trained.

    Args:
        name: as for `known_file`.
    Raises:
        NoSuchFile, AmbiguousName, UnreadableLedger: as for `known_file`.
        FileNotFoundError: there is no report.
        UnreadableFile: it is none of ours.
    """
    path, job = _meant(layout, name)
    note = _note_beside(path) if path else None
    job_id = job.id if job else note.job_id if note else None
    if job_id is None:
        raise FileNotFoundError(f"{printable(name)} has not become a job yet")
    return read_report(layout, job_id, path.name if path else job.name if job else name)


def path_of(layout: Layout, name: str) -> Path:
    """Return where a file is.

    Raises:
        NoSuchFile: nobody knows it, or it is gone.
        AmbiguousName, UnreadableLedger: as for `known_file`.
    """
    path, _ = _meant(layout, name)
    if path is None:
        raise NoSuchFile(f"{printable(name)} is known, but its file is gone, so its rows cannot be read")
    return path


def content_of(layout: Layout, name: str) -> tuple[str, str | None]:
    """Return the name of a file, printable, and the SHA-256 of its content; None if it is no regular file.

    Raises:
        NoSuchFile, AmbiguousName, UnreadableLedger: as for `known_file`.
    """
    path, job = _meant(layout, name)
    return printable(path.name if path else job.name if job else name), _sha256_of(path, job)


# ---- which file is meant


def _meant(layout: Layout, name: str) -> tuple[Path | None, RecordedJob | None]:
    return _job_with_id(layout, name) if JOB_ID.fullmatch(name) else _named(layout, name)


def _job_with_id(layout: Layout, job_id: str) -> tuple[Path | None, RecordedJob]:
    job = find_job(layout.ledger_file, job_id)
    if job is None:
        raise NoSuchFile(
            f"the ledger has no job {job_id}; expected an id such as training_queue show NAME shows"
        )
    places = (path for path in find_named(everywhere(layout), job.name) if _job_at(layout, path) == job)
    return next(places, None), job


def _named(layout: Layout, name: str) -> tuple[Path | None, RecordedJob | None]:
    found = (
        find_named(in_queue(layout), name)  # what was cleared away is meant only if nothing else is
        or list(_dropped(layout, name))
        or find_named(everywhere(layout), name)
    )
    if len(found) > 1:
        places = " or ".join(map(place_of, found))
        raise AmbiguousName(
            f"{printable(name)} is ambiguous: {places}; say which, such as {place_of(found[0])}"
        )
    if found:
        return found[0], _job_at(layout, found[0])
    folder, _, file_name = name.rpartition("/")
    job = None if folder else find_job_named(layout.ledger_file, file_name)
    if job is None:
        raise NoSuchFile(
            f"no file is named {printable(name)} in inbox/, queue/ or the ledger; expected a name such as "
            f"training_queue list or history shows{like_it([layout.inbox, *everywhere(layout)], name)}"
        )
    return None, job


def _dropped(layout: Layout, name: str) -> Iterator[Path]:
    for path in find_files(layout.inbox):
        place = printable(str(path.relative_to(layout.base)))
        if name in (path.name, printable(path.name), place_of(path), place):
            yield path


def _job_at(layout: Layout, path: Path) -> RecordedJob | None:
    """Return the job of the file that lies there."""
    try:
        state = next((outcome.value for outcome in Outcome if layout.finished(outcome) == path.parent), "")
        if _is_removed(
            path
        ):  # its job has the state `removed`, and an older one of the file may have this one
            state = ""
        job = find_job_of(layout.ledger_file, identity_of(path.lstat()), state=state)
    except FileNotFoundError:
        return None
    # One that was put back is a new job once its rows have been checked again
    is_of_earlier_try = job is not None and job.state not in OPEN_STATES and _is_queued(layout, path)
    return None if is_of_earlier_try else job


def _is_removed(path: Path) -> bool:
    """Whether a command has put a file where it lies, which no job of its own did."""
    try:
        note = read_json(note_beside(path, REASON_SUFFIX))
        return bool(note.get("kind") == FaultKind.REQUEST and note.get("job_id") is None)
    except (OSError, UnreadableFile, AttributeError):
        return False


def _is_queued(layout: Layout, path: Path) -> bool:
    return path.parent in (layout.processing, *map(layout.waiting, Priority))


# ---- what is known of it


def _described(layout: Layout, path: Path | None, job: RecordedJob | None) -> KnownFile:
    name = path.name if path else job.name if job else ""
    known = _known_job(layout, job) if job else None
    note = _note_beside(path) if path else None
    others = job_ids_named(layout.ledger_file, name, limit=OTHERS_READ + 1)
    return KnownFile(
        name=printable(name),
        state=_state(layout, path, known),
        place=printable(str(path.relative_to(layout.base))) if path else None,
        priority=_priority(layout, path, job, note),
        reason=_reason(layout, path, job, note),
        ended_at=_ended_at(job, note),
        rejected_list=_rejected_list(layout, path or layout.failed / name, job, note),
        is_admitted=_is_admitted(layout, path, job),
        report=_report(layout, name, job.id if job else note.job_id if note else None),
        job=known,
        other_jobs=tuple(other for other in others if job is None or other != job.id)[:OTHERS_READ],
    )


def _is_admitted(layout: Layout, path: Path | None, job: RecordedJob | None) -> bool:
    if not layout.admitted.is_dir() or (job is None and not (path and _is_queued(layout, path))):
        return False  # a file without a job is read as a whole, so only where it matters
    sha256 = _sha256_of(path, job)
    return sha256 is not None and is_admitted(layout, sha256)


def _sha256_of(path: Path | None, job: RecordedJob | None) -> str | None:
    if job:
        return job.sha256
    is_regular = path is not None and path.is_file() and not path.is_symlink()
    return file_sha256(path) if path and is_regular else None


def _known_job(layout: Layout, job: RecordedJob) -> KnownJob:
    events = read_job_events(layout.ledger_file, job.id, limit=EVENTS_READ)
    is_valued = job.state != "removed" or job.steps
    value = file_value(layout.ledger_file, job.id) if is_valued else None
    checkpoint, is_kept = _checkpoint(layout, job, value)
    job, unrecorded = _with_unrecorded(layout, job)
    return KnownJob(
        **vars(job),
        unrecorded_steps=unrecorded,
        tokens_per_s=speed(job.tokens, job.seconds),
        total_steps=_total_steps(events),
        every_attempt=tuple(read_attempts(layout.ledger_file, job.id)),
        before=value.before if value else None,
        after=value.after if value else None,
        validation_change=value.change if value else None,
        other_steps=value.other_steps if value else 0,
        checkpoint=checkpoint,
        is_checkpoint_kept=is_kept,
        verdicts=tuple(_gate_notes(layout, job.id)),
        events=tuple(events),
    )


def _with_unrecorded(layout: Layout, job: RecordedJob) -> tuple[RecordedJob, int]:
    """Add the steps that only the newest checkpoint has, and return how many these are.

    A worker whose daemon was killed finishes its step and saves; the next worker reports what it took.
    """
    cursor = cursor_in(layout.models, job.id) if job.state in OPEN_STATES else None
    missing = unrecorded_steps(layout.ledger_file, job.id, until=cursor.step) if cursor else 0
    if cursor is None or not missing:
        return job, 0
    rows_trained = max(job.rows_trained, cursor.rows_trained)
    return replace(job, steps=job.steps + missing, rows_trained=rows_trained), missing


def _reason(layout: Layout, path: Path | None, job: RecordedJob | None, note: Reason | None) -> str | None:
    is_dropped = path is not None and job is None and layout.inbox in path.parents
    if path and is_dropped and (why := why_not_accepted(path, layout.base)):
        return why
    reason = (job.reason if job else None) or (printable(note.message) if note else None)
    return with_present_place(reason, path) if reason and path else reason


def _gate_notes(layout: Layout, job_id: str) -> Iterator[GateNote]:
    for verdict in reversed(read_verdicts(layout.ledger_file, job_id=job_id, limit=VERDICTS_READ)):
        yield GateNote(
            at=verdict.at,
            outcome=verdict.outcome,
            files=len(verdict.files),
            from_step=verdict.from_step,
            global_step=verdict.global_step,
            reason=verdict.reason,
        )


def _state(layout: Layout, path: Path | None, job: KnownJob | None) -> str:
    if path is None:
        return job.state if job else "removed"
    if layout.trash in path.parents:
        return outcome_of(path).value
    for outcome in Outcome:
        if path.parent == layout.finished(outcome):
            return outcome.value
    if path.parent == layout.processing:
        is_saving = job is not None and is_trained(layout.ledger_file, job.id)
        return SAVING if is_saving and not read_status(layout).is_gone else PROCESSING
    if layout.inbox in path.parents:
        return "dropped"
    if job:
        return "waiting"
    return UNCHECKED if read_status(layout).is_gone else CHECKING


def _ended_at(job: RecordedJob | None, note: Reason | None) -> str | None:
    if job and job.state in OPEN_STATES:  # what was undone had ended, and is to be trained again
        return None
    return (job.finished_at if job else None) or (printable(note.at) if note else None)


def _priority(layout: Layout, path: Path | None, job: RecordedJob | None, note: Reason | None) -> str | None:
    if path and layout.inbox in path.parents:
        return priority_of(path, layout.inbox).value
    if path and path.parent in map(layout.waiting, Priority):
        return path.parent.name
    if job:
        return job.priority
    return note.priority.value if note else None


def _note_beside(path: Path) -> Reason | None:
    with suppress(OSError, UnreadableFile, ValidationError):
        return Reason.model_validate(read_json(note_beside(path, REASON_SUFFIX)))
    return None


def _checkpoint(layout: Layout, job: RecordedJob | None, value: FileValue | None) -> tuple[str | None, bool]:
    if job is None or value is None or job.state != Outcome.COMPLETED:
        return None, False
    kept = KeptCheckpoints(layout.models)
    name = kept.first_with(value.last_step, first_checkpoint(layout.ledger_file, job.id))
    return name, name in kept


def _total_steps(events: list[RecordedEvent]) -> int | None:
    facts = [event.data or {} for event in events if event.kind == "started"]
    return facts[-1].get("total_steps") if facts else None


def _rejected_list(layout: Layout, path: Path, job: RecordedJob | None, note: Reason | None) -> str | None:
    """Return where the rejected rows are listed; of several files of one name each has a list of its own.

    Args:
        path: of the file; where it would be if it had failed, if it is gone.
        note: on why it failed.
    """
    if job is None:  # a file that was refused has its lists beside it, one for each try
        found = list_of_refusal(path, note.at if note else None)
    else:
        folders = dict.fromkeys([path.parent, layout.failed])
        found = next(lists_of_rejected(folders, path.name, job.rejected_lines), None)
    return printable(str(found.relative_to(layout.base))) if found else None


def _report(layout: Layout, name: str, job_id: str | None) -> ReportSummary | None:
    if job_id is None:
        return None
    try:
        report = read_report(layout, job_id, name)
    except (OSError, UnreadableFile):
        return None
    return ReportSummary(
        sampled_rows=report.sampled_rows,
        blocks=tuple(printable(finding.message) for finding in report.blocks),
        warnings=tuple(printable(finding.message) for finding in report.warnings),
        is_admitted=report.is_admitted,
        outliers=tuple(
            line for finding in report.findings if finding.rule == OUTLIERS for line in finding.lines
        ),
    )
