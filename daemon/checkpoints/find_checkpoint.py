"""The checkpoint that a person means, to be pinned or unpinned."""

from pathlib import Path

from daemon.checkpoints.review import current_name, list_checkpoints
from trainer.protocol import pins
from trainer.protocol.checkpoints import FOLDER
from trainer.protocol.pins import PIN_SUFFIX
from trainer.protocol.text import printable

CURRENT = "current"


class NoSuchCheckpoint(ValueError):
    """There is no checkpoint of that name."""


def find_checkpoint(models: Path, name: str) -> Path:
    """Return the checkpoint that a person means.

    Args:
        name: of its folder, or `current`.
    Raises:
        NoSuchCheckpoint: there is none.
    """
    known = [path.name for path in list_checkpoints(models)]
    wanted = current_name(models) if name == CURRENT else name
    if wanted in known:
        return models / FOLDER / wanted
    if not known:
        place = printable(str(models / FOLDER))
        raise NoSuchCheckpoint(f"{place} has no checkpoint yet; the first file that is trained brings one")
    there = ", ".join(map(printable, known))
    raise NoSuchCheckpoint(f"no checkpoint is named {printable(name)}; there are: {there}")


def unpin(models: Path, name: str) -> tuple[str, bool]:
    """Leave a checkpoint to the rules of retention.

    Args:
        name: of its folder, or `current`.
    Returns:
        The name of its folder, and whether it was pinned.
    Raises:
        NoSuchCheckpoint: neither a checkpoint nor a pin has this name.
    """
    pinned = {path.name for path in (models / FOLDER).glob(f"*{PIN_SUFFIX}")}
    has_pin = name + PIN_SUFFIX in pinned
    checkpoint = models / FOLDER / name if has_pin else find_checkpoint(models, name)
    return checkpoint.name, pins.unpin(checkpoint)
