"""The names of files that a shell offers to complete. Quick: lists folders, and loads nothing else."""

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from daemon.files.notes import is_users_file
from trainer.protocol.layout import Layout
from trainer.protocol.places import Outcome, Priority

# What every shell takes as one word, as it is: some of them evaluate what they are offered
PLAIN_NAME = re.compile(r"\w[\w.,+-]*")


def waiting_names(layout: Layout, typed: str) -> list[str]:
    """Return how the waiting files can be named, as far as that begins with what was typed.

    The folder stands in front if it was typed. Names with spaces, quotes or other characters that mean
    something to a shell are left out; a person can type them.
    """
    return _offered([*map(layout.waiting, Priority)], typed)


def retryable_names(layout: Layout, typed: str) -> list[str]:
    """Return how the files that failed or were skipped can be named, also those in the trash, likewise."""
    return _offered([*_ended(layout), *_folders_in(layout.trash)], typed)


def ended_names(layout: Layout, typed: str) -> list[str]:
    """Return how the files that failed or were skipped can be named, likewise."""
    return _offered(_ended(layout), typed)


def all_names(layout: Layout, typed: str) -> list[str]:
    """Return how all files of the queue can be named, likewise."""
    queued = [*map(layout.waiting, Priority), layout.processing]
    return _offered([*queued, *map(layout.finished, Outcome), *_folders_in(layout.trash)], typed)


def _ended(layout: Layout) -> list[Path]:
    return [layout.finished(outcome) for outcome in (Outcome.FAILED, Outcome.SKIPPED)]


def _offered(folders: Sequence[Path], typed: str) -> list[str]:
    _, slash, beginning = typed.rpartition("/")
    return sorted(
        {
            word
            for folder in folders
            for name in _names_in(folder, beginning)
            if PLAIN_NAME.fullmatch(name)
            and (word := f"{folder.name}/{name}" if slash else name).startswith(typed)
        }
    )


def _names_in(folder: Path, beginning: str) -> list[str]:
    with suppress(OSError):
        # The beginning first: of a hundred thousand names few are left to be judged
        return [name for name in os.listdir(folder) if name.startswith(beginning) and is_users_file(name)]
    return []


def _folders_in(trash: Path) -> list[Path]:
    with suppress(OSError):
        return [path for path in trash.iterdir() if path.is_dir()]
    return []
