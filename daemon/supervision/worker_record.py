"""What the daemon knows about its one worker. Facts only: orders, reports and exits change them."""

from dataclasses import dataclass, field

from daemon.supervision.worker_state import Absent, Busy, WorkerState
from trainer.config.schema import Settings
from trainer.protocol.gate import GateVerdict
from trainer.protocol.job import Job
from trainer.protocol.messages import StepReport


@dataclass
class Progress:
    """How far training has come, as the worker last reported it."""

    global_step: int | None = None
    file_step: int | None = None
    loss: float | None = None

    def note(self, step: StepReport) -> None:
        """Take over the numbers of the newest step."""
        self.global_step, self.file_step, self.loss = step.global_step, step.file_step, step.loss


@dataclass
class WorkerRecord:
    """The present worker, or the absence of one."""

    settings: Settings = field(default_factory=Settings)
    """Those it was started with."""
    state: WorkerState = field(default_factory=Absent)
    is_holding: bool = False
    """It has stopped between two steps because of a pause."""
    blocked: str | None = None
    """Why nothing can be trained at the moment."""
    has_been_blocked: bool = False
    """Since a worker last began or ended a file, training was blocked."""
    loading_detail: str | None = None
    """How far it is with loading."""
    jobs: dict[str, Job] = field(default_factory=dict)
    """Given to it, and not yet ended."""
    cursors: set[str] = field(default_factory=set)
    """Ids of jobs not in its hands that it knows to be trained in part."""
    failures: int = 0
    """Crashes in a row."""
    has_crashed: bool = False
    """A worker crashed, perhaps one of an earlier daemon, and none has trained since."""
    is_loss_finite: bool = True
    """At the last steps that were reported."""
    lost_steps: int = 0
    """That were forgotten since a worker last loaded the model."""
    started_at_step: int = 0
    """Of the model's life, when the present job was started or continued."""
    progress: Progress = field(default_factory=Progress)
    refused: GateVerdict | None = None
    """What the gate has found, if it refuses files; the worker waits to be told to leave."""

    @property
    def is_training(self) -> bool:
        """A job is in its hands and not held."""
        return isinstance(self.state, Busy) and not self.is_holding

    def forget(self) -> None:
        """Drop what was true of a worker that is gone."""
        self.jobs.clear()
        self.cursors.clear()
        self.is_holding = False
        self.blocked = None
        self.loading_detail = None
        self.progress.file_step = None
        self.refused = None
