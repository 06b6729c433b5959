"""The handoff: what has happened to the model since a time or a version, and what to do next."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import pairwise

from daemon.client.curves import Curve, Metric
from daemon.client.errors import UnreadableHistory, raising
from daemon.client.finding import everywhere
from daemon.client.history import History
from daemon.client.models import Models
from daemon.client.models_next import NextStep, next_steps
from daemon.client.models_now import DaemonNow, DiskNow, daemon_now, disk_now
from daemon.client.queue import Queue
from daemon.client.settings import ClientSettings
from daemon.client.trash import ended_at, with_present_place
from daemon.client.version_lines import VersionLine
from daemon.jobs.listing import find_named
from daemon.jobs.wishes import unfinished
from daemon.ledger.branches import RecordedBranch, read_branches
from daemon.ledger.crashes import CrashGroup
from daemon.ledger.evaluation_records import Validation
from daemon.ledger.event_stream import RecordedEvent
from daemon.ledger.period import (
    EndedOtherwise,
    PeriodFile,
    PeriodSums,
    newest_step,
    read_ended_otherwise,
    read_events_since,
    read_trained,
    step_at,
)
from daemon.ledger.reader import UnreadableLedger
from daemon.status.reader import Status
from trainer.protocol.checkpoints import POINTER, DamagedCheckpoint, NoUsableCheckpoint, read_manifest
from trainer.protocol.layout import Layout
from trainer.protocol.text import printable, utc_text
from trainer.versions.version import Version

MOST_FILES = 1_000
MOST_EVENTS = 1_000
WORTH_SAYING = ("warning", "error")
GATE_EVENTS = "gate_"
"""How the kinds of the gate's events begin."""
SAID_ELSEWHERE = (
    *("failed", "skipped", "training_failed", "given_up", "worker_crashed", "worker_not_finite"),
    *("went_back", "version_made"),
)
"""Kinds of events that other parts of the report have."""


@dataclass(frozen=True, kw_only=True)
class Since:
    """What a report begins with."""

    at: str
    """UTC, ISO 8601."""
    version: str | None = None
    """Whose checkpoint was written then; None for a time that somebody has chosen."""
    global_step: int | None = None
    """Of that version."""


@dataclass(frozen=True, kw_only=True)
class Repeated:
    """Warnings or errors of one kind."""

    kind: str
    level: str
    count: int
    newest_at: str
    message: str
    """Of the newest; printable."""


@dataclass(frozen=True, kw_only=True)
class GateVerdict:
    """What the gate said of some files."""

    at: str
    files: tuple[str, ...]
    """Printable."""
    verdict: str
    """The kind of its event."""
    message: str
    """Printable."""


@dataclass(frozen=True, kw_only=True)
class ModelsReport:
    """What has happened since a time, and what to do next."""

    made_at: str
    """UTC, ISO 8601."""
    base_dir: str
    """Printable."""
    since: Since
    daemon: DaemonNow
    current_step: int
    """Of the model's life."""
    step_then: int
    """The one that the files are counted from: where the model was then, or where it went back to since."""
    trained: PeriodSums
    files: list[PeriodFile]
    """The newest of those that are part of the model, in the order of their last steps."""
    num_ended_otherwise: int
    ended_otherwise: list[EndedOtherwise]
    """The newest files that failed or were skipped, oldest first; undone ones among them."""
    loss: Curve
    validation: Curve
    versions: list[VersionLine]
    """Those made since then, oldest first."""
    damaged_versions: dict[str, str]
    """All that cannot be trusted, with what is wrong."""
    went_back: list[RecordedBranch]
    gate: list[GateVerdict]
    repeated: list[Repeated]
    """Other warnings and errors by kind, the newest kind last."""
    crashes: list[CrashGroup]
    """Of workers."""
    daemon_crashes: int
    """How often a daemon started after one that had not ended normally, such as by a loss of power."""
    disk: DiskNow | None
    """None where it cannot be asked."""
    next: list[NextStep]


