"""Read the queue for people and programs: the folders say what is there, the ledger what is known of it."""

import os
import sqlite3
from pathlib import Path
from typing import NamedTuple

from daemon.folder import is_users_file
from trainer.protocol.job import Outcome, Priority
from trainer.protocol.layout import Layout
from trainer.protocol.text import printable


class QueuedFile(NamedTuple):
    """A file in the queue."""  # a tuple, because there may be a hundred thousand of them

    name: str
    """Printable."""
    state: str
    """processing, waiting, or checking while it is not known yet whether it can be trained."""
    priority: str | None
    rows: int | None
    job: str | None
    """Job id; sorts by arrival."""


def queued_files(layout: Layout) -> list[QueuedFile]:
    """Return the files in the queue, in the order in which they will be trained."""
    known = _known_jobs(layout.ledger_file)
    files = [_describe(name, "processing", None, known) for name in _names(layout.processing)]
    for priority in Priority:
        waiting = [
            _describe(name, "waiting", priority.value, known) for name in _names(layout.waiting(priority))
        ]
        files += sorted(waiting, key=lambda file: (file.job is None, file.job or ""))
    return files


def finished_files(layout: Layout, outcome: Outcome) -> list[str]:
    """Return the names in the folder of an outcome, as the file system has them, sorted."""
    return sorted(_names(layout.finished(outcome)))


def find_file(folders: list[Path], name: str) -> Path | None:
    """Return the file that a person means by `name`: as `list` shows it, or as it is."""
    for folder in folders:
        for found in _names(folder):
            if name in (found, printable(found)):
                return folder / found
    return None


def _describe(name: str, state: str, priority: str | None, known: dict[bytes, sqlite3.Row]) -> QueuedFile:
    row = known.get(os.fsencode(name))
    if row is None:
        return QueuedFile(printable(name), "checking" if state == "waiting" else state, priority, None, None)
    return QueuedFile(row["display"], state, row["priority"], row["rows"], row["id"])


def _names(folder: Path) -> list[str]:
    return [name for name in os.listdir(folder) if is_users_file(name)]


def _known_jobs(ledger_file: Path) -> dict[bytes, sqlite3.Row]:
    if not ledger_file.exists():
        return {}
    database = sqlite3.connect(f"{ledger_file.absolute().as_uri()}?mode=ro", uri=True, timeout=5)
    try:
        database.row_factory = sqlite3.Row
        rows = database.execute(
            "SELECT name, display, priority, rows, id FROM jobs WHERE state IN ('waiting', 'processing')"
        )
        return {row["name"]: row for row in rows}
    finally:
        database.close()
