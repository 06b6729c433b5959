"""Finish the moves that a daemon was cut off in."""

import os
import stat
from pathlib import Path

from daemon.files.leftovers import is_abandoned
from daemon.journal.events import FileMoved
from daemon.journal.journal import Journal
from trainer.protocol.files import is_numbered_from
from trainer.protocol.job import Outcome, Priority
from trainer.protocol.layout import Layout


def finish_half_moves(layout: Layout, journal: Journal) -> None:
    """A crash inside a move leaves one file under two names: the later stage is the truth."""
    inboxes = [Path(folder) for folder, _, _ in os.walk(layout.inbox)]
    stages = [
        *(layout.finished(outcome) for outcome in Outcome),
        layout.processing,
        *(layout.waiting(priority) for priority in Priority),
        *inboxes,  # where every other name is somebody else's
    ]
    moved_on: dict[tuple[int, int], set[str]] = {}  # inode -> names in later stages
    for folder in stages:
        for path in list(folder.iterdir()):
            found = path.lstat()
            if stat.S_ISDIR(found.st_mode):
                continue
            if folder not in inboxes and is_abandoned(path.name, daemon_runs=False):
                path.unlink()
                continue
            if found.st_nlink < 2:
                continue
            later = moved_on.setdefault((found.st_dev, found.st_ino), set())
            # The name tells a half move from hard links that somebody made on purpose
            if any(is_numbered_from(name, path.name) for name in later):
                path.unlink()
                what = f"had already moved on from {folder.name}/"
                journal.record(FileMoved(file=path.name, what=what))
            later.add(path.name)
