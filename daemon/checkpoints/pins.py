"""Keep checkpoints for ever: an empty file `NAME.pin` beside one says so."""

import os
from pathlib import Path

from daemon.checkpoints.review import current_name, list_checkpoints, pin_file
from trainer.protocol.checkpoints import FOLDER, PIN_SUFFIX
from trainer.protocol.files import sync_directory
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
    there = ", ".join(map(printable, known)) or "none"
    raise NoSuchCheckpoint(f"no checkpoint is named {printable(name)}; there are: {there}")


def pin(path: Path) -> bool:
    """Keep a checkpoint for ever; return whether it was not kept already."""
    try:
        os.close(os.open(pin_file(path), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        return False
    sync_directory(path.parent)
    return True


def unpin(models: Path, name: str) -> bool:
    """Leave a checkpoint to the rules of retention; return whether it was pinned.

    Raises:
        NoSuchCheckpoint: neither a checkpoint nor a pin has this name.
    """
    pins = {path.name: path for path in (models / FOLDER).glob(f"*{PIN_SUFFIX}")}
    pinned = pins.get(name + PIN_SUFFIX) or pin_file(find_checkpoint(models, name))
    if not os.path.lexists(pinned):
        return False
    pinned.unlink()
    sync_directory(pinned.parent)
    return True
