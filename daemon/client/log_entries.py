"""Entries of the daemon's log, parsed from its lines, also backwards from the newest one."""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import BinaryIO

from trainer.protocol.text import printable

BLOCK_BYTES = 1 << 16
TEXT = re.compile(r"(?P<at>\d{4}-\d\d-\d\dT[\d:.]+Z) (?P<level>[A-Z]+) +(?P<message>.*)")
JOB = re.compile(r"(?P<message>.*) job=(?P<job>[\w-]+)")


@dataclass(frozen=True, kw_only=True)
class LogEntry:
    """One entry of the daemon's log; every text is printable."""

    at: str | None
    """UTC, ISO 8601; None for a line that is no entry of a daemon."""
    level: str | None
    """Such as info, warning or error; None as above."""
    message: str
    job_id: str | None
    """The job it is about; None for what is about no job."""
    traceback: list[str] = field(default_factory=list)
    """The lines below the message."""


def entries_of(lines: Iterable[bytes]) -> Iterator[LogEntry]:
    """Yield the entries of successive lines."""
    pending: LogEntry | None = None
    for line in lines:
        entry = _parsed(line)
        if pending and entry.at is None:
            pending.traceback.append(entry.message)
            continue
        if pending:
            yield pending
        pending = entry
    if pending:
        yield pending


def entries_backwards(file: BinaryIO, end: int) -> Iterator[LogEntry]:
    """Yield the entries before the byte `end`, the newest first."""
    below: list[str] = []
    for line in _lines_backwards(file, end):
        entry = _parsed(line)
        if entry.at is None:
            below.append(entry.message)
            continue
        yield replace(entry, traceback=entry.traceback + below[::-1])
        below = []
    for text in below:  # at the beginning of a file
        yield LogEntry(at=None, level=None, message=text, job_id=None)


def end_of_last_line(file: BinaryIO) -> int:
    """Return where the last complete line ends; what follows is still being written."""
    position = file.seek(0, 2)
    while position:
        start = max(0, position - BLOCK_BYTES)
        file.seek(start)
        if (found := file.read(position - start).rfind(b"\n")) >= 0:
            return start + found + 1
        position = start
    return 0


def _lines_backwards(file: BinaryIO, end: int) -> Iterator[bytes]:
    rest = b""
    while end:
        start = max(0, end - BLOCK_BYTES)
        file.seek(start)
        first, *lines = (file.read(end - start) + rest).split(b"\n")
        yield from filter(None, reversed(lines))
        rest, end = first, start
    if rest:
        yield rest


def _parsed(line: bytes) -> LogEntry:
    """Return what a line says; it has a time only if it begins an entry."""
    text = line.decode("utf-8", "backslashreplace").rstrip("\r\n")
    if text.startswith("{") and (entry := _parsed_json(text)):
        return entry
    text = printable(text)
    if (found := TEXT.fullmatch(text)) is None:
        return LogEntry(at=None, level=None, message=text, job_id=None)
    about = JOB.fullmatch(found["message"])
    return LogEntry(
        at=found["at"],
        level=found["level"].lower(),
        message=about["message"] if about else found["message"],
        job_id=about["job"] if about else None,
    )


def _parsed_json(text: str) -> LogEntry | None:
    try:
        fields = json.loads(text)
        at, level, message = fields["at"], fields["level"], fields["message"]
    except (ValueError, KeyError, RecursionError):
        return None
    job_id, traceback = fields.get("job"), fields.get("traceback")
    return LogEntry(
        at=printable(str(at)),
        level=printable(str(level)),
        message=printable(str(message)),
        job_id=None if job_id is None else printable(str(job_id)),
        traceback=[printable(part) for part in str(traceback or "").splitlines()],
    )
