"""Notes beside users' files: how they are named, and how to tell one from a user's file."""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from trainer.protocol.files import numbered
from trainer.protocol.layout import Layout
from trainer.protocol.text import printable

REASON_SUFFIX = ".reason.json"
REJECTED_SUFFIX = ".rejected.jsonl"
NOTE_NAME_BYTES = 200  # of the file's name in the name of a note; a file name has 255 at most
HASH_DIGITS = 12
LISTS_SOUGHT = 100  # of rejected rows, for one name
AT_PRECISION_S = 0.001  # of the times in notes, which are cut to milliseconds


def note_beside(path: Path, suffix: str) -> Path:
    """Return the path of a note of ours about a file: the file's name made printable.

    A long name is cut to what fits, with a hash of the whole, so that no two files share a note.
    """
    shown = printable(path.name).encode()
    if len(shown) <= NOTE_NAME_BYTES:
        return path.with_name(shown.decode() + suffix)
    whole = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:HASH_DIGITS]
    start = shown[: NOTE_NAME_BYTES - HASH_DIGITS - 1].decode("utf-8", "ignore")
    return path.with_name(f"{start}~{whole}{suffix}")


def report_file(layout: Layout, job_id: str) -> Path:
    """Return where the report on a job's rows lies, whether or not there is one."""
    return layout.data_reports / f"{job_id}.json"


def report_file_named(layout: Layout, name: str) -> Path:
    """Return where older releases kept the newest report on a file of this name."""
    return note_beside(layout.data_reports / name, ".json")


def is_users_file(name: str) -> bool:
    """Whether a name in a folder of finished files is a user's, not a note of ours beside one."""
    return not name.startswith(".") and not name.endswith((REASON_SUFFIX, REJECTED_SUFFIX))


def lists_of_name(folders: Iterable[Path], name: str) -> Iterator[Path]:
    """Yield where rejected rows of files of a name are listed: each try has a list of its own."""
    for folder in folders:
        for number in range(1, LISTS_SOUGHT + 1):
            note = note_beside(folder / numbered(name, number), REJECTED_SUFFIX)
            if note.exists():
                yield note


def lists_of_rejected(folders: Iterable[Path], name: str, lines: Sequence[int]) -> Iterator[Path]:
    """Yield where the rejected rows of a file are listed.

    Args:
        lines: their numbers, by which the file's lists are told from others of its name.
    """
    yield from (note for note in lists_of_name(folders, name) if lines and _has_lines(note, lines))


def list_of_refusal(path: Path, refused_at: str | None) -> Path | None:
    """Return where the rejected rows of a refused file are listed; of its tries, the last one by then counts.

    Args:
        refused_at: ISO 8601, as the note beside it says; lists of other files of its name may be newer.
    """
    tries = (path.with_name(numbered(path.name, number)) for number in range(1, LISTS_SOUGHT + 1))
    written: dict[Path, float] = {}
    for note in (note_beside(tried, REJECTED_SUFFIX) for tried in tries):
        with suppress(OSError):
            written[note] = note.stat().st_mtime
    end = _unix(refused_at) + AT_PRECISION_S
    by_then = [note for note, at in written.items() if at <= end]
    if by_then:
        return max(by_then, key=written.__getitem__)
    first = note_beside(path, REJECTED_SUFFIX)  # a copy may have lost its times
    return first if first in written else None


def _unix(at: str | None) -> float:
    try:
        return datetime.fromisoformat(at or "").timestamp()
    except ValueError:
        return 0


def start_of_list(sha256: str) -> bytes:
    """Return how the list of the rejected rows of a content begins: its first line names the content."""
    return f'{{"sha256": "{sha256}", '.encode()


def lists_of_content(folders: Iterable[Path], sha256: str) -> Iterator[Path]:
    """Yield where the rejected rows of a content are listed, whatever its file was called."""
    start = start_of_list(sha256)
    for folder in folders:
        for note in folder.glob(f"*{REJECTED_SUFFIX}"):
            with suppress(OSError), note.open("rb") as file:
                if file.read(len(start)) == start:
                    yield note


def _has_lines(note: Path, lines: Sequence[int]) -> bool:
    """Whether a list of rejected rows has these lines, and no others."""
    try:
        with note.open("rb") as file:
            return all(json.loads(row)["line"] == line for row, line in zip(file, lines, strict=True))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False
