"""Check a file before it is accepted, and reject malformed rows: one pass that also counts and hashes."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path

from trainer.data.checks.metadata import MetadataCounts
from trainer.data.formats import Format, read_row
from trainer.data.reading.file_kinds import (
    BYTES_LOOKED_AT,
    FileKind,
    kind_of,
    other_encoding_of,
    what_it_is,
)
from trainer.data.reading.rows import BadRow, Line, content_of, open_regular, parse_row, read_lines
from trainer.data.reading.unpacking import BadArchive, text_of
from trainer.protocol.job import Job, Priority
from trainer.protocol.row_fields import NO_FIELDS, Fields
from trainer.protocol.text import shell_word

MAX_REJECTED_ROWS = 1_000_000  # after that a check gives up on the file
CHECK_EVERY_LINES = 64  # how often a check looks whether it was cancelled
MAX_UNPACKED_BYTES = 8 * 1024**3


class CheckCancelled(Exception):
    """Somebody wants the check to end."""


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A line that will not be trained."""

    line: int
    """Counted from 1."""
    reason: str
    content: bytes | None
    """None when the line is too long to be kept."""


@dataclass(frozen=True, kw_only=True)
class FileCheck:
    """What one pass over a file found."""

    sha256: str
    size_bytes: int
    rows: int
    """Rows that can be trained."""
    rejected_lines: tuple[int, ...]
    first_rejection: str | None
    """`line 17: reason`."""
    format: str | None = None
    """That of all rows; None without any."""
    metadata: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """How many rows have which skill, difficulty and source."""
    refusal: str | None = None
    """Why the file is refused whatever its rows are; the rest then holds for its beginning only."""
    kind: FileKind | None = None
    """What it is if it is not JSON Lines; it is refused then."""

    def to_job(self, *, id: str, name: str, priority: Priority = Priority.NORMAL) -> Job:
        """Return the job that the file becomes when it is accepted."""
        return Job(
            id=id,
            name=name,
            priority=priority,
            sha256=self.sha256,
            rows=self.rows,
            size_bytes=self.size_bytes,
            rejected_lines=self.rejected_lines,
            format=self.format or "",
            metadata={key: dict(counts) for key, counts in self.metadata.items()},
        )

    def verdict(self, max_bad_row_fraction: float) -> str | None:
        """Return why the whole file is refused, or None if it can be trained."""
        if self.refusal:
            return self.refusal
        num_bad = len(self.rejected_lines)
        # Divided, not multiplied: 0.29 * 100 is a little less than 29
        num_rows = self.rows + num_bad
        if num_bad and num_bad / num_rows > max_bad_row_fraction:
            if num_rows == 1:
                return f"the only row is malformed: {self.first_rejection}"
            are = "is" if num_bad == 1 else "are"
            return (
                f"{num_bad} of {num_rows} rows {are} malformed, more than data.max_bad_row_fraction allows "
                f"({max_bad_row_fraction:g}); the first: {self.first_rejection}"
            )
        if not self.rows:
            what = "the file has no rows" if self.size_bytes else "it is empty"
            return f"{what}; expected one JSON object per line"
        return None


def check_file(
    path: Path,
    *,
    max_line_bytes: int,
    max_unpacked_bytes: int = MAX_UNPACKED_BYTES,
    fields: Fields = NO_FIELDS,
    on_reject: Callable[[RejectedRow], None] = lambda row: None,
    is_cancelled: Callable[[], bool] = lambda: False,
) -> FileCheck:
    """Check every row of a JSONL file, packed or not. Memory stays flat.

    Raises:
        CheckCancelled: `is_cancelled` returned true.
        OSError: the file cannot be read, or is no regular file.
    """
    digest = hashlib.sha256()
    size = 0

    def seen(chunk: memoryview) -> None:
        nonlocal size
        size += len(chunk)
        digest.update(chunk)

    found = _Findings(path, fields, max_line_bytes, on_reject)
    with open_regular(path) as file:
        text = text_of(file, seen=seen, max_unpacked_bytes=max_unpacked_bytes)
        for number in found.look_through(text):
            if number % CHECK_EVERY_LINES == 0 and is_cancelled():
                raise CheckCancelled(f"the check of {path.name} was cancelled at line {number}")
    if is_cancelled():
        raise CheckCancelled(f"the check of {path.name} was cancelled at its end")
    return found.file_check(digest.hexdigest(), size)


