"""Choose the reader for a file: by its content, and where that may be anything, by its name."""

import io
from collections.abc import Generator
from pathlib import Path
from typing import BinaryIO

from daemon.data_tools.tables.columnar import rows_of_columns
from daemon.data_tools.tables.delimited import rows_of_delimited
from daemon.data_tools.tables.json_array import rows_of_array, rows_of_object
from daemon.data_tools.tables.numbered_rows import BadTable, TableRow
from trainer.data.reading.file_kinds import (
    BYTES_LOOKED_AT,
    COLUMNAR,
    TABLES,
    FileKind,
    what_it_is,
)
from trainer.data.reading.named_kinds import named_kind_of
from trainer.data.reading.rows import open_regular
from trainer.data.reading.unpacking import BadArchive, is_packed, text_of
from trainer.protocol.row_fields import Fields
from trainer.protocol.text import printable

MESSAGES = ("messages", "conversations", "conversation")  # columns whose cells are lists of messages


def kind_of_file(path: Path) -> FileKind | None:
    """Return what a file is, or None if it may be JSON Lines.

    Raises:
        BadTable: it cannot be unpacked.
    """
    with open_regular(path.resolve()) as file:
        try:
            return named_kind_of(text_of(file, seen=len).peek(BYTES_LOOKED_AT), path)
        except BadArchive as error:
            raise BadTable(f"{printable(str(path))}: {error}") from error


def rows_of_table(
    text: io.BufferedReader,
    file: BinaryIO,
    kind: FileKind,
    path: Path,
    *,
    fields: Fields,
    max_row_bytes: int,
    start: int = 0,
) -> Generator[TableRow]:
    """Yield the rows of a table.

    Args:
        text: its unpacked content.
        file: the file itself.
        fields: other names of columns, as in `data.fields`.
        start: rows that other files of the same data set had before.
    Raises:
        BadTable: it cannot be read, or nobody converts what it is.
    """
    if kind not in TABLES:
        raise BadTable(what_it_is(kind, str(path)))
    if kind in COLUMNAR:
        if is_packed(file):
            raise BadTable(f"it is {kind.value} that is packed once more; unpack it first")
        yield from rows_of_columns(file, kind, max_row_bytes=max_row_bytes, start=start)
    elif kind is FileKind.JSON_ARRAY:
        yield from rows_of_array(text, str(path), max_row_chars=max_row_bytes)
    elif kind is FileKind.JSON_OBJECT:
        yield from rows_of_object(text, str(path), max_row_chars=max_row_bytes)
    else:
        yield from rows_of_delimited(
            text,
            str(path),
            delimiter="\t" if kind is FileKind.TSV else None,
            json_columns={fields.get(name, name) for name in MESSAGES},
            max_cell_chars=max_row_bytes,
        )
