"""Tell from a file's first bytes what it is when it is not JSON Lines. Pure; never looks at a name.

Knows no formats of rows. What it does not recognise is taken for JSON Lines, and judged line by line.
"""

import csv
import io
import json
import re
from collections.abc import Sequence
from enum import Enum
from itertools import islice

from trainer.data.reading.object_around_rows import (
    PARTS_OF_A_CONVERSATION,
    first_key_of_list,
    is_object_around_rows,
)
from trainer.protocol.text import shell_word

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
BYTES_LOOKED_AT = 1 << 16
BYTES_OF_ENCODING = 64  # to tell the encoding; a multiple of what a character has in any
LONGEST_COLUMN_NAME = 60
COLUMN_NAME = re.compile(r"[^\W\d][\w .-]*")
INDEX_COLUMN = "Unnamed: 0"  # as pandas calls the column without a name that it writes first
HTML_START = re.compile(r"<(!doctype html|html)\b", re.IGNORECASE)
SEPARATOR_LINE = re.compile(r"sep=(.)\r?\n")  # what Excel writes above the header to say what separates cells


class FileKind(Enum):
    """What a file is, in words for people."""

    CSV = "a table of comma-separated values (CSV)"
    SEMICOLONS = "a table of values separated by semicolons (CSV)"
    TSV = "a table of tab-separated values (TSV)"
    JSON_ARRAY = "one JSON array"
    JSON_OBJECT = "one JSON object around a list of rows"
    PARQUET = "a Parquet file"
    ARROW_FILE = "an Arrow file"
    ARROW_STREAM = "an Arrow stream, as the library datasets saves it"
    SQLITE = "an SQLite database"
    DOCUMENT = "a text document (Word or OpenDocument)"
    ZIP = "a ZIP archive or an Excel file"
    TAR = "a tar archive"
    XZ = "an xz archive"
    BZIP2 = "a bzip2 archive"
    PACKED_TWICE = "an archive inside an archive"
    LFS_POINTER = "a pointer of Git LFS, which only stands for the file"
    HTML = "a web page (HTML)"


DELIMITED = {",": FileKind.CSV, ";": FileKind.SEMICOLONS, "\t": FileKind.TSV}
"""What a table is whose cells are separated by this."""
TABLES = frozenset(
    {
        *(*DELIMITED.values(), FileKind.JSON_ARRAY, FileKind.JSON_OBJECT),
        *(FileKind.PARQUET, FileKind.ARROW_FILE, FileKind.ARROW_STREAM),
    }
)
"""What can be converted to JSON Lines."""
COLUMNAR = frozenset({FileKind.PARQUET, FileKind.ARROW_FILE, FileKind.ARROW_STREAM})

MAGIC: dict[bytes, FileKind] = {
    b"PAR1": FileKind.PARQUET,
    b"ARROW1\x00\x00": FileKind.ARROW_FILE,
    b"SQLite format 3\x00": FileKind.SQLITE,
    b"PK\x03\x04": FileKind.ZIP,
    b"PK\x05\x06": FileKind.ZIP,  # an empty one
    b"\xfd7zXZ\x00": FileKind.XZ,
    b"BZh": FileKind.BZIP2,
    b"\x1f\x8b": FileKind.PACKED_TWICE,  # whoever looks has already unpacked it once
    b"\x28\xb5\x2f\xfd": FileKind.PACKED_TWICE,
    b"version https://git-lfs.github.com/spec/": FileKind.LFS_POINTER,
}
# Its parts have headers with their names; what is not among the first ones is known as an archive
DOCUMENT_IN_ZIP = re.compile(
    rb"PK\x03\x04.{26}(?:word/|mimetypeapplication/vnd\.oasis\.opendocument\.text)", re.DOTALL
)
TAR_MAGIC_AT = 257
ARROW_STREAM_MARK = b"\xff\xff\xff\xff"  # then the length of the schema
MAX_ARROW_SCHEMA_BYTES = 1 << 26

WAYS_OUT = {
    FileKind.SQLITE: "databases are not converted; export the table that you mean: "
    "sqlite3 -header -csv {file} 'SELECT * FROM NAME' > NAME.csv",
    FileKind.DOCUMENT: "write the text of {file} into a table, a row for each example, and save that as CSV; "
    "docs/data/formats.md shows the columns",
    FileKind.ZIP: "unpack it: unzip {file}; if it is an Excel file, save its table as CSV",
    FileKind.TAR: "unpack it: tar -xf {file}",
    FileKind.XZ: "unpack it: xz -dc {file} > NAME.jsonl",
    FileKind.BZIP2: "unpack it: bzip2 -dc {file} > NAME.jsonl",
    FileKind.PACKED_TWICE: "unpack {file} once",
    FileKind.LFS_POINTER: "fetch the file itself where it was copied from: git lfs pull --include {name}; "
    "then put it in the place of {file}",
    FileKind.HTML: "download the file itself, not the page about it, and replace {file}",
}


