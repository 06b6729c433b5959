"""Notes beside users' files: how they are named, and how to tell one from a user's file."""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from trainer.protocol.files import numbered
from trainer.protocol.text import printable

REASON_SUFFIX = ".reason.json"
REJECTED_SUFFIX = ".rejected.jsonl"
NOTE_NAME_BYTES = 200  # of the file's name in the name of a note; a file name has 255 at most
HASH_DIGITS = 12
LISTS_SOUGHT = 100  # of rejected rows, for one name


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


def is_users_file(name: str) -> bool:
    """Whether a name in a folder of finished files is a user's, not a note of ours beside one."""
    return not name.startswith(".") and not name.endswith((REASON_SUFFIX, REJECTED_SUFFIX))


def lists_of_rejected(folders: Iterable[Path], name: str, lines: Sequence[int]) -> Iterator[Path]:
    """Yield where the rejected rows of a file are listed: each try of a name has a list of its own.

    Args:
        lines: their numbers, by which the file's lists are told from others.
    """
    for folder in folders:
        for number in range(1, LISTS_SOUGHT + 1):
            note = note_beside(folder / numbered(name, number), REJECTED_SUFFIX)
            if lines and _has_lines(note, lines):
                yield note


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
