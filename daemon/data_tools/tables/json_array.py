"""Read a JSON array of objects, alone or inside of an object, on one line or on many, element by element.

Flat in memory.
"""

import codecs
import io
import json
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from typing import Any, NamedTuple

from daemon.data_tools.tables.numbered_rows import BadTable, TableRow, not_utf8, to_line
from trainer.data.reading.rows import DECODER, BadRow
from trainer.data.reading.viewer_page import ROWS, cells_cut_off, is_about_column, is_wrapped_row
from trainer.protocol.json_faults import fault_of
from trainer.protocol.text import printable, shell_word

CHUNK_BYTES = 1 << 17
BLANKS = " \t\r\n"
LONGEST_SIGN = 16  # more than a word of JSON or an escape has
FAULT_SHOWN = 20
SCANNER = json.JSONDecoder()  # takes what rows must not hold, too, to find where an element ends


def rows_of_array(text: io.BufferedReader, file: str, *, max_row_chars: int) -> Iterator[TableRow]:
    """Yield the elements of an array.

    An element that no row may be, such as one with NaN, is passed on as it stands: its reader says why.

    Args:
        file: where it is, as one would type it.
        max_row_chars: a longer element is refused.
    Raises:
        BadTable: it is not one array of objects, in UTF-8.
    """
    source = _Source(text, file)
    source.expect("[", "the beginning: expected [")
    for element in _elements(source, max_row_chars):
        yield element.row
    if sign := source.next_sign():
        raise BadTable(f"found {sign} after the end of the array; expected one array in a file")


def rows_of_object(text: io.BufferedReader, file: str, *, max_row_chars: int) -> Iterator[TableRow]:
    """Yield the elements of the one list of objects that an object holds; what stands beside it is left out.

    Of a page of the Hugging Face dataset viewer, which describes its columns in a list of objects, too, they
    are the rows without what the viewer puts around each.

    Args:
        file: where it is, as one would type it.
        max_row_chars: a longer element is refused, and so is a longer value beside the list.
    Raises:
        BadTable: it is not one object around one list of objects, in UTF-8.
    """
    source = _Source(text, file)
    source.expect("{", "the beginning: expected {")
    found: list[str] = []
    while (sign := source.next_sign()) != "}":
        if sign == ",":
            source.expect(",", "the object: expected a comma")
        key = source.value("a key of the object", max_row_chars)[0]
        source.expect(":", f"{printable(str(key))}: expected a colon after it")
        if source.next_sign() != "[":
            source.value(printable(str(key)), max_row_chars)
            continue
        source.expect("[", "a list: expected [")
        if source.next_sign() != "{":
            source.pass_over_list(printable(str(key)), max_row_chars)
            continue
        elements = _elements(source, max_row_chars)
        first = next(elements)
        if is_about_column(str(key), first.value):
            deque(elements, maxlen=0)
            continue
        found.append(str(key))
        _refuse_two(found, file)
        yield from _rows_of(str(key), chain([first], elements))
    source.expect("}", "the end: expected }")
    if sign := source.next_sign():
        raise BadTable(f"found {sign} after the end of the object; expected one object in a file")
    if not found:
        raise BadTable("it holds no list of objects; expected one")


def _refuse_two(keys: list[str], file: str) -> None:
    if len(keys) > 1:
        names = " and ".join(f'"{printable(key)}"' for key in keys)
        path = shell_word(f".[{json.dumps(keys[0])}][]")
        raise BadTable(
            f"it holds two lists of objects, {names}; take one of them: "
            f"jq -c {path} {shell_word(file)} > NAME.jsonl"
        )


class _Element(NamedTuple):
    """One element of a list of objects."""

    number: int
    value: Any
    """None if no row may be that."""
    raw: str

    @property
    def row(self) -> TableRow:
        if self.value is None:
            return TableRow(self.number, self.raw.translate(LINE_ENDS).encode() + b"\n")
        return TableRow(self.number, to_line(self.value))


def _rows_of(key: str, elements: Iterator[_Element]) -> Iterator[TableRow]:
    """Yield the rows of the list with this key. Whether a viewer wrapped them is told from the first."""
    is_wrapped: bool | None = None
    for element in elements:
        if is_wrapped is None and element.value is not None:
            is_wrapped = key == ROWS and is_wrapped_row(element.value)
        yield _unwrapped(element) if is_wrapped and element.value is not None else element.row


