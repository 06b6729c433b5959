"""Check whether files can be trained here at all: folders, permissions, space. Changes nothing on disk."""

import os
from collections.abc import Callable
from pathlib import Path

from trainer.protocol.layout import Layout

LOOK_INTERVAL_S = 1.0
MIB = 1024 * 1024


class Obstacles:
    """What stands in the way, checked no more than once a second unless the settings change.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, layout: Layout, *, clock: Callable[[], float]) -> None:
        self._layout = layout
        self._clock = clock
        self._looked_at = float("-inf")
        self._looked_for_bytes = -1
        self._advice = ""
        self._found: str | None = None

    def obstacle(self, min_free_bytes: int, *, advice: str = "") -> str | None:
        """Return why no file can be started now; None if nothing is in the way.

        Args:
            advice: what to add where too little space is free.
        """
        now = self._clock()
        is_same = (min_free_bytes, advice) == (self._looked_for_bytes, self._advice)
        if now - self._looked_at >= LOOK_INTERVAL_S or not is_same:
            self._looked_at, self._looked_for_bytes, self._advice = now, min_free_bytes, advice
            self._found = obstacle(self._layout, min_free_bytes, advice=advice)
        return self._found


def obstacle(layout: Layout, min_free_bytes: int, *, advice: str = "") -> str | None:
    """Return the first thing that keeps a file from being trained to its end; None if there is none."""
    needed = [layout.models, layout.status, *_folders_of_queue(layout), layout.logs]
    found = (_unusable(folder) or _full(folder, min_free_bytes, advice) for folder in needed)
    return next((sentence for sentence in found if sentence), None)


def _folders_of_queue(layout: Layout) -> list[Path]:
    return [folder for folder in layout.folders() if folder.is_relative_to(layout.queue)]


def _unusable(folder: Path) -> str | None:
    if not folder.is_dir():
        return f"{folder}: is missing; expected a folder; create it, or mount its file system"
    if os.statvfs(folder).f_flag & os.ST_RDONLY:
        return f"{folder}: the file system is mounted read-only; expected to write to it; mount it read-write"
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        mode, user = folder.stat().st_mode & 0o7777, os.geteuid()
        return (
            f"{folder}: has mode {mode:04o}; expected user {user} to have read and write access; "
            "change the mode or the owner"
        )
    return None


def _full(folder: Path, min_free_bytes: int, advice: str) -> str | None:
    disk = os.statvfs(folder)
    free_bytes = disk.f_bavail * disk.f_frsize
    if free_bytes >= min_free_bytes:
        return None
    return (
        f"{folder}: {free_bytes / MIB:.0f} MiB of disk space are free; expected at least "
        f"{min_free_bytes / MIB:.0f} MiB (daemon.min_free_bytes); free some space{advice}"
    )
