"""What removing files really frees: a file with another name frees nothing until the last name is gone."""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from trainer.disk.usage import BLOCK_BYTES

Identity = tuple[int, int]


@dataclass(frozen=True)
class LinkedFile:
    """One name of a file."""

    identity: Identity
    num_bytes: int
    """On disk."""
    names: int
    """How many it has, here and anywhere else."""


def linked_files(paths: Iterable[Path]) -> tuple[LinkedFile, ...]:
    """Return the files at or below some paths; what is gone is left out."""
    found = []
    for path in paths:
        inside = path.rglob("*") if path.is_dir() and not path.is_symlink() else [path]
        for file in inside:
            with suppress(FileNotFoundError):
                stat = file.lstat()
                if not file.is_dir():
                    identity = (stat.st_dev, stat.st_ino)
                    found.append(LinkedFile(identity, stat.st_blocks * BLOCK_BYTES, stat.st_nlink))
    return tuple(found)


@dataclass
class Links:
    """The names that are removed so far, in a plan.

    Args:
        device: of the file system on which space is wanted; files on another one free none there.
    """

    device: int
    _removed: Counter[Identity] = field(default_factory=Counter)

    def freed_by(self, groups: Sequence[Sequence[LinkedFile]]) -> list[int]:
        """Return what each group of names would free if they were removed in this order, after all others."""
        removed: Counter[Identity] = Counter()
        freed = []
        for files in groups:
            num_bytes = 0
            for file in files:
                removed[file.identity] += 1
                is_last = removed[file.identity] + self._removed[file.identity] == file.names
                if is_last and file.identity[0] == self.device:
                    num_bytes += file.num_bytes
            freed.append(num_bytes)
        return freed

    def remove(self, files: Iterable[LinkedFile]) -> None:
        """Take note that these names are removed."""
        self._removed.update(file.identity for file in files)


def device_of(path: Path) -> int:
    """Return the number of the file system that a path is on."""
    return os.stat(path).st_dev
