"""The averaged weights beside those that are trained: whether they are kept, and how good they are."""

from dataclasses import dataclass
from typing import Literal

from trainer.config.schema import TrainingSettings
from trainer.protocol.checkpoints import POINTER, DamagedCheckpoint, NoUsableCheckpoint, read_manifest
from trainer.protocol.layout import Layout
from trainer.protocol.manifest import Progress, WhichWeights

AVERAGE = "current_average"


@dataclass(frozen=True, kw_only=True)
class AverageKept:
    """The averaged weights of the newest checkpoint, or that there are none."""

    setting: Literal["none", "ema", "window"]
    """`training.average`."""
    steps: int
    """`training.average_steps`."""
    preferred: WhichWeights
    """`training.preferred_weights`: whose losses, scores and answers are shown."""
    is_kept: bool
    place: str
    """Where they are, relative to the working directory."""
    validated_step: int | None
    """The step at which the losses were measured; None if they were not."""
    loss_of_average: float | None
    """None if it was not measured, like the other one."""
    loss_of_last: float | None


def average_of(layout: Layout, settings: TrainingSettings) -> AverageKept:
    """Return what the newest checkpoint has of averaged weights."""
    try:
        progress = read_manifest((layout.models / POINTER).resolve(strict=True)).progress
    except (OSError, DamagedCheckpoint, NoUsableCheckpoint):
        progress = Progress()
    of_average, of_last = progress.validation_other_loss, progress.validation_loss
    if progress.validation_weights == "average":
        of_average, of_last = of_last, of_average
    return AverageKept(
        setting=settings.average,
        steps=settings.average_steps,
        preferred=settings.preferred_weights,
        is_kept=(layout.models / AVERAGE).exists(),
        place=f"models/{AVERAGE}",
        validated_step=progress.validated_step,
        loss_of_average=of_average,
        loss_of_last=of_last,
    )
