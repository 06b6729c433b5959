"""Read a data file row by row, as training would, and a table as if it were one.

Memory stays flat, whatever the file's size.
"""

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from daemon.data_tools.tables.dataset_folder import arrow_files
from daemon.data_tools.tables.numbered_rows import BadTable, iconv
from daemon.data_tools.tables.opening import rows_of_table
from daemon.data_tools.tables.size_limit import SizeLimit
from trainer.data.conversation import Conversation
from trainer.data.formats import read_row
from trainer.data.reading.file_kinds import BYTES_LOOKED_AT, other_encoding_of
from trainer.data.reading.named_kinds import named_kind_of
from trainer.data.reading.rows import (
    BYTE_ORDER_MARK,
    BadRow,
    Line,
    content_of,
    open_regular,
    parse_row,
    read_lines,
)
from trainer.data.reading.unpacking import BadArchive, text_of
from trainer.protocol.text import printable

if TYPE_CHECKING:
    from trainer.config.schema import DataSettings

LEFT_OUT_SHOWN = 20


class BadInput(ValueError):
    """A tool cannot work with this file; the message says why."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row that can be trained."""

    line: int
    """Counted from 1."""
    content: bytes
    """The line as it stands in the file, with a line end."""
    format: str
    keys: tuple[str, ...]
    """At its top, without those whose value is null."""
    conversation: Conversation


@dataclass
class LeftOut:
    """Rows that a tool cannot use: all are counted, the first are named."""

    count: int = 0
    first: list[str] = field(default_factory=list)
    """`chat.jsonl:17: reason`, printable."""

    def add(self, place: str, reason: str) -> None:
        """Note one."""
        self.count += 1
        if len(self.first) < LEFT_OUT_SHOWN:
            self.first.append(f"{place}: {printable(reason)}")


class DataFile:
    """One file that rows are read from, perhaps several times.

    Args:
        advance: called with the number of bytes that were read since the last call.
    Raises:
        BadInput: it is not a file that can hold rows.
    """

    def __init__(
        self,
        path: Path,
        settings: "DataSettings",
        *,
        advance: Callable[[int], object] = lambda num_bytes: None,
    ) -> None:
        self.name = printable(path.name)
        self.path = _resolved(path, self.name)  # a link of one's own is as good as a file
        self._settings = settings
        self._advance = advance
        self.fields = settings.fields
        self._parts = _parts(self.path, self.name)
        found = [_status(part, self.name) for part in self._parts]
        self.size_bytes = sum(part.st_size for part in found)
        self._stamps = [_stamp(part) for part in found]

    def rows(self, left_out: LeftOut) -> Iterator[Row]:
        """Yield the rows that can be trained; the others go to `left_out`.

        Raises:
            BadInput: somebody changes the file meanwhile.
        """
        for line in self.lines():
            try:
                yield self._row(line)
            except BadRow as error:
                left_out.add(self.place(line.number), str(error))

    def lines(self) -> Iterator[Line]:
        """Yield the lines that are not blank.

        Raises:
            BadInput: somebody changes the file meanwhile.
        """
        number = 0
        size = SizeLimit(max_bytes=self._settings.max_unpacked_bytes, file_bytes=self.size_bytes)
        for part, stamp in zip(self._parts, self._stamps, strict=True):
            with open_regular(part) as file:
                for line in self._lines_of(part, file, size, after=number):
                    yield line
                    number = line.number
                if _stamp(os.fstat(file.fileno())) != stamp:
                    raise BadInput(f"{self.name} was changed while it was being read; try again")

    def object_on(self, line: Line) -> bytes:
        """Return a line that holds an object, to be written among others.

        Raises:
            BadRow: it holds something else.
        """
        content = content_of(line, max_line_bytes=self._settings.max_line_bytes)
        if not isinstance(parse_row(content), dict):
            raise BadRow('found no object; expected a row such as {"prompt": …, "completion": …}')
        return as_line(content)

    def place(self, line: int) -> str:
        """Return how an error names a line."""
        return f"{self.name}:{line}"

    def row_at(self, number: int) -> Row:
        """Return the row on line `number`.

        Raises:
            BadInput: there is no such line, or it cannot be trained.
        """
        for line in self.lines():
            if line.number == number:
                try:
                    return self._row(line)
                except BadRow as error:
                    raise BadInput(f"{self.place(number)}: {printable(str(error))}") from error
        raise BadInput(f"{self.name} has no row on line {number}; lines are counted from 1, as in an editor")

    def _lines_of(self, path: Path, file: BinaryIO, size: SizeLimit, *, after: int) -> Iterator[Line]:
        limit = self._settings.max_line_bytes
        with self._naming():
            text = self._text_of(file)
            start = text.peek(BYTES_LOOKED_AT)
            if kind := named_kind_of(start, path):
                rows = rows_of_table(
                    text, file, kind, path, fields=self.fields, max_row_bytes=limit, start=after
                )
                with closing(rows):
                    for row in rows:
                        size.add(len(row.content))
                        content = row.content if len(row.content) <= limit and not row.fault else None
                        yield Line(row.number, 0, content, fault=row.fault)
                return
            if encoding := other_encoding_of(start):
                raise BadTable(
                    f"line 1: the file is {encoding}; expected UTF-8; {iconv(encoding, str(path))}"
                )
            for line in read_lines(text, max_line_bytes=limit):
                if not line.is_blank:
                    yield line

    def _text_of(self, file: BinaryIO) -> BufferedReader:
        return text_of(
            file,
            seen=lambda chunk: self._advance(len(chunk)),
            max_unpacked_bytes=self._settings.max_unpacked_bytes,
        )

    @contextmanager
    def _naming(self) -> Iterator[None]:
        try:
            yield
        except (BadArchive, BadTable) as error:
            raise BadInput(f"{self.name}: {error}") from error

    def _row(self, line: Line) -> Row:
        content = content_of(line, max_line_bytes=self._settings.max_line_bytes)
        value = parse_row(content)
        format, conversation = read_row(value, self._settings.fields)
        keys = tuple(key for key, found in value.items() if found is not None)
        return Row(line.number, as_line(content), format.name, keys, conversation)


def as_line(content: bytes) -> bytes:
    """Return a row as it stands in its file, to be written among others: with one line end and no mark."""
    return content.removeprefix(BYTE_ORDER_MARK).rstrip(b"\r\n") + b"\n"


def _resolved(path: Path, name: str) -> Path:
    try:
        return path.resolve()
    except RuntimeError as error:  # so Python 3.11 and 3.12 say it
        raise BadInput(f"{name} is a link in a circle; expected a file") from error


def _parts(path: Path, name: str) -> list[Path]:
    """Return the files that rows are read from."""
    if not path.is_dir():
        return [path]
    try:
        return arrow_files(path)
    except BadTable as error:
        raise BadInput(f"{name}: {error}") from error


def _status(path: Path, name: str) -> os.stat_result:
    try:
        found = path.stat()
    except FileNotFoundError as error:
        raise BadInput(f"{name} is not a file") from error
    if not stat.S_ISREG(found.st_mode):
        raise BadInput(f"{name} is a folder, a pipe or a device; expected a file")
    return found


def _stamp(found: os.stat_result) -> tuple[int, int, int]:
    return found.st_ino, found.st_size, found.st_mtime_ns
