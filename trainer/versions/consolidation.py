"""The order to merge the adapter into its base model, and its answer."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from trainer.protocol.manifest import Consolidation, Manifest
from trainer.protocol.one_shot import OneShotOrder
from trainer.versions.record import SuiteScore, TrainedFile, VersionRecord

MODULE = "trainer.mains.consolidate"


class ConsolidateOrder(OneShotOrder):
    """Merge the adapter of the newest checkpoint, which is kept as a version first."""

    base_dir: Path
    """The working directory; absolute."""
    checkpoint: str
    """Name of the newest one, which the following is about."""
    settings: dict[str, Any]
    """In force."""
    trained: tuple[TrainedFile, ...]
    """Since the version before it."""
    suites: tuple[SuiteScore, ...]

    def trained_since(self, parent: VersionRecord | None) -> tuple[TrainedFile, ...]:
        """Return what was trained after a version, which somebody may have made since the order was given."""
        after = parent.global_step if parent else 0
        return tuple(
            file.model_copy(update={"first_step": max(file.first_step, after + 1)})
            for file in self.trained
            if file.last_step > after
        )


class Consolidated(BaseModel):
    """Training continues beside a new base model."""

    model_config = ConfigDict(frozen=True)

    checkpoint: str
    """Name of the new one."""
    consolidation: Consolidation
    rows: int
    """Of which the logits were compared."""
    answers: int
    """Generated before and after, and the same."""
    loss_before: float | None
    """With `loss_after`, only of QLoRA: the mean over rows of the validation file, with the adapter."""
    loss_after: float | None
    """As training continues: with the new base model in 4 bits."""

    @property
    def text(self) -> str:
        """What was done, for people."""
        done = self.consolidation
        return (
            f"the adapter of step {done.global_step:,} was merged into models/{done.base}; logits of "
            f"{self.rows} rows differ by {done.max_difference:.1g} at most, and {self.answers} answers are "
            f"the same; the state before is {done.kept_as}"
        )


def why_nothing_to_merge(manifest: Manifest, method: str, *, step: int | None = None) -> str | None:
    """Say why the adapter of a checkpoint cannot be merged, if that is so.

    Args:
        method: as `training.method`.
        step: the global step of the model, where a worker is further than the checkpoint.
    """
    if "full" in (method, manifest.method):
        return (
            'training.method is "full": the weights themselves are trained, so there is no adapter to merge '
            "(a version of such a model is a whole model: training_models create)"
        )
    if manifest.merged_at == max(manifest.progress.global_step, step or 0):
        return (
            f"nothing was trained since the adapter was last merged, at step {manifest.merged_at:,}; "
            "train something first"
        )
    return None
