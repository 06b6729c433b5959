"""What is in the inbox, and which priority a file gets from its place there."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from daemon.files.names import is_temporary, is_training_file
from trainer.protocol.places import Priority


def find_files(
    folder: Path, *, on_unreadable: Callable[[Path], None] = lambda folder: None
) -> Iterator[Path]:
    """Yield everything below the inbox that may be meant, one by one, without following links.

    Args:
        on_unreadable: called with folders that cannot be read.
    """
    try:
        entries = os.scandir(folder)
    except OSError:
        on_unreadable(folder)
        return
    with entries:
        for entry in entries:
            if is_temporary(entry.name):
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from find_files(Path(entry.path), on_unreadable=on_unreadable)
            else:
                yield Path(entry.path)


def count_dropped(inbox: Path) -> int:
    """Return how many files in the inbox have not been accepted yet."""
    return sum(is_training_file(path.name) for path in find_files(inbox))


def priority_of(path: Path, inbox: Path) -> Priority:
    """Return the priority that a file's place in the inbox gives it."""
    first, *rest = path.relative_to(inbox).parts
    return Priority(first) if rest and first in list(Priority) else Priority.NORMAL


def folder_without_priority(path: Path, inbox: Path) -> str | None:
    """Return the name of the folder in the inbox that a file lies in, if it sets no priority."""
    first, *rest = path.relative_to(inbox).parts
    return first if rest and first not in list(Priority) else None
