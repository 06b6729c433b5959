"""Stream a JSONL file: lines with their offsets, and one row at a time.

Flat in memory, whatever the file's size. Lines end at `\\n` and nowhere else: Unicode knows more line ends,
and JSON strings may hold them.
"""

import hashlib
import json
import os
from array import array
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, Self

from trainer.protocol.text import printable

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class BadRow(ValueError):
    """A line that cannot be trained; the message says why."""


class FileChanged(ValueError):
    """The file is not the one that was checked."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line as it stands in the file."""

    number: int
    """Counted from 1, as editors do."""
    offset: int
    """Of its first byte."""
    content: bytes | None
    """Line end included; None when it is longer than the limit."""

    @property
    def is_blank(self) -> bool:
        return self.content is not None and not self.content.removeprefix(BYTE_ORDER_MARK).strip()


def read_lines(
    file: BinaryIO, *, max_line_bytes: int, seen: Callable[[bytes], object] = len
) -> Iterator[Line]:
    """Yield the lines of `file`, blank ones included.

    Args:
        max_line_bytes: a longer line is passed over and yielded without its content.
        seen: called with every byte that is read, such as a digest's `update`.
    """
    number = offset = 0
    while chunk := file.readline(max_line_bytes + 1):
        number += 1
        start = offset
        offset += len(chunk)
        seen(chunk)
        content: bytes | None = chunk
        while len(chunk) > max_line_bytes and not chunk.endswith(b"\n"):
            content = None
            chunk = file.readline(max_line_bytes + 1)
            offset += len(chunk)
            seen(chunk)
        yield Line(number, start, content)


def parse_row(content: bytes) -> Any:
    """Return the JSON value on one line.

    Stricter than `json.loads`: NaN and a key given twice are refused, because nobody can mean them.

    Raises:
        BadRow: it is not one JSON value in UTF-8.
    """
    try:
        # Without its line end, so that an error at the end of the row has the row's column
        text = content.removeprefix(BYTE_ORDER_MARK).rstrip(b"\r\n").decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadRow(f"byte {error.start + 1} is {content[error.start]:#04x}; expected UTF-8") from error
    try:
        return json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_unique_keys)
    except RecursionError as error:
        raise BadRow("nested too deeply; expected an object with messages") from error
    except json.JSONDecodeError as error:
        raise BadRow(f"column {error.colno}: {error.msg}; expected one JSON object") from error
    except BadRow:
        raise
    except ValueError as error:  # an integer of more digits than Python converts
        raise BadRow(f"{error}; expected one JSON object") from error


def _refuse_constant(name: str) -> NoReturn:
    raise BadRow(f"the number {name} is not JSON; expected a finite number or null")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) != len(pairs):
        twice = next(key for key, times in Counter(key for key, _ in pairs).items() if times > 1)
        raise BadRow(f'key "{printable(twice, limit=40)}" stands twice in one object; expected each key once')
    return row


class RowFile:
    """The trainable rows of one checked file, by position. Holds the file open, so it may be moved meanwhile.

    Memory: 16 bytes a row, 24 with hashes.

    Args:
        hashes: of each row's line, to be compared with each other only; empty where nobody asked for them.
    """

    def __init__(
        self, file: BinaryIO, offsets: "array[int]", numbers: "array[int]", hashes: "array[int]"
    ) -> None:
        self._file = file
        self._offsets = offsets
        self._numbers = numbers
        self.hashes = hashes
        self._stamp = _stamp(file)

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        sha256: str,
        rejected_lines: Collection[int] = (),
        max_line_bytes: int,
        must_hash: bool = False,
    ) -> Self:
        """Index a file in one pass.

        Args:
            sha256: of the content that was checked.
            rejected_lines: numbers of lines to leave out; blank lines are left out anyway.
            must_hash: hash each row's line, too.
        Raises:
            FileChanged: the content is another one by now.
            OSError: it cannot be read.
        """
        file = open(path, "rb", opener=open_without_following)  # noqa: SIM115 - stays open as long as the rows are needed
        try:
            digest = hashlib.sha256()
            rejected = frozenset(rejected_lines)
            offsets, numbers, hashes = array("Q"), array("Q"), array("q")
            for line in read_lines(file, max_line_bytes=max_line_bytes, seen=digest.update):
                if not line.is_blank and line.number not in rejected:
                    offsets.append(line.offset)
                    numbers.append(line.number)
                    if must_hash:
                        hashes.append(_hash(line))
            if digest.hexdigest() != sha256:
                raise FileChanged(
                    f"{path.name} has SHA-256 {digest.hexdigest()[:12]}…, but {sha256[:12]}… was checked; "
                    "it was changed after it was accepted, so drop it into inbox/ again"
                )
        except BaseException:
            file.close()
            raise
        return cls(file, offsets, numbers, hashes)

    def __len__(self) -> int:
        return len(self._offsets)

    def line_number(self, position: int) -> int:
        """Return where row `position` stands in the file, counted from 1."""
        return self._numbers[position]

    def read(self, position: int) -> Any:
        """Return the JSON value of row `position`, counted from 0.

        Raises:
            BadRow: the line is not what was checked, or somebody has written to the file since.
        """
        if _stamp(self._file) != self._stamp:
            raise BadRow("the file was changed while it was trained; drop it into inbox/ again")
        self._file.seek(self._offsets[position])
        return parse_row(self._file.readline())

    def close(self) -> None:
        """Let the file go."""
        self._file.close()


def _hash(line: Line) -> int:
    # Python's own: 64 bits, fast, and other ones in each process, which is no matter here
    return hash(line.number if line.content is None else line.content.rstrip(b"\r\n"))


def _stamp(file: BinaryIO) -> tuple[int, int]:
    found = os.fstat(file.fileno())
    return found.st_size, found.st_mtime_ns


def open_without_following(path: str, flags: int) -> int:
    # Non-blocking: opening a named pipe would wait for its writer
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