def since_seconds(seconds: float, *, clock: Callable[[], float] = time.time) -> Since:
    """Return the time that lies so many seconds back."""
    return Since(at=utc_text(max(0.0, clock() - seconds)))


def since_version(version: Version) -> Since:
    """Return the time at which a version's checkpoint was written."""
    record = version.record
    try:
        at = read_manifest(version.path).written_at
    except (OSError, DamagedCheckpoint, NoUsableCheckpoint):
        at = record.made_at
    return Since(at=at, version=record.id, global_step=record.global_step)


@dataclass(frozen=True)
class Sources:
    """The parts of the client that the report asks."""

    layout: Layout
    status: Callable[[], Status]
    settings: ClientSettings
    queue: Queue
    history: History
    models: Models


def models_report(
    sources: Sources, since: Since, *, points: int, clock: Callable[[], float] = time.time
) -> ModelsReport:
    """Return the report.

    Args:
        points: of each curve.
    Raises:
        UnreadableHistory: the ledger cannot be read.
    """
    with raising(UnreadableHistory, UnreadableLedger):
        status = sources.status()
        has_worker = status.is_running and bool(status.fields.get("worker_pid"))
        recorded = _recorded(sources.layout, since, has_worker=has_worker)
    after, current = recorded.after, recorded.current
    last = max(1, recorded.newest - after)
    loss = sources.history.curve(Metric.LOSS, max_points=points, last=last)
    validation = sources.history.curve(Metric.VALIDATION, max_points=points, last=last + 1)
    daemon = daemon_now(status)
    disk = disk_now(sources.layout, sources.settings, is_watched=daemon.life == "running")
    versions = sources.models.versions()
    crashes = sources.history.crashes(since=since.at)
    return ModelsReport(
        made_at=utc_text(clock()),
        base_dir=printable(str(sources.layout.base)),
        since=since,
        daemon=daemon,
        current_step=current,
        step_then=after,
        trained=recorded.trained,
        files=recorded.files,
        num_ended_otherwise=recorded.num_ended_otherwise,
        ended_otherwise=recorded.ended_otherwise,
        loss=_within(loss, after + 1, current),
        validation=_within(validation, after, current),  # what it began with, too
        versions=[version for version in versions if version.made_at >= since.at],
        damaged_versions={
            name: printable(problem, limit=300) for name, problem in sources.models.damaged().items()
        },
        went_back=recorded.went_back,
        gate=recorded.gate,
        repeated=recorded.repeated,
        crashes=crashes,
        daemon_crashes=recorded.daemon_crashes,
        disk=disk,
        next=list(
            next_steps(
                daemon,
                versions,
                crashes=crashes,
                disk=disk,
                queue=sources.queue,
                has_checkpoint=(sources.layout.models / POINTER).is_dir(),
                validation=_newest_validation(sources.history, current),
                unfinished=unfinished(sources.layout.models),
            )
        ),
    )


# ---- what the ledger has


@dataclass(frozen=True, kw_only=True)
class _Recorded:
    went_back: list[RecordedBranch]
    after: int
    """The step that the files are counted from."""
    current: int
    """The step of the model."""
    newest: int
    """The newest step of the ledger, which may be behind a model that went back, or be lost by a kill."""
    trained: PeriodSums
    files: list[PeriodFile]
    num_ended_otherwise: int
    ended_otherwise: list[EndedOtherwise]
    gate: list[GateVerdict]
    repeated: list[Repeated]
    daemon_crashes: int


