"""Rows that a person has flagged: `status/flagged_examples.jsonl`, which only `training_data flag` writes.

A line is an entry: {"at", "file", "line", "note", "row"}. Entries are appended under a lock on the file
itself, so that any number of people may flag at once. Nothing is changed or removed, but for the rows of a
file that the model forgets.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trainer.protocol.files import UnreadableFile

FILE_NAME = "flagged_examples.jsonl"
BLOCK_BYTES = 1 << 16


@dataclass(frozen=True, kw_only=True)
class Flagged:
    """One flagged row."""

    at: str
    """In UTC."""
    file: str
    """The place in the queue where it was found, made printable, such as `failed/chat.jsonl`."""
    line: int
    """Counted from 1."""
    note: str
    row: dict[str, Any]
    """As it stood in the file then."""


def add_flagged(path: Path, entry: Flagged) -> None:
    """Append an entry; when this returns it survives a power cut.

    Raises:
        OSError: it cannot be written.
    """
    line = json.dumps(asdict(entry)).encode() + b"\n"  # in ASCII: a row may hold half a surrogate pair
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "rb+", buffering=0) as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # let go of when the file is closed, or the process dies
        if not _is_still(path, file.fileno()):  # rows of a file that was forgotten were taken out meanwhile
            return add_flagged(path, entry)
        size = os.fstat(file.fileno()).st_size
        os.truncate(file.fileno(), whole := _end_of_last_line(file.fileno(), size))
        try:
            _write_all(file.fileno(), line)
            os.fsync(file.fileno())
        except OSError:
            os.truncate(file.fileno(), whole)  # the disk is full; half an entry helps nobody
            raise


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _end_of_last_line(descriptor: int, size: int) -> int:
    """Return where whole lines end; what follows was being written when a process died."""
    end = size
    while end > 0:
        start = max(0, end - BLOCK_BYTES)
        found = os.pread(descriptor, end - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def _write_all(descriptor: int, content: bytes) -> None:
    while content:
        content = content[os.write(descriptor, content) :]


def read_flagged(path: Path) -> Iterator[Flagged]:
    """Yield the entries, oldest first; none if there is no file.

    Raises:
        UnreadableFile: somebody else has written to it.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                return  # a process died while it wrote this
            try:
                yield Flagged(**json.loads(line))
            except (ValueError, TypeError, RecursionError) as error:
                raise UnreadableFile(
                    f"{path}:{number}: {error}; expected an entry of training_data flag; remove this line"
                ) from error
