"""Read Parquet and Arrow through pyarrow, batch by batch. pyarrow is optional, and imported here only."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, time
from typing import Any, BinaryIO

from daemon.data_tools.tables.numbered_rows import BadTable, TableRow, to_line
from daemon.data_tools.tables.weight import BYTES_OF_A_VALUE, weight
from trainer.data.reading.file_kinds import FileKind
from trainer.protocol.text import printable

ROWS_AT_ONCE = 1024
NESTED_ROWS_AT_ONCE = 64  # of Parquet: what repeats itself in them is unpacked when they are read
BYTES_AT_ONCE = 32 << 20  # of Python's objects
TEXTS = ("STRING", "JSON", "ENUM", "NONE")  # as Parquet calls the types of what can be a dictionary's texts
NAME_SHOWN = 40

Convert = Callable[[Any], Any]


def rows_of_columns(
    file: BinaryIO, kind: FileKind, *, max_row_bytes: int, start: int = 0
) -> Iterator[TableRow]:
    """Yield the rows of a file.

    Args:
        max_row_bytes: a row that surely has more is refused before it is made.
        start: rows that other files of the same data set had before.
    Raises:
        BadTable: pyarrow is missing, the file is damaged, or a row holds what JSON has no word for.
    """
    number = start
    with _naming_damage(pyarrow := _pyarrow()):
        for batch in _batches(pyarrow, file, kind):
            _refuse_equal_names(batch.schema.names)
            converters = {field.name: _converter(pyarrow.types, field.type) for field in batch.schema}
            others = {name: convert for name, convert in converters.items() if convert is not _as_it_is}
            for part in _light_parts(pyarrow, batch, after=number, max_row_bytes=max_row_bytes):
                for row in _rows_of(part, after=number):
                    number += 1
                    converted = {name: _unless_null(convert, row[name]) for name, convert in others.items()}
                    yield TableRow(number, _line(number, row | converted))


def _pyarrow() -> Any:
    try:
        import pyarrow
        import pyarrow.ipc
    except ImportError as error:
        raise BadTable(
            "Parquet and Arrow need the library pyarrow, which is not installed; install the extra `tables`: "
            "scripts/setup tables"
        ) from error
    return pyarrow


def _batches(pyarrow: Any, file: BinaryIO, kind: FileKind) -> Iterator[Any]:
    file.seek(0)
    if kind is FileKind.PARQUET:
        from pyarrow.parquet import ParquetFile

        columns = ParquetFile(file).schema
        table = ParquetFile(file, read_dictionary=_flat_texts(columns))
        yield from table.iter_batches(ROWS_AT_ONCE if _is_flat(columns) else NESTED_ROWS_AT_ONCE)
    elif kind is FileKind.ARROW_FILE:
        reader = pyarrow.ipc.open_file(file)
        for place in range(reader.num_record_batches):
            yield from _slices(reader.get_batch(place))
    else:
        for batch in pyarrow.ipc.open_stream(file):
            yield from _slices(batch)


def _flat_texts(columns: Any) -> list[str]:
    """Return which columns are read as dictionaries, so that a text that is repeated takes memory once.

    Not those inside of lists and objects: pyarrow does not read such across two groups of rows.
    """
    return [
        column.path
        for column in map(columns.column, range(len(columns)))
        if column.physical_type == "BYTE_ARRAY"
        and column.logical_type.type in TEXTS
        and column.path == column.name
    ]


def _is_flat(columns: Any) -> bool:
    return all(column.path == column.name for column in map(columns.column, range(len(columns))))


def _slices(batch: Any) -> Iterator[Any]:
    """Yield a batch in parts: as Python's objects it takes many times its size."""
    batch.validate(full=True)  # a damaged one would end the process
    for first in range(0, batch.num_rows, ROWS_AT_ONCE):
        yield batch.slice(first, ROWS_AT_ONCE)


