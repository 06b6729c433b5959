"""Have a checkpoint written by a process of its own, so that training waits for a copy to memory only.

The process is `trainer.mains.write_checkpoint`. Nothing here loads torch.
"""

import shutil
from pathlib import Path

from pydantic import BaseModel

from trainer.checkpoints.publishing import STAGING, publish_folder, tidy_up
from trainer.checkpoints.retention import Retention
from trainer.protocol import one_shot
from trainer.protocol.manifest import Manifest

MODULE = "trainer.mains.write_checkpoint"


class WriteOrder(one_shot.OneShotOrder):
    """What is to be written."""

    models: Path
    source: Path
    """The folder with the files."""
    draft: Manifest
    rules: Retention
    verified: list[str]
    """Checkpoints that need not be verified again before older ones are removed."""


class Written(BaseModel):
    """A checkpoint that was published."""

    name: str
    notice: str | None
    """What a person should know."""


class Writer:
    """A process that writes one checkpoint."""

    def __init__(self, order: WriteOrder) -> None:
        self._process = one_shot.start(MODULE, order)

    def is_done(self) -> bool:
        """Whether the process has ended."""
        return self._process.poll() is not None

    def result(self) -> Written:
        """Wait for the checkpoint to be published.

        Raises:
            OSError: it could not be written.
        """
        said, _ = self._process.communicate()
        try:
            return one_shot.read_answer(self._process.returncode, said, Written)
        except one_shot.OrderRefused as refused:
            raise OSError(*filter(None, [refused.errno]), str(refused)) from refused
        except one_shot.NoAnswer as error:
            raise OSError(f"the process that writes the checkpoint {error}") from error


def write_checkpoint(order: WriteOrder) -> Written:
    """Publish a checkpoint, and remove those that the rules do not keep.

    Raises:
        OSError: it could not be written; nothing of it is left.
    """
    try:
        checkpoint = publish_folder(order.models, order.source, order.draft)
    except OSError:
        shutil.rmtree(order.models / STAGING, ignore_errors=True)
        raise
    notice = tidy_up(order.models, order.rules, {*order.verified, checkpoint.path.name})
    return Written(name=checkpoint.path.name, notice=notice)
