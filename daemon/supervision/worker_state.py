"""What the worker is doing, as far as the daemon knows. Each state has only its own facts."""

from dataclasses import dataclass

from trainer.protocol.places import Priority


@dataclass(frozen=True)
class Absent:
    """There is no worker."""

    not_before: float = 0.0
    """Monotonic seconds; in the future while a restart backs off or the daemon is blocked."""


@dataclass(frozen=True)
class Loading:
    """The worker is getting its model ready."""


@dataclass(frozen=True)
class Ready:
    """The worker has its model and no job."""

    must_restart: bool = False
    """It was started with settings that only a new worker can change."""
    knows_queue_is_empty: bool = False


@dataclass(frozen=True)
class Busy:
    """The worker has a job."""

    job_id: str
    priority: Priority
    prepared_job: str | None = None
    """The job it was asked to prepare."""
    is_being_preempted: bool = False
    """It was asked to let this job wait, and has not answered yet."""


@dataclass(frozen=True)
class ShuttingDown:
    """The worker was asked to save and leave."""

    job_id: str | None = None
    """The job it had, which continues at the next start."""
    was_loading: bool = False
    """It was asked while it loaded its model, and hears of it once that is done."""


WorkerState = Absent | Loading | Ready | Busy | ShuttingDown
