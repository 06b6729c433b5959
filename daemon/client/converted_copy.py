"""Convert a table to JSON Lines under a hidden name in the inbox, from where it can appear whole."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from daemon.client.errors import NotATrainingFile, raising
from daemon.files.names import TRAINING_SUFFIXES, is_temporary, is_training_file
from trainer.protocol.text import printable

if TYPE_CHECKING:
    from trainer.config.schema import DataSettings

CONVERTED_SUFFIXES = (".csv", ".tsv", ".json", ".ndjson", ".parquet", ".arrow")
SUFFIXES = ", ".join(TRAINING_SUFFIXES + CONVERTED_SUFFIXES[:-1]) + f" or {CONVERTED_SUFFIXES[-1]}"


@dataclass(frozen=True)
class HiddenFile:
    """A converted file that nobody looks at yet."""

    path: Path
    name: str
    """The one that it is to have."""
    rows: int


def is_table(file: Path) -> bool:
    """Whether a file holds a table by its content, or, where that leaves it open, by its name."""
    from daemon.data_tools.tables.numbered_rows import BadTable
    from daemon.data_tools.tables.opening import kind_of_file
    from trainer.data.reading.file_kinds import TABLES

    try:
        return kind_of_file(file) in TABLES
    except BadTable:  # damaged; whoever reads it says how
        return False


def is_converted(file: Path) -> bool:
    """Whether a file must be converted to be trained.

    Raises:
        NotATrainingFile: it can neither be trained nor converted.
    """
    from daemon.data_tools.tables.numbered_rows import BadTable
    from daemon.data_tools.tables.opening import kind_of_file
    from trainer.data.reading.file_kinds import TABLES, what_it_is
    from trainer.data.reading.named_kinds import suffix_of

    shown = printable(str(file))
    if file.is_dir():
        return True
    if not file.is_file():
        raise NotATrainingFile(f"{shown} is not a file; nothing was added")
    with raising(NotATrainingFile, BadTable):
        kind = kind_of_file(file)
    if kind and kind not in TABLES:
        raise NotATrainingFile(f"{shown}: {what_it_is(kind, str(file))}; nothing was added")
    is_known = is_training_file(file.name) or kind or suffix_of(file) in CONVERTED_SUFFIXES
    if is_temporary(file.name) or not is_known:
        raise NotATrainingFile(f"{shown}: expected a name that ends in {SUFFIXES}; nothing was added")
    return bool(kind) or not is_training_file(file.name)


@contextmanager
def converted(
    file: Path, folder: Path, settings: "DataSettings", *, number: int, undone: str = "nothing was added"
) -> Iterator[HiddenFile]:
    """Yield a file as JSON Lines in `folder`; what is not renamed inside the block is removed.

    Args:
        number: of its own among those that are converted together.
        undone: what an error says of what would have come of it.
    Raises:
        NotATrainingFile: it cannot be converted as a whole.
    """
    from daemon.data_tools.operations import copy_rows
    from daemon.data_tools.reading import BadInput, DataFile, LeftOut

    hidden = folder / f".converted-{os.getpid()}-{number}.part"
    left_out = LeftOut()
    try:
        with raising(NotATrainingFile, BadInput), hidden.open("wb") as out:
            rows = copy_rows(DataFile(file, settings), out, left_out)
            out.flush()
            os.fsync(out.fileno())
        _refuse_incomplete(file, rows, left_out.first, undone)
        yield HiddenFile(hidden, name_of_copy(file), rows)
    finally:
        hidden.unlink(missing_ok=True)


def _refuse_incomplete(file: Path, rows: int, left_out: list[str], undone: str) -> None:
    shown = printable(str(file))
    if left_out:
        raise NotATrainingFile(
            f"{left_out[0]}; {undone}; correct it, or leave such rows out: "
            f"training_data convert {shown} NEW.jsonl"
        )
    if not rows:
        raise NotATrainingFile(f"{shown} has no rows; expected at least one; {undone}")


def refuse_untrainable(file: Path, settings: "DataSettings") -> None:
    """Refuse a table of which no row can be trained, such as for its columns; the daemon would do so, too.

    Raises:
        NotATrainingFile: none can.
    """
    from daemon.data_tools.reading import BadInput, DataFile, LeftOut

    left_out = LeftOut()
    with raising(NotATrainingFile, BadInput):
        first = next(DataFile(file, settings).rows(left_out), None)
    if first is None:
        others = "; no other row can be trained either" if left_out.count > 1 else ""
        raise NotATrainingFile(f"{left_out.first[0]}{others}; nothing was added")


def name_of_copy(file: Path) -> str:
    """Return the name of the copy: `data.jsonl` for `data.csv` and for `data.csv.gz`."""
    from trainer.data.reading.named_kinds import without_packed_suffix

    inner = without_packed_suffix(file)
    has_known_suffix = not file.is_dir() and inner.suffix.lower() in (".jsonl", *CONVERTED_SUFFIXES)
    return f"{inner.stem if has_known_suffix else file.name}.jsonl"
