"""Read Parquet and Arrow through pyarrow, batch by batch. pyarrow is optional, and imported here only."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, time
from typing import Any, BinaryIO

from daemon.data_tools.tables.numbered_rows import BadTable, TableRow, to_line
from trainer.data.reading.file_kinds import FileKind
from trainer.protocol.text import printable

ROWS_AT_ONCE = 1024
NAME_SHOWN = 40


def rows_of_columns(file: BinaryIO, kind: FileKind, *, start: int = 0) -> Iterator[TableRow]:
    """Yield the rows of a file.

    Args:
        start: rows that other files of the same data set had before.
    Raises:
        BadTable: pyarrow is missing, the file is damaged, or a row holds what JSON has no word for.
    """
    number = start
    with _naming_damage(pyarrow := _pyarrow()):
        for batch in _batches(pyarrow, file, kind):
            _refuse_equal_names(batch.schema.names)
            for row in batch.to_pylist():
                number += 1
                yield TableRow(number, _line(number, row))


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

        yield from ParquetFile(file).iter_batches(batch_size=ROWS_AT_ONCE)
    elif kind is FileKind.ARROW_FILE:
        reader = pyarrow.ipc.open_file(file)
        for place in range(reader.num_record_batches):
            yield from _slices(reader.get_batch(place))
    else:
        for batch in pyarrow.ipc.open_stream(file):
            yield from _slices(batch)


def _slices(batch: Any) -> Iterator[Any]:
    """Yield a batch in parts: as Python's objects it takes many times its size."""
    for first in range(0, batch.num_rows, ROWS_AT_ONCE):
        yield batch.slice(first, ROWS_AT_ONCE)


@contextmanager
def _naming_damage(pyarrow: Any) -> Iterator[None]:
    try:
        yield
    except (pyarrow.ArrowException, OSError) as error:
        shown = printable(str(error), limit=200)
        raise BadTable(f"it is damaged: {shown}; expected a whole file; copy it again") from error


def _refuse_equal_names(names: list[str]) -> None:
    if twice := [name for name in names if names.count(name) > 1]:
        shown = printable(twice[0], limit=NAME_SHOWN)
        raise BadTable(f'two columns are named "{shown}"; expected each name once')


def _line(number: int, row: dict[str, Any]) -> bytes:
    try:
        return to_line(row)
    except (TypeError, ValueError):
        pass  # a date is text in JSON, and with anything else the message names the column
    return to_line({name: _as_json(number, name, value) for name, value in row.items()})


def _as_json(number: int, name: str, value: object) -> object:
    if isinstance(value, date | time):
        return value.isoformat()
    try:
        to_line({name: value})
    except (TypeError, ValueError) as error:
        raise BadTable(
            f'row {number}: column "{printable(name, limit=NAME_SHOWN)}" holds {_kind(value)}; expected '
            "text, finite numbers, lists and objects; leave the column out"
        ) from error
    return value


def _kind(value: object) -> str:
    return (
        "NaN or an infinite number" if isinstance(value, float) else f"a value of type {type(value).__name__}"
    )
