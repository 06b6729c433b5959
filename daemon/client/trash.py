"""The trash: failed and skipped files that somebody has cleared away. Nothing here deletes anything in it.

The lists of rejected rows of files that are put back go there, too: their next check writes new ones.

Each clearing makes a folder of its own, such as queue/.trash/failed-20260721-140305/, so that no name is
taken there. Files come by a rename. Their notes are linked first and dropped last: whenever it is killed, a
file lies in one place, with its notes beside it. No daemon reads the trash.
"""

import errno
import filecmp
import os
import shlex
import stat
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from daemon.files.notes import REASON_SUFFIX, REJECTED_SUFFIX, is_users_file, note_beside
from daemon.jobs.listing import FinishedFile, reason_beside
from trainer.protocol.files import (
    NO_LINK_HERE,
    UnreadableFile,
    copy_durably,
    move_durably,
    numbered,
    read_json,
    sync_directory,
)
from trainer.protocol.job import Outcome, Priority
from trainer.protocol.layout import PRIVATE_MODE, Layout
from trainer.protocol.text import printable

ARRIVING_S = 5.0  # within which the daemon writes the note beside a file that it has just put there


@dataclass(frozen=True, kw_only=True)
class Cleared:
    """What a clearing has done."""

    moved: tuple[str, ...]
    """Where the files are now, such as queue/.trash/failed-20260721-140305/chat.jsonl; printable."""
    arriving: int
    """Files that have just come and are still being put there, so they were left."""
    kept: int
    """Files that are not old enough."""


@dataclass(frozen=True, kw_only=True)
class _Chosen:
    path: Path
    notes: tuple[Path, ...]


def clear(
    layout: Layout,
    outcome: Outcome,
    *,
    older_than_s: float = 0.0,
    only: Collection[str] | None = None,
    now: float,
) -> Cleared:
    """Move files that failed or were skipped into the trash, with their notes.

    Args:
        older_than_s: only files that have been there for longer, in seconds.
        only: names of files; None for all.
        now: Unix seconds.
    Raises:
        OSError: they cannot be moved; what has been moved by then is complete.
    """
    _drop_linked_notes(layout)
    folder = layout.finished(outcome)
    chosen, arriving, kept = [], 0, 0
    for name in sorted(filter(is_users_file, os.listdir(folder))):
        if only is not None and name not in only:
            continue
        with suppress(FileNotFoundError):
            if _is_arriving(folder / name, now):
                arriving += 1
            elif now - ended_at(folder / name) < older_than_s:
                kept += 1
            else:
                chosen.append(_Chosen(path=folder / name, notes=tuple(_notes_of(layout, folder / name))))
    moved = _move_all(layout, outcome, chosen, now=now) if chosen else []
    places = tuple(printable(str(path.relative_to(layout.base))) for path in moved)
    return Cleared(moved=places, arriving=arriving, kept=kept)


def clear_lists(layout: Layout, paths: Sequence[Path], *, now: float) -> None:
    """Move the lists of rejected rows of files that are about to be put back into the trash.

    Args:
        paths: where the files lie; those in the trash have their lists beside them, where they stay.
        now: Unix seconds.
    """
    lists = {
        note: None
        for path in paths
        if layout.trash not in path.parents
        for note in _lists_of(layout, path)
        if note.exists()
    }
    if not lists:
        return
    batch = _new_folder(layout, Outcome.FAILED, now)
    linked = [note for note in lists if _link(note, batch)]
    sync_directory(batch)
    for note in linked:
        note.unlink(missing_ok=True)
    sync_directory(layout.failed)


def trash_folders(layout: Layout) -> list[Path]:
    """Return the folders of the trash, oldest first."""
    with suppress(FileNotFoundError):
        return sorted(
            (path for path in layout.trash.iterdir() if path.is_dir()),
            key=lambda path: path.name.partition("-")[2],
        )
    return []


def trashed_files(layout: Layout) -> Iterator[Path]:
    """Yield the files in the trash, those that were cleared last at the end."""
    for folder in trash_folders(layout):
        yield from (folder / name for name in sorted(filter(is_users_file, os.listdir(folder))))


def trashed_file(path: Path) -> FinishedFile:
    """Return what is known of a file in the trash; its name is the one by which it can be had back."""
    reason = reason_beside(path)
    return FinishedFile(
        printable(f"{path.parent.name}/{path.name}"),
        outcome_of(path).value,
        reason and with_present_place(reason, path),
    )


def with_present_place(reason: str, path: Path) -> str:
    """Return why a file ended, with commands about it that work now: it lay elsewhere when that was written.

    Args:
        reason: printable.
        path: where the file lies; outside the trash, the reason is returned as it is.
    """
    if path.parent.parent.name != ".trash":
        return reason
    before = f"queue/{outcome_of(path).value}/"
    name, place = printable(path.name), printable(f"{path.parent.name}/{path.name}")
    reason = reason.replace(f"/{before}{name}", f"/queue/.trash/{place}")
    for options in ("", "--admit -- "):
        # The name alone would mean a newer file of this name, if one has failed since
        retry = f"training_queue retry {options}"
        reason = reason.replace(f"{retry}{shlex.quote(name)}", f"{retry}{shlex.quote(place)}")
    return reason


