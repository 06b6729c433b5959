"""What a session needs from others: where its commands come from, and the engine that holds the model."""

from pathlib import Path
from typing import Protocol

from trainer.config.schema import CheckpointSettings, Settings
from trainer.data.rendering.render import Tokenizer
from trainer.evaluation.scheduling import ModelEvaluator
from trainer.protocol.manifest import Progress
from trainer.protocol.messages import Command
from trainer.session.batch_size_store import BatchSizeStore
from trainer.session.gate_state import GateState
from trainer.session.saver import PendingSave


class CommandSource(Protocol):
    """Where a session's commands come from."""

    def get(self, timeout_s: float | None) -> Command | None:
        """Return the next command, waiting up to `timeout_s` (None: for ever); None when none came."""
        ...


class SessionEngine(Protocol):
    """What a session needs of the engine."""

    progress: Progress

    @property
    def tokenizer(self) -> Tokenizer:
        """Renders the rows of a job."""
        ...

    @property
    def batch_sizes(self) -> BatchSizeStore:
        """Says how many tokens go through the model at once, where the settings leave it open."""
        ...

    def use(self, settings: Settings) -> None:
        """Apply a job's settings."""
        ...

    def save(self, settings: CheckpointSettings) -> PendingSave:
        """Start to publish a checkpoint of weights, optimizer and progress."""
        ...

    def tidy_up(self, settings: CheckpointSettings) -> None:
        """Remove the checkpoints that are no longer to be kept."""
        ...

    def refuse_broken(self) -> None:
        """Raise BrokenModel if a weight or the optimizer is not finite."""
        ...

    @property
    def evaluator(self) -> ModelEvaluator:
        """Measures the model."""
        ...

    gate_state: GateState

    @property
    def newest_checkpoint(self) -> Path | None:
        """The newest one; None before the first."""
        ...

    @property
    def suspects(self) -> frozenset[str]:
        """Ids of jobs that were taken back with others, and are judged alone when they come again."""
        ...
