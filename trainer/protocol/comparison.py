"""The order to compare two states of the model on the same rows and prompts, and its answer."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from trainer.protocol.one_shot import OneShotOrder

MODULE = "trainer.mains.compare"


class CompareOrder(OneShotOrder):
    """Which models are compared, and with what."""

    base_dir: Path
    """The working directory; absolute."""
    before: Path
    """A version or a checkpoint."""
    after: Path
    settings: dict[str, Any]
    """In force, with the rows and prompts that are wanted; what a model depends on comes from the model."""
    daemon_runs: bool
    """Whether there may be a worker, which must keep its GPU and most of the cores."""


class LossDifference(BaseModel):
    """The validation loss of two models on the same rows."""

    model_config = ConfigDict(frozen=True)

    rows: int
    """With something to predict for both."""
    left_out: int
    """Rows of which that is not so."""
    before: float
    """Mean over the supervised tokens of all rows."""
    after: float
    difference: float
    """Of the one after from the one before; less than 0 is better."""
    low: float | None
    """With `high`, a paired 95 % confidence interval of the difference; None with a single row."""
    high: float | None
    t: float | None
    """The difference in standard errors; None with a single row, or where all rows differ equally."""


class ComparedAnswer(BaseModel):
    """What two models answer to a prompt, each taking the likeliest token every time."""

    model_config = ConfigDict(frozen=True)

    prompt: str
    """As it was given: it may hold anything, as may the answers."""
    before: str
    after: str

    @property
    def is_same(self) -> bool:
        return self.before == self.after


class Compared(BaseModel):
    """How two models differ."""

    model_config = ConfigDict(frozen=True)

    device: str
    """What it was computed on, in fp32."""
    loss: LossDifference | None
    """None without a validation file."""
    answers: tuple[ComparedAnswer, ...]
    """In the order of the prompts."""
