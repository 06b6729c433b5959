"""Check a file row by row before it is accepted: one streaming pass that also counts and hashes it."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from trainer.data.formats import read_conversation
from trainer.data.rows import BadRow, Line, open_without_following, parse_row, read_lines
from trainer.protocol.job import Job, Priority

MAX_REJECTED_ROWS = 1_000_000  # after that a check gives up on the file
CHECK_EVERY_LINES = 64  # how often a check looks whether it was cancelled


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
        )

    def verdict(self, max_bad_row_fraction: float) -> str | None:
        """Return why the whole file is refused, or None if it can be trained."""
        num_bad = len(self.rejected_lines)
        if num_bad > MAX_REJECTED_ROWS:
            return f"more than {MAX_REJECTED_ROWS:,} rows are malformed; the first: {self.first_rejection}"
        # Divided, not multiplied: 0.29 * 100 is a little less than 29
        if num_bad and num_bad / (self.rows + num_bad) > max_bad_row_fraction:
            return (
                f"{num_bad} of {self.rows + num_bad} rows are malformed, more than data.max_bad_row_fraction "
                f"allows ({max_bad_row_fraction:g}); the first: {self.first_rejection}"
            )
        if not self.rows:
            return "the file has no rows; expected one JSON object per line"
        return None


def check_file(
    path: Path,
    *,
    max_line_bytes: int,
    on_reject: Callable[[RejectedRow], None] = lambda row: None,
    is_cancelled: Callable[[], bool] = lambda: False,
) -> FileCheck:
    """Check every row of a JSONL file. Memory stays flat.

    Raises:
        CheckCancelled: `is_cancelled` returned true.
        OSError: the file cannot be read.
    """
    digest = hashlib.sha256()
    rows = size = 0
    rejected: list[int] = []
    first: str | None = None

    def seen(chunk: bytes) -> None:
        nonlocal size
        size += len(chunk)
        digest.update(chunk)

    with open(path, "rb", opener=open_without_following) as file:
        for line in read_lines(file, max_line_bytes=max_line_bytes, seen=seen):
            if line.number % CHECK_EVERY_LINES == 0 and is_cancelled():
                raise CheckCancelled(f"the check of {path.name} was cancelled at line {line.number}")
            if line.is_blank:
                continue
            if reason := _why_bad(line, max_line_bytes):
                first = first or f"line {line.number}: {reason}"
                rejected.append(line.number)
                if len(rejected) > MAX_REJECTED_ROWS:
                    break  # memory must stay flat, and nobody wants such a file trained
                on_reject(RejectedRow(line.number, reason, line.content))
            else:
                rows += 1
    if is_cancelled():
        raise CheckCancelled(f"the check of {path.name} was cancelled at its end")
    return FileCheck(
        sha256=digest.hexdigest(),
        size_bytes=size,
        rows=rows,
        rejected_lines=tuple(rejected),
        first_rejection=first,
    )


def _why_bad(line: Line, max_line_bytes: int) -> str | None:
    if line.content is None:
        return f"the line has more than {max_line_bytes} bytes (data.max_line_bytes)"
    try:
        read_conversation(parse_row(line.content))
    except BadRow as error:
        return str(error)
    return None
