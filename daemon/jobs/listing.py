"""List the queue's folders: they show what is there, the ledger what is known about it. Changes nothing."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from daemon.files.notes import REASON_SUFFIX, is_users_file, note_beside
from daemon.ledger.job_records import OpenJob, read_open_jobs
from trainer.protocol.files import UnreadableFile, read_json
from trainer.protocol.layout import Layout
from trainer.protocol.places import Outcome, Priority
from trainer.protocol.text import printable

CHECKING, UNCHECKED, PROCESSING, SAVING = "checking", "unchecked", "processing", "saving"


class QueuedFile(NamedTuple):
    """A file in the queue."""  # a tuple, because there may be a hundred thousand of them

    name: str
    """Printable."""
    state: str
    """processing, saving (trained, and waiting for its checkpoint), waiting, or checking while it is not
    known yet whether it can be trained; unchecked if no daemon runs that could check it."""
    priority: str | None
    rows: int | None
    job: str | None
    """Job id; sorts by arrival."""
    format: str | None = None
    """Of its rows; None while it is not known."""


class FinishedFile(NamedTuple):
    """A file in failed/ or skipped/, or in the trash."""

    name: str
    """Printable; in the trash with the folder in front."""
    state: str
    """failed or skipped."""
    reason: str | None
    """None if nothing is written beside it, as for a file that was moved there by hand."""


class _Place(NamedTuple):
    state: str
    """processing or waiting."""
    priority: str | None
    """None in processing/."""
    name: str


def queued_files(layout: Layout) -> list[QueuedFile]:
    """Return the files in the queue, in the order in which they will be trained.

    Raises:
        UnreadableLedger: the ledger cannot be read.
    """
    stages = [[_Place("processing", None, name) for name in _names(layout.processing)]]
    for priority in Priority:
        folder = layout.waiting(priority)
        stages.append([_Place("waiting", priority.value, name) for name in _names(folder)])
    rows = _matched([place for stage in stages for place in stage], read_open_jobs(layout.ledger_file))
    files = []
    for stage in stages:
        described = [_describe(place, rows.get(place)) for place in stage]
        files += sorted(described, key=lambda file: (file.job is None, file.job or ""))
    return files


def finished_names(layout: Layout, outcome: Outcome) -> list[str]:
    """Return the names in the folder of an outcome, as the file system has them, sorted."""
    return sorted(_names(layout.finished(outcome)))


def finished_file(layout: Layout, outcome: Outcome, name: str) -> FinishedFile:
    """Return what is known of a file that has failed or was skipped."""
    reason = reason_beside(layout.finished(outcome) / name)
    return FinishedFile(printable(name), outcome.value, reason)


def reason_beside(path: Path) -> str | None:
    """Return what the note beside a file says, printable; None if there is none that can be read."""
    try:
        return printable(str(read_json(note_beside(path, REASON_SUFFIX))["message"]))
    except (OSError, UnreadableFile, KeyError, TypeError):
        return None


def find_named(folders: Sequence[Path], name: str) -> list[Path]:
    """Return the files that a person may mean by `name`.

    Args:
        name: as a list shows it or as it is; with a folder in front, such as `high/chat.jsonl`, or without.
    """
    folder_name, _, file_name = name.removeprefix("queue/").removeprefix(".trash/").rpartition("/")
    return [
        folder / found
        for folder in folders
        if folder_name in ("", folder.name)
        for found in _matching(folder, file_name)
    ]


def _matching(folder: Path, wanted: str) -> list[str]:
    # First as it is: to list the folder takes long where a hundred thousand files wait
    if wanted and is_users_file(wanted) and os.path.lexists(folder / wanted):
        return [wanted]
    return [name for name in _names(folder) if printable(name) == wanted]


def _names(folder: Path) -> list[str]:
    try:
        return [name for name in os.listdir(folder) if is_users_file(name)]
    except FileNotFoundError:  # somebody has removed it; the next daemon creates it anew
        return []


def _describe(place: _Place, row: OpenJob | None) -> QueuedFile:
    shown = printable(place.name)
    if row is None:
        state = CHECKING if place.state == "waiting" else place.state
        return QueuedFile(shown, state, place.priority, None, None)
    is_saving = place.state == PROCESSING and row.is_trained
    state = SAVING if is_saving else place.state
    return QueuedFile(shown, state, place.priority or row.priority, row.rows, row.id, row.format or None)


def _matched(places: list[_Place], known: dict[bytes, list[OpenJob]]) -> dict[_Place, OpenJob]:
    """Return what the ledger knows of each place.

    A file that was moved while no daemon ran is known under the place it had before, so what fits exactly is
    given away first, and then what has the same name.
    """
    found: dict[_Place, OpenJob] = {}
    unmatched = []
    for place in places:
        rows = known.get(os.fsencode(place.name), [])
        if row := next((row for row in rows if _is_of(row, place)), None):
            found[place] = row
            rows.remove(row)
        else:
            unmatched.append(place)
    for place in unmatched:
        if rows := known.get(os.fsencode(place.name), []):
            found[place] = rows.pop(0)
    return found


def _is_of(row: OpenJob, place: _Place) -> bool:
    return row.state == place.state and place.priority in (None, row.priority)


def is_started(file: QueuedFile) -> bool:
    """Whether training of a file in the queue has started."""
    return file.state in (PROCESSING, SAVING)