def ended_at(path: Path) -> float:
    """Return when a file has failed or was skipped, in Unix seconds."""
    try:
        at = datetime.fromisoformat(read_json(note_beside(path, REASON_SUFFIX))["at"])
        return at.replace(tzinfo=at.tzinfo or UTC).timestamp()
    except (OSError, UnreadableFile, KeyError, TypeError, ValueError):
        return path.lstat().st_ctime  # a move changes it


def outcome_of(path: Path) -> Outcome:
    """Return how the file in the trash had ended."""
    return Outcome.SKIPPED if path.parent.name.startswith(Outcome.SKIPPED.value) else Outcome.FAILED


def remove_if_empty(layout: Layout, folder: Path) -> None:
    """Remove a folder of the trash from which the last file was taken, unless something else lies in it."""
    if folder.parent == layout.trash:
        with suppress(OSError):
            folder.rmdir()


# ---- what is moved


def _is_arriving(path: Path, now: float) -> bool:
    """Whether the daemon is still putting a file there: a link, the old name, then the note."""
    if note_beside(path, REASON_SUFFIX).exists():
        return False
    found = path.lstat()
    has_two_names = found.st_nlink > 1 and not stat.S_ISDIR(found.st_mode)
    return has_two_names or now - found.st_ctime < ARRIVING_S


def _notes_of(layout: Layout, path: Path) -> Iterator[Path]:
    """Yield the notes that are about a file and about no other."""
    yield note_beside(path, REASON_SUFFIX)
    yield from _lists_of(layout, path)


def _lists_of(layout: Layout, path: Path) -> Iterator[Path]:
    """Yield where the rejected rows of a file, and of no other, may be listed."""
    # Those of all files of one name are listed in failed/, wherever the files are now
    if _is_elsewhere(layout, path.name, but=path.parent):
        return
    yield note_beside(layout.failed / path.name, REJECTED_SUFFIX)
    for note in _further_lists(layout.failed / path.name):
        if not _is_elsewhere(layout, note.name.removesuffix(REJECTED_SUFFIX)):
            yield note


def _is_elsewhere(layout: Layout, name: str, *, but: Path | None = None) -> bool:
    return any(os.path.lexists(folder / name) for folder in _folders(layout) if folder != but)


def _further_lists(path: Path) -> Iterator[Path]:
    """Yield the lists of rejected rows of later tries of a file; each has a number in its name."""
    for number in count(2):
        note = note_beside(path.with_name(numbered(path.name, number)), REJECTED_SUFFIX)
        if not note.exists():
            return
        yield note


def _folders(layout: Layout) -> list[Path]:
    return [*map(layout.waiting, Priority), layout.processing, *map(layout.finished, Outcome)]


# ---- how it is moved


def _move_all(layout: Layout, outcome: Outcome, chosen: Sequence[_Chosen], *, now: float) -> list[Path]:
    batch = _new_folder(layout, outcome, now)
    linked = {item.path: [note for note in item.notes if _link(note, batch)] for item in chosen}
    sync_directory(batch)
    moved = [target for item in chosen if (target := _rename(item.path, batch, linked[item.path]))]
    sync_directory(batch)
    sync_directory(layout.finished(outcome))
    _drop_linked_notes(layout)
    remove_if_empty(layout, batch)  # if all were gone
    return moved


def _new_folder(layout: Layout, outcome: Outcome, now: float) -> Path:
    """Return a folder of the trash in which nothing lies yet."""
    if not layout.trash.is_dir():
        layout.trash.mkdir(mode=PRIVATE_MODE, exist_ok=True)
        sync_directory(layout.queue)
    name, number = f"{outcome.value}-{datetime.fromtimestamp(now, UTC):%Y%m%d-%H%M%S}", 1
    while True:
        folder = layout.trash / numbered(name, number)
        try:
            folder.mkdir(mode=PRIVATE_MODE)
        except FileExistsError:
            number += 1
            continue
        sync_directory(layout.trash)
        return folder


def _link(note: Path, batch: Path) -> bool:
    """Give a note a second name in the trash; return whether there is a note."""
    with suppress(FileNotFoundError):
        try:
            os.link(note, batch / note.name, follow_symlinks=False)
        except OSError as error:
            if error.errno not in (errno.EXDEV, *NO_LINK_HERE):
                raise
            copy_durably(note, batch, note.name)
        return True
    return False


def _rename(path: Path, batch: Path, notes: Sequence[Path]) -> Path | None:
    """Move a file; None if it has been taken meanwhile, and then no note of it stays."""
    try:
        os.rename(path, batch / path.name)  # into a folder that is ours alone: nothing is overwritten
    except FileNotFoundError:
        for note in notes:
            (batch / note.name).unlink(missing_ok=True)
        return None
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        return move_durably(path, batch)  # somebody linked its folder to another file system
    return batch / path.name


def _drop_linked_notes(layout: Layout) -> None:
    """Remove the first names of notes that lie in the trash with their files.

    A clearing that was killed may have left some, too.
    """
    for path in trashed_files(layout):
        reason, rejected = (note_beside(path, suffix) for suffix in (REASON_SUFFIX, REJECTED_SUFFIX))
        for kept, folder in (
            (reason, layout.finished(outcome_of(path))),
            *((note, layout.failed) for note in (rejected, *_further_lists(path))),
        ):
            first = folder / kept.name
            with suppress(FileNotFoundError):
                if os.path.samefile(kept, first) or filecmp.cmp(kept, first, shallow=False):
                    first.unlink()
