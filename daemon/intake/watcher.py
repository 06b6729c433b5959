"""Hear from the operating system that something changed in a folder. Only a hint: a rescan is the truth.

Events are lost when many come at once, and on network file systems none come at all; nothing here
may depend on them.
"""

import os
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from watchdog.events import (
    EVENT_TYPE_CLOSED,
    EVENT_TYPE_CREATED,
    EVENT_TYPE_DELETED,
    EVENT_TYPE_MOVED,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver, ObservedWatch

from daemon.journal.events import WatcherFailed
from daemon.journal.journal import Journal

RELEVANT = (EVENT_TYPE_CREATED, EVENT_TYPE_MOVED, EVENT_TYPE_CLOSED, EVENT_TYPE_DELETED)
MANY = 10_000  # changes that are not worth telling apart: a rescan is cheaper


@dataclass(frozen=True)
class Change:
    """Something happened to a name."""

    path: Path
    renamed_in: bool
    """The name came by a rename, so the content was there before it."""


class Watcher:
    """Collects changes in folders and wakes the daemon's loop.

    Args:
        folders: folder -> whether its subfolders are watched too.
        journal: where it is recorded that nothing can be heard.
    """

    def __init__(self, folders: dict[Path, bool], journal: Journal, wake: Callable[[], None]) -> None:
        self._folders = folders
        self._journal = journal
        self._wake = wake
        self._changes: deque[Change] = deque(maxlen=MANY)
        self._watched: dict[Path, tuple[tuple[int, int], ObservedWatch]] = {}
        self._gone: set[Path] = set()  # removed since; a new folder may well get the same inode number
        self._observer: BaseObserver | None = None  # None: only the rescan finds files

    def start(self) -> None:
        """Start watching.

        Where that is impossible, it is recorded, and everything still works, only later.
        """
        try:
            self._observer = _observer()
            self._observer.start()
        except OSError as error:
            self._give_up(error)
            return
        self.check_folders()

    def check_folders(self) -> None:
        """Watch folders that were replaced or have come back since."""
        if self._observer is None:
            return
        for folder, is_recursive in self._folders.items():
            try:
                found = os.stat(folder)
                identity = (found.st_dev, found.st_ino)
                watched = self._watched.get(folder)
                if watched and watched[0] == identity and folder not in self._gone:
                    continue
                self._gone.discard(folder)
                if watched:
                    self._observer.unschedule(watched[1])
                watch = self._observer.schedule(
                    _Collector(folder, self._gone, self._changes, self._wake),
                    str(folder),
                    recursive=is_recursive,
                )
                self._watched[folder] = (identity, watch)
            except FileNotFoundError:
                continue
            except OSError as error:
                self._give_up(error)
                return

    def drain(self) -> list[Change] | None:
        """Return the changes since the last call; None when there were too many to tell."""
        if len(self._changes) == MANY:
            self._changes.clear()
            return None
        changes = []
        while self._changes:
            changes.append(self._changes.popleft())
        return changes

    def stop(self) -> None:
        """Stop watching."""
        if self._observer is not None:
            self._observer.stop()
            self._observer.join()
            self._observer = None

    def _give_up(self, error: OSError) -> None:
        self._journal.record(WatcherFailed(problem=str(error)))
        self.stop()


class _Collector(FileSystemEventHandler):
    def __init__(
        self, folder: Path, gone: set[Path], changes: deque[Change], wake: Callable[[], None]
    ) -> None:
        self._folder = folder
        self._gone = gone
        self._changes = changes
        self._wake = wake

    def on_any_event(self, event: FileSystemEvent) -> None:
        if event.event_type not in RELEVANT:
            return
        if event.event_type == EVENT_TYPE_DELETED and Path(os.fsdecode(event.src_path)) == self._folder:
            self._gone.add(self._folder)
        for path in (event.src_path, event.dest_path):
            if path:
                is_target = event.event_type == EVENT_TYPE_MOVED and path == event.dest_path
                self._changes.append(Change(Path(os.fsdecode(path)), renamed_in=is_target))
        self._wake()


def _observer() -> BaseObserver:
    if sys.platform == "linux":
        from watchdog.observers.inotify import InotifyObserver

        # Full events: they distinguish a file moved in from elsewhere from one that is being written in place
        return InotifyObserver(generate_full_events=True)
    return Observer()
