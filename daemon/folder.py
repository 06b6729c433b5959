"""A folder's names, read again only when the folder has changed."""

import os
import time
from pathlib import Path

from trainer.protocol.text import printable

REASON_SUFFIX = ".reason.json"
REJECTED_SUFFIX = ".rejected.jsonl"
NOTE_NAME_BYTES = 200  # of the file's name in the name of a note; a file name has 255 at most
# Two changes within one tick of the file system's clock leave the same time stamp
TICK_NS = 100_000_000


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


def note_beside(path: Path, suffix: str) -> Path:
    """Return the path of a note of ours about a file: the file's name made printable, cut to what fits."""
    shown = printable(path.name).encode()[:NOTE_NAME_BYTES].decode("utf-8", "ignore")
    return path.with_name(shown + suffix)


def is_users_file(name: str) -> bool:
    """Whether a name in a folder of finished files is a user's, not a note of ours beside one."""
    return not name.startswith(".") and not name.endswith((REASON_SUFFIX, REJECTED_SUFFIX))
