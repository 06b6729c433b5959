"""What a session needs of others: where its commands come from, and who learns."""

from typing import Protocol

from trainer.config.schema import CheckpointSettings, Settings
from trainer.data.rendering.render import Tokenizer
from trainer.evaluation.scheduling import Measuring
from trainer.protocol.manifest import Progress
from trainer.protocol.messages import Command
from trainer.session.batch_size_store import Budget
from trainer.session.saver import PendingSave


class CommandSource(Protocol):
    """Where a session's commands come from."""

    def get(self, timeout_s: float | None) -> Command | None:
        """Return the next command, waiting up to `timeout_s` (None: for ever); None when none came."""
        ...


class Learner(Protocol):
    """What a session needs of the engine."""

    progress: Progress

    @property
    def tokenizer(self) -> Tokenizer:
        """Renders the rows of a job."""
        ...

    @property
    def budget(self) -> Budget:
        """Knows how many tokens go through the model at once, where the settings leave it open."""
        ...

    def use(self, settings: Settings) -> None:
        """Apply a job's settings."""
        ...

    def save(self, settings: CheckpointSettings) -> PendingSave:
        """Begin to publish a checkpoint of weights, optimizer and progress."""
        ...

    def refuse_broken(self) -> None:
        """Raise BrokenModel if something learned is not a finite number."""
        ...

    @property
    def evaluator(self) -> Measuring:
        """Measures what was learned."""
        ...
