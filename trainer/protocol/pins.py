"""What keeps a checkpoint forever: an empty file `NAME.pin` beside it, also made by a plain `touch`."""

import os
from pathlib import Path

from trainer.protocol.files import sync_directory

PIN_SUFFIX = ".pin"


def pin_file(checkpoint: Path) -> Path:
    """Return the file that keeps a checkpoint for ever."""
    return checkpoint.with_name(checkpoint.name + PIN_SUFFIX)


def is_pinned(checkpoint: Path) -> bool:
    """Whether somebody wants to keep a checkpoint for ever."""
    return pin_file(checkpoint).exists()


def pin(checkpoint: Path) -> bool:
    """Keep a checkpoint for ever; return whether it was not kept already."""
    try:
        os.close(os.open(pin_file(checkpoint), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        return False
    sync_directory(checkpoint.parent)
    return True


def unpin(checkpoint: Path) -> bool:
    """Leave a checkpoint, which may be gone, to the rules of retention; return whether it was pinned."""
    file = pin_file(checkpoint)
    if not os.path.lexists(file):
        return False
    file.unlink()
    sync_directory(checkpoint.parent)
    return True