def _unwrapped(element: _Element) -> TableRow:
    """Return the row that the viewer wrapped."""
    if not is_wrapped_row(element.value):
        found = printable(", ".join(element.value))
        raise BadTable(
            f"element {element.number}: found the keys {found}; expected row_idx, row and truncated_cells, "
            "as the elements before it have"
        )
    row = TableRow(element.number, to_line(element.value["row"]))
    if cut_off := cells_cut_off(element.value):
        names = ", ".join(map(json.dumps, cut_off))
        fault = (
            f"the dataset viewer cut off {names} (truncated_cells); expected whole texts; take this row from "
            "a file of the data set, such as its Parquet files"
        )
        return replace(row, fault=fault)
    return row


def _elements(source: "_Source", max_row_chars: int) -> Iterator[_Element]:
    number = 0
    while (sign := source.next_sign()) != "]":
        number += 1
        if number > 1:
            source.expect(",", f"element {number}: expected a comma before it, or ] at the end")
            sign = source.next_sign()
        if sign != "{":
            raise BadTable(f"element {number}: found {sign or 'the end of the file'}; expected an object")
        yield _Element(number, *source.value(f"element {number}", max_row_chars))
    source.expect("]", "the end: expected ]")


class _Source:
    """The text that is not used yet, as far as it was read."""

    def __init__(self, text: io.BufferedReader, file: str) -> None:
        self._file = file
        self._text = text
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._ready = ""
        self._at = 0
        self._has_ended = False

    def next_sign(self) -> str:
        """Pass over white space, and return what follows without using it; nothing at the end."""
        while True:
            while self._at < len(self._ready) and self._ready[self._at] in BLANKS:
                self._at += 1
            if self._at < len(self._ready):
                return self._ready[self._at]
            if not self._read_more():
                return ""

    def expect(self, sign: str, what: str) -> None:
        """Use `sign`, which must follow."""
        if (found := self.next_sign()) != sign:
            raise BadTable(f"{what}; found {found or 'the end of the file'}")
        self._at += 1

    def pass_over_list(self, what: str, max_chars: int) -> None:
        """Use the rest of a list that has begun."""
        while (sign := self.next_sign()) != "]":
            if sign == ",":
                self.expect(",", what)
            else:
                self.value(what, max_chars)
        self.expect("]", what)

    def value(self, what: str, max_chars: int) -> tuple[Any, str]:
        """Use the value that follows, and return it, or None if no row may be that, and how it is written."""
        self.next_sign()
        while True:
            try:
                value, end = self._decoded()
            except RecursionError as error:
                raise BadTable(f"{what}: nested too deeply; expected a row") from error
            except json.JSONDecodeError as error:
                self._refuse_faulty(what, error)
                if len(self._ready) - self._at > max_chars:
                    raise BadTable(_too_long(what, max_chars)) from error
                self._read_more()
                continue
            except ValueError as error:  # an integer of more digits than Python converts
                raise BadTable(f"{what}: {error}; expected a JSON object") from error
            if end == len(self._ready) and self._read_more():
                continue  # the rest of a number may have been missing
            raw, self._at = self._ready[self._at : end], end
            if len(raw) > max_chars:
                raise BadTable(_too_long(what, max_chars))
            return value, raw

    def _decoded(self) -> tuple[Any, int]:
        """Return the next value, or None if no row may be that, and where it ends."""
        try:
            return DECODER.raw_decode(self._ready, self._at)
        except BadRow:
            return None, SCANNER.raw_decode(self._ready, self._at)[1]

    def _refuse_faulty(self, what: str, error: json.JSONDecodeError) -> None:
        """Refuse an element for good if it is not just that the rest of it has not been read yet."""
        is_cut = error.msg.startswith("Unterminated") or error.pos > len(self._ready) - LONGEST_SIGN
        if self._has_ended or not is_cut:
            found = printable(self._ready[error.pos : error.pos + FAULT_SHOWN]) or "the end of the file"
            raise BadTable(f"{what}: {fault_of(error)}; found {found}; correct it") from error

    def _read_more(self) -> bool:
        """Read as much again as is there already, so that a long element is not decoded for every chunk."""
        rest = self._ready[self._at :]
        chunk = self._text.read(max(CHUNK_BYTES, len(rest)))
        self._has_ended = not chunk
        try:
            self._ready = rest + self._decoder.decode(chunk, final=self._has_ended)
        except UnicodeDecodeError as error:
            raise BadTable(not_utf8(error, self._file)) from error
        self._at = 0
        return not self._has_ended


# Inside of texts JSON has none, so that nothing is lost
LINE_ENDS = str.maketrans("\r\n", "  ")


def _too_long(what: str, max_chars: int) -> str:
    return (
        f"{what} does not end within {max_chars} bytes (data.max_line_bytes); "
        "expected an array of objects, each with all its brackets"
    )
