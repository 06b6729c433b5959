"""What the process is asked that lets the model go back, and what it answers."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from trainer.protocol.manifest import Branch, BranchReason, JobFate
from trainer.protocol.one_shot import OneShotOrder

MODULE = "trainer.mains.go_back"


class GoBackOrder(OneShotOrder):
    """Where the model is to go back to, and what becomes of the files that it leaves."""

    base_dir: Path
    """The working directory; absolute."""
    target: Path
    """A checkpoint, or a version with its optimizer's state."""
    why: BranchReason
    reason: str
    """For people; printable."""
    jobs: tuple[JobFate, ...]


class WentBack(BaseModel):
    """The model is there."""

    model_config = ConfigDict(frozen=True)

    checkpoint: str
    """Name of the new one."""
    branch: Branch
