"""The order for a dry run, and its answer."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from trainer.protocol.job import EarlierFile
from trainer.protocol.messages import CheckpointRef
from trainer.protocol.one_shot import OneShotOrder


class DryRunOrder(OneShotOrder):
    """Say what training this file would be like."""

    base_dir: str
    file: str
    settings: dict[str, Any]
    daemon_runs: bool
    """Whether there may be a worker whose memory must not be taken away from it."""
    is_admitted: bool = False
    """Whether it would be trained despite what the check of its rows finds."""
    replayed: tuple[EarlierFile, ...] = ()
    """What `training.replay_fraction` would be drawn from; their ids are their names in the folder."""
    replay_folder: str = ""


class TrialSteps(BaseModel):
    """A few steps that were taken only to measure them, and discarded."""

    model_config = ConfigDict(frozen=True)

    steps: int
    tokens_per_s: float
    peak_bytes: int
    """Most memory in use while the step with the largest micro-batch was taken, optimizer included."""


class Planned(BaseModel):
    """What training the file would be like."""

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    kind: Literal["planned"] = "planned"
    file: str
    model_name: str
    method: str
    device: str
    checkpoint: CheckpointRef | None
    """What it would continue from; None for the base model."""
    rows: int
    rejected_rows: int
    first_rejections: tuple[str, ...]
    truncated_rows: int
    split_rows: int = 0
    dropped_rows: int = 0
    """Because they are longer than `data.max_length`."""
    rows_without_target: int
    tokens: int
    """For one epoch, like supervised_tokens."""
    supervised_tokens: int
    epochs: int
    steps: int
    """Of all epochs."""
    rows_per_step: int
    micro_batch_tokens: int | None
    """None if it is measured only when training starts; the same holds for the next two."""
    micro_batches_per_step: float | None
    padding_fraction: float | None
    first_learning_rate: float
    last_learning_rate: float
    trial_steps: Annotated[TrialSteps | None, Field(alias="rehearsal")]
    """None when a worker holds the GPU."""
    notices: tuple[str, ...] = ()