def _recorded(layout: Layout, since: Since, *, has_worker: bool) -> _Recorded:
    ledger = layout.ledger_file
    branches = read_branches(ledger)
    unrecorded, saved = _beyond_ledger(layout, branches)
    went_back = [branch for branch in (*branches, *unrecorded) if branch.at > since.at]
    then = since.global_step if since.global_step is not None else step_at(ledger, since.at)
    newest = newest_step(ledger)
    is_lost = saved is not None and (bool(unrecorded) or (saved < newest and not has_worker))
    current = saved if saved is not None and is_lost else newest
    after = min([then, current, *(branch.from_step for branch in went_back)])
    trained, files = read_trained(ledger, after=after, until=current, limit=MOST_FILES)
    number, ended_otherwise = read_ended_otherwise(ledger, since=since.at, limit=MOST_FILES)

    def events(kinds: str, *levels: str) -> list[RecordedEvent]:
        return read_events_since(ledger, since=since.at, levels=levels, limit=MOST_EVENTS, kinds=kinds)

    return _Recorded(
        went_back=went_back,
        after=after,
        current=current,
        newest=newest,
        trained=trained,
        files=files,
        num_ended_otherwise=number,
        ended_otherwise=[_with_present_place(layout, file) for file in ended_otherwise],
        gate=[_verdict(event) for event in events(f"{GATE_EVENTS}*", "info", *WORTH_SAYING)],
        repeated=_by_kind(events("*", *WORTH_SAYING)),
        daemon_crashes=_daemon_crashes(events("daemon_*", "info")),
    )


def _with_present_place(layout: Layout, file: EndedOtherwise) -> EndedOtherwise:
    """Return a file with commands about it that work now, if it has been cleared away."""
    at = datetime.fromisoformat(file.at).timestamp()
    try:  # of several of one name, it is the one that ended then
        found = min(find_named(everywhere(layout), file.name), key=lambda path: abs(ended_at(path) - at))
    except (ValueError, FileNotFoundError):
        return file  # there is none any more
    return replace(file, reason=with_present_place(file.reason, found))


def _beyond_ledger(
    layout: Layout, recorded: Sequence[RecordedBranch]
) -> tuple[list[RecordedBranch], int | None]:
    """Return how the model went back while no daemon ran, which the ledger follows only when one starts.

    Returns:
        These branches, and the step of the newest checkpoint; None if there is none that can be read.
    """
    try:
        manifest = read_manifest((layout.models / POINTER).resolve())
    except (OSError, DamagedCheckpoint, NoUsableCheckpoint):
        return [], None
    known = max((branch.number for branch in recorded), default=0)
    found = [
        RecordedBranch(
            number=branch.number,
            from_branch=branch.from_branch,
            from_step=branch.from_step,
            left_step=branch.left_step,
            at=branch.at,
            why=branch.why,
            reason=branch.reason,
        )
        for branch in manifest.branches
        if branch.number > known
    ]
    return found, manifest.progress.global_step


def _within(curve: Curve, first: int, current: int) -> Curve:
    """Return what a curve has of a period; where there was no step, it would show the last one before."""
    points = [point for point in curve.points if first <= point.last_step <= current]
    return replace(curve, points=points)


def _newest_validation(history: History, current: int) -> Validation | None:
    newest, after = None, -1
    while page := history.validations(after=after):
        newest, after = page[-1], page[-1].global_step
    return newest if newest and newest.global_step <= current else None


def _daemon_crashes(starts_and_stops: Sequence[RecordedEvent]) -> int:
    kinds = [event.kind for event in starts_and_stops]
    return sum(pair == ("daemon_started", "daemon_started") for pair in pairwise(kinds))


def _verdict(event: RecordedEvent) -> GateVerdict:
    facts = event.data or {}
    return GateVerdict(
        at=event.at,
        files=tuple(printable(str(name)) for name in facts.get("files") or [facts.get("file", "a file")]),
        verdict=event.kind,
        message=printable(event.message),
    )


def _by_kind(events: Sequence[RecordedEvent]) -> list[Repeated]:
    def of(event: RecordedEvent) -> bool:
        return event.kind not in SAID_ELSEWHERE and not event.kind.startswith(GATE_EVENTS)

    return list(_repeated([event for event in events if of(event)]))


def _repeated(events: Sequence[RecordedEvent]) -> Iterator[Repeated]:
    newest = {event.kind: event for event in events}
    for kind, event in sorted(newest.items(), key=lambda item: item[1].id):
        yield Repeated(
            kind=kind,
            level=event.level or "warning",
            count=sum(other.kind == kind for other in events),
            newest_at=event.at,
            message=printable(event.message, limit=300),
        )
