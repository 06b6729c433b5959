"""Read CSV and TSV, quoted as Python's module csv does. Cells stay text, whatever they look like.

Flat in memory: a row that never ends, because a quote is missing, is refused while it is read.
"""

import csv
import io
import sys
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from daemon.data_tools.tables.numbered_rows import BadTable, TableRow, iconv, not_utf8, to_line
from trainer.data.reading.file_kinds import (
    BYTES_LOOKED_AT,
    INDEX_COLUMN,
    SEPARATOR_LINE,
    delimiter_of,
    other_encoding_of,
)
from trainer.data.reading.rows import BadRow, parse_row
from trainer.protocol.text import num_of, printable

NAME_SHOWN = 40
COLUMNS_SHOWN = 5
LONGEST_IN_QUOTES = 2  # times as long as without: inside of quotes each quote is doubled

# The module's own limit holds for the whole process, and is less than a cell may have. How much is read is
# limited below, for each table by itself
csv.field_size_limit(sys.maxsize)


def rows_of_delimited(
    text: io.BufferedReader,
    file: str,
    *,
    delimiter: str | None = None,
    json_columns: Collection[str] = (),
    max_cell_chars: int,
) -> Iterator[TableRow]:
    """Yield the rows below the header.

    Args:
        file: where it is, as one would type it.
        delimiter: what separates cells; None takes what the header has most of.
        json_columns: names of columns whose cells are JSON if they begin like a list.
        max_cell_chars: a longer cell is refused, and a row that is twice as long as it stands in the file.
    Raises:
        BadTable: it is not a table with a header, in UTF-8, whose rows all have as many cells.
    """
    start = text.peek(BYTES_LOOKED_AT)[:BYTES_LOOKED_AT]
    _refuse_other_encoding(start, file)
    beginning = start.decode("utf-8-sig", "ignore")
    separator = SEPARATOR_LINE.match(beginning)
    delimiter = separator[1] if separator else delimiter or delimiter_of(beginning)
    decoded = io.TextIOWrapper(text, encoding="utf-8-sig", newline="")
    lines = _LinesOfRows(decoded, max_cell_chars)
    table = csv.reader(lines, delimiter=delimiter, strict=True)
    try:
        filled = _filled(table, lines)
        if separator:
            next(filled, None)
        header = _header(next(filled, (1, [])))
        for number, cells in filled:
            _refuse_long(number, cells, max_cell_chars)
            yield TableRow(number, to_line(_row(number, header, cells, json_columns)))
    except csv.Error as error:
        raise BadTable(
            f"line {table.line_num}: {error}; expected cells as spreadsheets write them, with quotes doubled "
            "inside quotes"
        ) from error
    except UnicodeDecodeError as error:
        place = f"after line {table.line_num}: " if table.line_num else ""
        raise BadTable(f"{place}{not_utf8(error, file)}") from error
    finally:
        decoded.detach()  # it would close the file, which belongs to the caller


class _LinesOfRows:
    """The lines of a text, unless a row of many, or of one, is far too long.

    Args:
        max_cell_chars: that a cell may have.
    """

    def __init__(self, text: io.TextIOWrapper, max_cell_chars: int) -> None:
        self._text = text
        self._max_cell_chars = max_cell_chars
        self._number = 0
        self.begin_row()

    def begin_row(self) -> None:
        """Take the next line for the first of a row."""
        self._begins = self._number + 1
        self._chars_left = LONGEST_IN_QUOTES * self._max_cell_chars

    def __iter__(self) -> "_LinesOfRows":
        return self

    def __next__(self) -> str:
        line = self._text.readline(self._chars_left + 1)
        self._number += 1
        self._chars_left -= len(line)
        if self._chars_left < 0:
            max_chars = LONGEST_IN_QUOTES * self._max_cell_chars
            raise BadTable(
                f"line {self._begins}: the row does not end within {max_chars} characters "
                f"({LONGEST_IN_QUOTES} times data.max_line_bytes); expected a row that fits on a "
                "line of JSON; close the quotes that it opens, or shorten it"
            )
        if not line:
            raise StopIteration
        return line


def _filled(table: Any, lines: _LinesOfRows) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows that are not blank, each with the line on which it begins."""
    begins = table.line_num + 1
    for cells in table:
        lines.begin_row()
        if cells:
            yield begins, cells
        begins = table.line_num + 1


def _refuse_long(number: int, cells: Sequence[str], max_chars: int) -> None:
    for place, cell in enumerate(cells, start=1):
        if len(cell) > max_chars:
            raise BadTable(
                f"line {number}: column {place} has {len(cell)} characters; expected at most {max_chars} "
                "(data.max_line_bytes); shorten it, or close the quotes that it opens"
            )


def _refuse_other_encoding(start: bytes, file: str) -> None:
    if encoding := other_encoding_of(start):
        raise BadTable(f"line 1: the file is {encoding}; expected UTF-8; {iconv(encoding, file)}")


def _header(found: tuple[int, Sequence[str]]) -> list[str]:
    number, cells = found
    if not cells:
        raise BadTable("it is empty; expected a header with the names of the columns")
    names = [cell.strip() for cell in cells]
    names[0] = names[0] or INDEX_COLUMN
    if twice := [name for name, times in Counter(names).items() if name and times > 1]:
        shown = printable(twice[0], limit=NAME_SHOWN)
        raise BadTable(f'line {number}: two columns are named "{shown}"; expected each name once')
    return names


def _row(
    number: int, header: Sequence[str], cells: Sequence[str], json_columns: Collection[str]
) -> dict[str, Any]:
    if len(cells) != len(header):
        names = printable(", ".join(header[:COLUMNS_SHOWN])) + ", …" * (len(header) > COLUMNS_SHOWN)
        raise BadTable(
            f"line {number}: found {num_of(len(cells), 'cell')}; expected {len(header)} as in the header "
            f"({names}); put cells in quotes that hold separators or line ends"
        )
    row: dict[str, Any] = dict(zip(header, cells, strict=True))
    if "" in row:
        _refuse_nameless(number, header, cells)
        del row[""]
    for name in json_columns:
        if name in row and row[name].lstrip().startswith("["):
            row[name] = _parsed(number, name, row[name])
    return row


def _refuse_nameless(number: int, header: Sequence[str], cells: Sequence[str]) -> None:
    """Allow columns without a name only as long as they are empty, as spreadsheets leave them at the edge."""
    for place, (name, cell) in enumerate(zip(header, cells, strict=True), start=1):
        if cell and not name:
            shown = printable(cell, limit=NAME_SHOWN)
            raise BadTable(
                f'line {number}: column {place} holds "{shown}", but has no name in the header; expected one'
            )


def _parsed(number: int, name: str, cell: str) -> Any:
    try:
        return parse_row(cell.encode())
    except BadRow as error:
        what = str(error).partition("; expected")[0]
        raise BadTable(
            f'line {number}: column "{printable(name, limit=NAME_SHOWN)}" begins like a list, but is not '
            f'JSON: {what}; expected messages such as [{{"role": "user", "content": "Hello."}}, …]'
        ) from error