def what_it_is(kind: FileKind, file: str, *, base: str | None = None) -> str:
    """Say what a file is, and the command that makes JSON Lines of it.

    Args:
        file: where it is, as one would type it.
        base: the working directory, if the command is to be typed anywhere; None if there.
    """
    shown, name = shell_word(file), shell_word(file.rpartition("/")[2])
    if kind in WAYS_OUT:
        way_out = WAYS_OUT[kind].format(file=shown, name=name)
    else:
        where = f" --base-dir {shell_word(base)}" if base else ""
        way_out = f"convert and add it: training_queue add {shown}{where}"
    return f"it is {kind.value}, not JSON Lines; {way_out}"


def other_encoding_of(start: bytes) -> str | None:
    """Return the encoding of a text with the mark of another one than UTF-8, or a text like JSON in it."""
    start = start[:BYTES_OF_ENCODING]
    encoding = json.detect_encoding(start)
    if encoding.startswith("utf-8"):
        return None
    is_marked = encoding in ("utf-16", "utf-32")
    if not is_marked and not start.decode(encoding, "ignore").lstrip().startswith(("{", "[")):
        return None
    return encoding.upper()


def kind_of(start: bytes) -> FileKind | None:
    """Return what a file is that begins like this, or None if it may be JSON Lines.

    Args:
        start: of its unpacked content; up to BYTES_LOOKED_AT are looked at.
    """
    start = start[:BYTES_LOOKED_AT]
    return _binary_kind(start) or _text_kind(start)


def _binary_kind(start: bytes) -> FileKind | None:
    for magic, kind in MAGIC.items():
        if start.startswith(magic):
            return FileKind.DOCUMENT if DOCUMENT_IN_ZIP.search(start) else kind
    if start[TAR_MAGIC_AT:].startswith(b"ustar"):
        return FileKind.TAR
    schema_bytes = int.from_bytes(start[4:8], "little")
    if start.startswith(ARROW_STREAM_MARK) and 0 < schema_bytes < MAX_ARROW_SCHEMA_BYTES:
        return FileKind.ARROW_STREAM
    return None


def begins_an_object(start: bytes) -> bool:
    """Return whether a text begins with `{`, as JSON Lines do and the header of no table does."""
    return _text_of(start[:BYTES_LOOKED_AT]).startswith("{")


def _text_of(start: bytes) -> str:
    # What is cut off at the end may be a part of a character
    return start.removeprefix(BYTE_ORDER_MARK).decode("utf-8", "ignore").lstrip()


def _text_kind(start: bytes) -> FileKind | None:
    text = _text_of(start)
    if text.startswith("["):
        return FileKind.JSON_ARRAY if _is_array_of_rows(text) else None
    if text.startswith("{"):
        return FileKind.JSON_OBJECT if is_object_around_rows(text) else None
    if separator := SEPARATOR_LINE.match(text):
        return DELIMITED.get(separator[1], FileKind.CSV)
    if HTML_START.match(text):
        return FileKind.HTML
    delimiter = delimiter_of(text)
    if not _is_table(text, delimiter):
        return None
    return DELIMITED[delimiter]


def _is_array_of_rows(text: str) -> bool:
    """Whether a text that begins with `[` is an array of rows, and not rows that are lists themselves."""
    if not text[1:].lstrip().startswith("{"):
        return False
    if first_key_of_list(text) in PARTS_OF_A_CONVERSATION:
        return False
    try:
        _, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return True  # it goes on after what was looked at, or is faulty somewhere, as arrays are
    rest = text[end:].lstrip(" \t\r")
    return not (rest.startswith("\n") and rest.strip())


def delimiter_of(text: str) -> str:
    """Return what separates the cells of a table: what its header has most of, by default commas."""
    header = re.sub('"[^"]*"', "", text.split("\n", 1)[0])
    return max(DELIMITED, key=header.count)


def _is_table(text: str, delimiter: str) -> bool:
    """Whether a text has a header of names, and then a row of as many cells."""
    try:
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        first = list(islice((row for row in rows if row), 2))
    except csv.Error:
        return False
    if len(first) < 2 or not _are_names(first[0]):
        return False
    return len(first[0]) == len(first[1]) and not first[1][0].lstrip().startswith("{")


def _are_names(header: Sequence[str]) -> bool:
    """Whether these may be names of columns, and not the parts of a sentence."""
    names = header[1:] if header[0] in ("", INDEX_COLUMN) else header
    return (
        len(header) > 1
        and len(set(header)) == len(header)
        and all(len(name) <= LONGEST_COLUMN_NAME and COLUMN_NAME.fullmatch(name) for name in names)
    )
