"""A folder's names, read again only when the folder has changed."""

import os
import time
from pathlib import Path

from daemon.files.notes import is_users_file

# Two changes within one tick of the file system's clock leave the same time stamp
TICK_NS = 100_000_000


def count_files(folder: Path) -> int:
    """Return how many files of users lie in a folder of the queue, which somebody may have removed."""
    try:
        return sum(map(is_users_file, os.listdir(folder)))
    except FileNotFoundError:
        return 0


class Folder:
    """Remembers when it last read the names in `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen_mtime_ns: int | None = None
        self._count = 0

    def names_if_changed(self) -> set[str] | None:
        """Return all names if the folder may have changed since the last call, else None."""
        changed_at = os.stat(self.path).st_mtime_ns
        if changed_at == self._seen_mtime_ns:
            return None
        names = set(os.listdir(self.path))
        self._seen_mtime_ns = changed_at if time.time_ns() - changed_at > TICK_NS else None
        return names

    def forget(self) -> None:
        """Read the names again at the next call, whatever the time stamp says."""
        self._seen_mtime_ns = None

    def count_files(self) -> int:
        """Return how many files of users lie there; notes of ours beside them do not count."""
        names = self.names_if_changed()
        if names is not None:
            self._count = sum(is_users_file(name) for name in names)
        return self._count