def _light_parts(pyarrow: Any, batch: Any, *, after: int, max_row_bytes: int) -> Iterator[Any]:
    """Yield a batch in parts whose rows fit into memory together as Python's objects.

    Raises:
        BadTable: a single row is far too long.
    """
    weight_bytes = sum(weight(pyarrow, column) for column in batch.columns)
    if batch.num_rows <= 1 and weight_bytes > BYTES_OF_A_VALUE * max_row_bytes:
        raise BadTable(
            f"row {after + 1} has more than {max_row_bytes} bytes (data.max_line_bytes); "
            "shorten it, or leave it out"
        )
    if batch.num_rows <= 1 or weight_bytes <= BYTES_AT_ONCE:
        yield batch
        return
    half = batch.num_rows // 2
    yield from _light_parts(pyarrow, batch.slice(0, half), after=after, max_row_bytes=max_row_bytes)
    yield from _light_parts(pyarrow, batch.slice(half), after=after + half, max_row_bytes=max_row_bytes)


@contextmanager
def _naming_damage(pyarrow: Any) -> Iterator[None]:
    try:
        yield
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError, MemoryError) as error:
        shown = printable(str(error), limit=200)
        raise BadTable(f"it is damaged: {shown}; expected a whole file; copy it again") from error


def _rows_of(batch: Any, *, after: int) -> Any:
    """Return the rows of a batch, or say which column cannot be read, such as dates beyond all calendars."""
    try:
        return batch.to_pylist()
    except (ValueError, OverflowError):
        pass
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            column.to_pylist()
        except (ValueError, OverflowError) as error:
            shown = printable(str(error), limit=200)
            raise BadTable(
                f'rows {after + 1} to {after + batch.num_rows}: column "{printable(name, limit=NAME_SHOWN)}" '
                f"cannot be read: {shown}; leave the column out"
            ) from error
    raise BadTable(f"rows {after + 1} to {after + batch.num_rows} cannot be read; write the file again")


def _refuse_equal_names(names: list[str]) -> None:
    if twice := [name for name in names if names.count(name) > 1]:
        shown = printable(twice[0], limit=NAME_SHOWN)
        raise BadTable(f'two columns are named "{shown}"; expected each name once')


def _converter(types: Any, type: Any) -> Convert:
    """Return what makes JSON of the values of a type: dates become text, maps objects.

    A null inside of an object is left out. It says no more than that the object lacks a key which another one
    of the column has.
    """
    if types.is_dictionary(type):
        return _converter(types, type.value_type)
    if types.is_temporal(type):
        return lambda value: value.isoformat() if isinstance(value, date | time) else value
    if types.is_map(type):
        convert = _converter(types, type.item_type)
        return lambda value: {str(key): _unless_null(convert, inner) for key, inner in value}
    if types.is_struct(type):
        fields = [type.field(place) for place in range(type.num_fields)]
        return _of_objects({field.name: _converter(types, field.type) for field in fields})
    if types.is_nested(type) and type.num_fields == 1:
        convert = _converter(types, type.field(0).type)
        return _as_it_is if convert is _as_it_is else _of_lists(convert)
    return _as_it_is


def _as_it_is(value: Any) -> Any:
    return value


def _unless_null(convert: Convert, value: Any) -> Any:
    return None if value is None else convert(value)


def _of_lists(convert: Convert) -> Convert:
    return lambda value: [_unless_null(convert, inner) for inner in value]


def _of_objects(converters: dict[str, Convert]) -> Convert:
    return lambda value: {key: converters[key](inner) for key, inner in value.items() if inner is not None}


def _line(number: int, row: dict[str, Any]) -> bytes:
    try:
        return to_line(row)
    except (TypeError, ValueError) as error:
        name, what = next((name, what) for name, value in row.items() if (what := _unwritable(value)))
        raise BadTable(
            f'row {number}: column "{printable(name, limit=NAME_SHOWN)}" holds {what}; expected text, '
            "finite numbers, lists and objects; leave the column out"
        ) from error


def _unwritable(value: Any) -> str:
    """Say what in a value JSON has no word for; nothing if it has words for all."""
    match value:
        case dict():
            return next(filter(None, map(_unwritable, value.values())), "")
        case list():
            return next(filter(None, map(_unwritable, value)), "")
        case float():
            return "" if math.isfinite(value) else "NaN or an infinite number"
        case None | str() | int():
            return ""
        case _:
            return f"a value of type {type(value).__name__}"
