"""Events of the worker: starts, checkpoints, and every way in which it ends."""

import logging
from dataclasses import dataclass

from daemon.journal.events.base import FileEvent, JournalEvent


@dataclass(frozen=True, kw_only=True)
class WorkerStarted(JournalEvent):
    """A worker process was started; it loads the model."""

    kind = "worker_started"
    pid: int

    @property
    def message(self) -> str:
        return f"worker {self.pid} started"


@dataclass(frozen=True, kw_only=True)
class ModelLoaded(JournalEvent):
    """A worker has loaded the model."""

    kind = "worker_ready"
    model_name: str
    global_step: int

    @property
    def message(self) -> str:
        return f"worker is ready: {self.model_name} at step {self.global_step}"


@dataclass(frozen=True, kw_only=True)
class WorkerNotice(JournalEvent):
    """The worker reports something that a person should know."""

    kind = "notice"
    level = logging.WARNING
    key: str
    """Of the alert."""
    text: str

    @property
    def message(self) -> str:
        return self.text

    @property
    def alert(self) -> tuple[str, str]:
        return (self.key, self.message)


@dataclass(frozen=True, kw_only=True)
class CheckpointSaved(JournalEvent):
    """A checkpoint was published."""

    kind = "checkpoint"
    path: str
    global_step: int
    seconds: float

    @property
    def message(self) -> str:
        return f"saved {self.path} in {self.seconds:.2f} s"


@dataclass(frozen=True, kw_only=True)
class WorkerHung(JournalEvent):
    """A worker makes no progress any more. It is asked to save and leave, then killed."""

    kind = "worker_hung"
    level = logging.ERROR
    problem: str

    @property
    def message(self) -> str:
        return f"the worker hangs: {self.problem}; it is stopped"


@dataclass(frozen=True, kw_only=True)
class WorkerRecovered(JournalEvent):
    """The worker trains again after a crash."""

    kind = "worker_recovered"

    @property
    def message(self) -> str:
        return "the worker trains again"

    @property
    def ends_error(self) -> bool:
        return True

    @property
    def cleared_alerts(self) -> tuple[str, ...]:
        return ("worker",)


@dataclass(frozen=True, kw_only=True)
class WorkerLeft(FileEvent):
    """A worker exited normally, and says why."""

    kind = "worker_left"
    reason: str

    @property
    def message(self) -> str:
        return f"the worker has exited: {self.reason}"


@dataclass(frozen=True, kw_only=True)
class WorkerFailed(WorkerLeft):
    """A worker ended because something outside is wrong; the event `blocked` says what."""

    kind = "worker_failed"

    @property
    def message(self) -> str:
        return self.reason


@dataclass(frozen=True, kw_only=True)
class WorkerCrashed(WorkerLeft):
    """A worker ended unexpectedly. Another one is started."""

    kind = "worker_crashed"
    level = logging.ERROR
    fault: str
    """Its class, such as `crash`, `hang` or `out_of_memory`."""
    restart_in_s: float

    @property
    def message(self) -> str:
        wait = f"{self.restart_in_s:.0f} s" if self.restart_in_s else ""
        if self.file is not None:
            return f"{self.reason}; starting again{wait and f' in {wait}'}"
        earliest = wait and f", in {wait} at the earliest"
        return f"{self.reason}; another one starts once there is something to train{earliest}"

    @property
    def alert(self) -> tuple[str, str]:
        return ("worker", self.reason)

    @property
    def error(self) -> tuple[str, str]:
        return ("WorkerCrash", self.reason)


@dataclass(frozen=True, kw_only=True)
class WorkerNotFinite(WorkerCrashed):
    """A worker gave up on steps that were not finite. Another one is started at once."""

    kind = "worker_not_finite"

    @property
    def alert(self) -> None:  # type: ignore[override]
        return None  # the steps that are left out have one

    @property
    def error(self) -> tuple[str, str]:
        return ("NotFinite", self.reason)
