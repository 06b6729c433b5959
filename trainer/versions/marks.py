"""Notes, tags and aliases of versions: an append-only file, and what they are now or were at any time.

models/versions/journal.jsonl   one mark a line, oldest first
"""

import errno
import fcntl
import json
import os
import re
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from trainer.protocol.files import UnreadableFile, open_regular, sync_directory
from trainer.protocol.text import printable

JOURNAL_NAME = "journal.jsonl"
NAME_OF_MARK = re.compile(r"[a-z][a-z0-9._-]{0,63}")
LOOKS_LIKE_VERSION = re.compile(r"v\d+|step-.*")
COMPUTED = ("current", "latest")
"""Aliases that nobody sets: the version of the newest checkpoint, and the newest version."""
MOST_NOTE_CHARACTERS = 2_000


class BadMark(ValueError):
    """A tag, alias or note cannot be taken."""


class UnusableJournal(OSError):
    """What has the name of the journal is no file, so nobody knows what people have said about versions."""


MarkKind = Literal["note", "tag", "untag", "alias", "unalias", "deleted", "undeleted", "freed", "state_freed"]


class Mark(BaseModel):
    """One thing that was said about a version."""

    model_config = ConfigDict(frozen=True)

    at: str
    """UTC, ISO 8601."""
    kind: MarkKind
    version: str
    text: str = ""
    """The note, or the name of the tag or alias."""


@dataclass
class Marks:
    """What holds after some marks."""

    notes: dict[str, list[str]] = field(default_factory=dict)
    """By version, oldest first."""
    tags: dict[str, set[str]] = field(default_factory=dict)
    """By version."""
    aliases: dict[str, str] = field(default_factory=dict)
    """Name -> version."""

    def aliases_of(self, version: str) -> list[str]:
        """Return the names that mean a version, sorted."""
        return sorted(name for name, meant in self.aliases.items() if meant == version)

    def names_by_version(self) -> dict[str, list[str]]:
        """Return the names that mean each version, sorted."""
        found: dict[str, list[str]] = {}
        for name in sorted(self.aliases):
            found.setdefault(self.aliases[name], []).append(name)
        return found


def marks_after(marks: Iterable[Mark]) -> Marks:
    """Return what holds after these, oldest first."""
    now = Marks()
    for mark in marks:
        match mark.kind:
            case "note":
                now.notes.setdefault(mark.version, []).append(mark.text)
            case "tag":
                now.tags.setdefault(mark.version, set()).add(mark.text)
            case "untag":
                now.tags.get(mark.version, set()).discard(mark.text)
            case "alias":
                now.aliases[mark.text] = mark.version
            case "unalias":
                now.aliases.pop(mark.text, None)
            case "deleted" | "undeleted" | "freed" | "state_freed":
                pass
    return now


def require_name(name: str, what: str) -> None:
    """Make sure that a tag or an alias can have this name.

    Raises:
        BadMark: it cannot.
    """
    if not NAME_OF_MARK.fullmatch(name) or LOOKS_LIKE_VERSION.fullmatch(name) or name in COMPUTED:
        raise BadMark(
            f"{what} is {json.dumps(name)}; expected a letter from a to z and up to 63 of a-z, 0-9, '.', '_' "
            f"and '-', but not {', '.join(COMPUTED)}, v and a number, or the name of a checkpoint"
        )


def require_note(text: str) -> None:
    """Make sure that a note can be taken.

    Raises:
        BadMark: it cannot.
    """
    if not text.strip() or len(text) > MOST_NOTE_CHARACTERS:
        raise BadMark(
            f"the note has {len(text)} characters; expected 1 to {MOST_NOTE_CHARACTERS}, not all blank"
        )
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise BadMark(f"the note is {text[:80]!a}; expected text in UTF-8") from error


class MarkJournal:
    """The file of marks. Any number of processes may append to it.

    Args:
        folder: `models/versions`; exists.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / JOURNAL_NAME

    def read(self, *, until: str | None = None) -> list[Mark]:
        """Return all marks, oldest first; a line that is not whole was never written to its end.

        Args:
            until: UTC, ISO 8601; only marks up to then.
        Raises:
            UnusableJournal: it is no file.
        """
        try:
            with open_regular(self._path) as file:
                lines = file.read().split(b"\n")[:-1]  # what follows the last line end is not whole
        except FileNotFoundError:
            return []
        except (UnreadableFile, IsADirectoryError) as error:
            raise self._unusable() from error
        return [mark for mark in _whole(lines) if until is None or mark.at <= until]

    def require(self) -> None:
        """Make sure that marks can be added, before anything is done that they are to say.

        Raises:
            UnusableJournal: it is no file.
        """
        with suppress(FileNotFoundError):
            if not stat.S_ISREG(self._path.stat().st_mode):
                raise self._unusable()

    def append(self, mark: Mark) -> None:
        """Add a mark, durably.

        Raises:
            UnusableJournal: it is no file.
            OSError: it cannot be written; what is there of it is never read.
        """
        self.require()
        line = mark.model_dump_json(exclude_defaults=True).encode() + b"\n"
        is_new = not self._path.exists()
        with self._locked() as descriptor:
            # Whoever died in the middle of a line left one without its end
            end = os.lseek(descriptor, 0, os.SEEK_END)
            is_torn = end > 0 and os.pread(descriptor, 1, end - 1) != b"\n"
            content = (b"\n" if is_torn else b"") + line
            if os.write(descriptor, content) < len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))
            os.fsync(descriptor)
        if is_new:
            sync_directory(self._path.parent)

    @contextmanager
    def _locked(self) -> Iterator[int]:
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK
        descriptor = os.open(self._path, flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield descriptor
        finally:
            os.close(descriptor)

    def _unusable(self) -> UnusableJournal:
        return UnusableJournal(
            f"{printable(str(self._path))} is a folder, a pipe or a device; expected the file with the "
            "notes, tags and aliases of versions; restore it from a backup, or move it away"
        )


def _whole(lines: Iterable[bytes]) -> Iterator[Mark]:
    for line in lines:
        try:
            yield Mark.model_validate_json(line)
        except ValidationError:
            continue  # a line that was torn, and ended by the next writer