class _Findings:
    """What the rows of one file are, as far as it was read."""

    def __init__(
        self, path: Path, fields: Fields, max_line_bytes: int, on_reject: Callable[[RejectedRow], None]
    ) -> None:
        self._path = path
        self._fields = fields
        self._max_line_bytes = max_line_bytes
        self._on_reject = on_reject
        self._rows = 0
        self._rejected: list[int] = []
        self._first_rejection: str | None = None
        self._format: Format | None = None
        self._format_line = 0
        self._counts = MetadataCounts()
        self._refusal: str | None = None
        self._kind: FileKind | None = None

    def look_through(self, text: BufferedReader) -> Iterator[int]:
        """Check all rows, or those before a reason to refuse the file; yield each line's number before."""
        number = 0
        try:
            self._inspect_start(text.peek(BYTES_LOOKED_AT))
            for line in read_lines(text, max_line_bytes=self._max_line_bytes):
                if self._refusal:
                    return
                number = line.number
                yield number
                if not line.is_blank:
                    self._take(line)
        except BadArchive as error:
            self._refusal = f"after line {number}: {error}" if number else str(error)

    def _inspect_start(self, start: bytes) -> None:
        self._refusal = _why_not_utf8(start, self._path.name)
        if not self._refusal and (kind := kind_of(start)):
            self._kind, self._refusal = kind, what_it_is(kind, str(self._path))

    def _take(self, line: Line) -> None:
        try:
            content = content_of(line, max_line_bytes=self._max_line_bytes)
            format, conversation = read_row(parse_row(content), self._fields)
        except BadRow as error:
            self._reject(line, str(error))
            return
        if format is not self._format:
            self._note_format(format, line.number)
        if conversation.metadata:
            self._counts.add(conversation.metadata)
        self._rows += 1

    def file_check(self, sha256: str, size_bytes: int) -> FileCheck:
        return FileCheck(
            sha256=sha256,
            size_bytes=size_bytes,
            rows=self._rows,
            rejected_lines=tuple(self._rejected),
            first_rejection=self._first_rejection,
            format=self._format.name if self._format else None,
            metadata=self._counts.summary(),
            refusal=self._refusal,
            kind=self._kind,
        )

    def _reject(self, line: Line, reason: str) -> None:
        self._first_rejection = self._first_rejection or f"line {line.number}: {reason}"
        self._rejected.append(line.number)
        if (
            len(self._rejected) > MAX_REJECTED_ROWS
        ):  # memory must stay flat, and nobody wants such a file trained
            self._refusal = (
                f"more than {MAX_REJECTED_ROWS:,} rows are malformed; the first: {self._first_rejection}"
            )
        else:
            self._on_reject(RejectedRow(line.number, reason, line.content))

    def _note_format(self, format: Format, line_number: int) -> None:
        if self._format is None:
            self._format, self._format_line = format, line_number
        else:
            self._refusal = (
                f"line {self._format_line} has the format {self._format.name}, but line {line_number} has "
                f"{format.name}; expected one format in a file, so split it"
            )


def _why_not_utf8(start: bytes, file: str) -> str | None:
    encoding = other_encoding_of(start)
    command = f"iconv -f {encoding} -t UTF-8 {shell_word(file)} > NAME.jsonl"
    return encoding and f"line 1: the file is {encoding}; expected UTF-8; convert it: {command}"
