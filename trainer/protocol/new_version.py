"""What is said to the process that makes a version of a checkpoint, and what it answers."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from trainer.protocol.one_shot import OneShotOrder

MODULE = "daemon.mains.make_version"


class NewVersionOrder(OneShotOrder):
    """Make a version of a checkpoint, unless it has one."""

    base_dir: Path
    checkpoint: str | None = None
    """Name of its folder; None for the last one from before a time."""
    written_before: str | None = None
    """That time; UTC, ISO 8601."""
    policy: Literal["file", "day", "gate", "hand"]
    """hand: somebody asks for it, so every file is compared with its hash."""
    note: str | None = None


class NewVersion(BaseModel):
    """The version of that checkpoint."""

    model_config = ConfigDict(frozen=True)

    id: str
    made_by: str
    """Not the policy of the order if it was there before."""
    global_step: int
