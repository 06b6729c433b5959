"""Tell what a file is by its name where its content leaves it open: one column of texts may be anything."""

from pathlib import Path

from trainer.data.reading.file_kinds import (
    BYTE_ORDER_MARK,
    COLUMN_NAME,
    DELIMITED,
    LONGEST_COLUMN_NAME,
    FileKind,
    begins_an_object,
    kind_of,
)

SUFFIXES = {".csv": FileKind.CSV, ".tsv": FileKind.TSV}
PACKED = (".gz", ".zst")


def named_kind_of(start: bytes, path: Path) -> FileKind | None:
    """Return what a file is, or None if it may be JSON Lines.

    Args:
        start: of its unpacked content.
    """
    found = kind_of(start)
    named = SUFFIXES.get(suffix_of(path))
    if named is None or begins_an_object(start) or found not in (None, *DELIMITED.values()):
        return found
    return found if found and named is FileKind.CSV else named  # a CSV may have any separator


def is_named_table(start: bytes, path: Path) -> bool:
    """Whether a file may be a table of one column, which has a header of one name, and then a row."""
    if named_kind_of(start, path) is None:
        return False
    header, _, rest = start.removeprefix(BYTE_ORDER_MARK).partition(b"\n")
    name = header.decode("utf-8", "ignore").strip().strip('"')
    return bool(rest.strip()) and len(name) <= LONGEST_COLUMN_NAME and bool(COLUMN_NAME.fullmatch(name))


def suffix_of(path: Path) -> str:
    """Return the suffix of a name, in lower case, without that of what the file is packed with."""
    return without_packed_suffix(path).suffix.lower()


def without_packed_suffix(path: Path) -> Path:
    """Return the path that the unpacked file would have."""
    return path.with_suffix("") if path.suffix.lower() in PACKED else path
