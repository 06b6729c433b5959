"""What the gate has found: whether the model is worse than before some files. Goes from worker to daemon."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from trainer.protocol.manifest import WhichWeights

STATE_FILE = "gate.json"
"""In a checkpoint: what the gate remembers between steps."""
GateOutcome = Literal["passed", "refused", "admitted", "unjudged"]
"""admitted: it would have been refused, but somebody wants the file. unjudged: nothing could be compared."""


class FrozenModel(BaseModel):
    model_config = ConfigDict(frozen=True)


class LossComparison(FrozenModel):
    """The losses of the same rows at two steps."""

    against: Literal["before", "best"]
    """before: the state before the files. best: the best one of the last comparisons."""
    global_step: int
    """Of the state that it is compared with."""
    rows: int
    loss_before: float
    """Mean over the rows of the mean over the tokens of each."""
    loss_after: float
    t: float
    """Of a paired t-test; positive where the loss has risen."""
    weights: WhichWeights | None = None
    """Whose loss it is where both are judged; else null."""

    @property
    def increase(self) -> float:
        """How much the loss has risen: 0.15 for 15 %."""
        return self.loss_after / self.loss_before - 1 if self.loss_before else 0.0


class SuiteComparison(FrozenModel):
    """The answers to the same questions before and after."""

    suite: str
    rows: int
    right_before: int
    right_after: int
    lost: int
    """Questions that were answered before, and are not any more."""
    gained: int
    p: float
    """Of McNemar's exact test, two-sided."""
    weights: WhichWeights | None = None
    """Whose answers they are where both are judged; else null."""

    @property
    def drop(self) -> float:
        """In points: percent of the questions."""
        return 100 * (self.right_before - self.right_after) / self.rows


class JudgedFile(FrozenModel):
    """A file whose steps were judged."""

    job_id: str
    name: str
    """Printable."""


class GateVerdict(FrozenModel):
    """What came of one comparison."""

    outcome: GateOutcome
    reason: str
    """In words, with the numbers; printable."""
    from_step: int
    """The global step before the files."""
    global_step: int
    """The one after them."""
    checkpoint: str
    """The name of the checkpoint from before the files."""
    files: tuple[JudgedFile, ...]
    losses: tuple[LossComparison, ...] = ()
    suites: tuple[SuiteComparison, ...] = ()
    seconds: float = 0.0
    """What measuring took after the files."""
