"""Decide the daemon's next act.

Pure: what is known comes in as arguments, a decision goes out; nothing is touched.
"""

from dataclasses import dataclass
from enum import StrEnum

from daemon.supervision.worker_state import Absent, Busy, Loading, Ready, ShuttingDown, WorkerState
from trainer.protocol.places import Priority


class Stopping(StrEnum):
    """How the daemon was asked to end."""

    AFTER_FILE = "after the current file"
    NOW = "at the next step"


def stopping_words(how: Stopping, *, is_loading: bool) -> str:
    """Return when a worker is to leave. While it loads, there is no file whose end it could wait for."""
    return "before training starts" if is_loading and how is Stopping.AFTER_FILE else str(how)


@dataclass(frozen=True, kw_only=True)
class Situation:
    """Everything a decision depends on."""

    worker: WorkerState
    paused: bool
    stopping: Stopping | None
    next_job: str | None
    """Id of the job that is to be trained next; one already started comes first."""
    upcoming_job: str | None
    """Id of the waiting job that will probably be next."""
    upcoming_priority: Priority | None
    preempt: bool
    """A more urgent job takes over from the one in training."""
    drain: bool
    """Leave when everything is trained."""
    is_obstructed: bool
    """Something outside keeps files from being started, such as a full disk."""
    act: str | None
    """What is to be done to the model while no worker runs, in words; None if nothing is."""
    is_quiet: bool
    """No file is settling, being checked or waiting for its checkpoint."""


# ---- decisions


@dataclass(frozen=True)
class StartWorker:
    pass


@dataclass(frozen=True)
class GiveJob:
    job_id: str


@dataclass(frozen=True)
class Preempt:
    """Let the job in training wait for a more urgent one."""

    job_id: str


@dataclass(frozen=True)
class PrepareNext:
    job_id: str


@dataclass(frozen=True)
class SayQueueIsEmpty:
    pass


@dataclass(frozen=True)
class DismissWorker:
    reason: str


@dataclass(frozen=True)
class ActOnModel:
    """Do to the model what needs no worker; until it is done, none is started."""


@dataclass(frozen=True)
class Leave:
    """End the daemon."""


@dataclass(frozen=True)
class Wait:
    until: float | None = None
    """Monotonic seconds; None until something happens."""


Decision = (
    StartWorker
    | GiveJob
    | Preempt
    | PrepareNext
    | SayQueueIsEmpty
    | DismissWorker
    | ActOnModel
    | Leave
    | Wait
)


def next_decision(situation: Situation, *, now: float) -> Decision:
    """Choose the one thing to do at `now` (monotonic seconds)."""
    match situation.worker:
        case Absent(not_before):
            return _without_worker(situation, not_before, now)
        case Loading() | Ready() | Busy() if situation.act:
            return DismissWorker(situation.act)
        case Ready() as ready:
            return _with_idle_worker(situation, ready)
        case Busy() as busy:
            return _with_busy_worker(situation, busy)
        case Loading() if situation.stopping:
            return DismissWorker(f"asked to stop {stopping_words(situation.stopping, is_loading=True)}")
        case Loading() | ShuttingDown():
            return Wait()


def _without_worker(situation: Situation, not_before: float, now: float) -> Decision:
    if situation.act:
        return ActOnModel()
    if situation.stopping or (situation.drain and _is_drained(situation)):
        return Leave()
    if situation.paused or situation.is_obstructed or situation.next_job is None:
        return Wait()
    return StartWorker() if now >= not_before else Wait(not_before)


def _with_idle_worker(situation: Situation, ready: Ready) -> Decision:
    if situation.stopping:
        return DismissWorker(f"asked to stop {situation.stopping}")
    if ready.must_restart:
        return DismissWorker("the settings of the model have changed")
    if situation.next_job and not situation.paused and not situation.is_obstructed:
        return GiveJob(situation.next_job)
    if situation.next_job is None and not ready.knows_queue_is_empty:
        return SayQueueIsEmpty()
    if situation.drain and _is_drained(situation):
        return DismissWorker("everything is trained")
    return Wait()


def _with_busy_worker(situation: Situation, busy: Busy) -> Decision:
    # A file that is held by a pause would never come to its end
    if situation.stopping is Stopping.NOW or (situation.stopping and situation.paused):
        return DismissWorker(f"asked to stop {situation.stopping}")
    if not busy.is_being_preempted and _is_overtaken(situation, busy):
        return Preempt(busy.job_id)
    upcoming = situation.upcoming_job
    if upcoming and upcoming != busy.prepared_job and not situation.stopping:
        return PrepareNext(upcoming)
    return Wait()


def _is_overtaken(situation: Situation, busy: Busy) -> bool:
    if not situation.preempt or situation.paused or situation.stopping:
        return False
    upcoming = situation.upcoming_priority
    return upcoming is not None and upcoming.rank < busy.priority.rank


def _is_drained(situation: Situation) -> bool:
    return situation.next_job is None and situation.is_quiet
