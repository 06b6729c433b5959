"""Say what is in a file of the inbox whose name says that it is not meant, and how it can be trained."""

import json
import os
from pathlib import Path

from daemon.files.names import TRAINING_SUFFIXES, is_training_file
from trainer.data.reading.file_kinds import (
    BYTE_ORDER_MARK,
    BYTES_LOOKED_AT,
    COLUMNAR,
    FileKind,
    kind_of,
    what_it_is,
)
from trainer.data.reading.named_kinds import (
    SUFFIXES,
    is_named_table,
    named_kind_of,
    suffix_of,
    without_packed_suffix,
)
from trainer.data.reading.rows import open_regular
from trainer.data.reading.unpacking import GZIP, BadArchive, is_packed, text_of
from trainer.protocol.text import printable, shell_word

SEPARATORS = (b",", b";", b"\t", b"|")
DATASET_NOTES = "state.json"  # beside the Arrow files of a folder that the library datasets has saved


def why_not_accepted(path: Path, base: Path) -> str | None:
    """Return why a file of the inbox is never accepted as it is; None if its name is one that is.

    Args:
        base: the working directory.
    """
    if is_training_file(path.name):
        return None
    expected = f"{', '.join(TRAINING_SUFFIXES[:-1])} or {TRAINING_SUFFIXES[-1]}"
    return hint_for(path, base) or f"it is not accepted; expected a name that ends in {expected}"


def hint_for(path: Path, base: Path) -> str | None:
    """Return a sentence on what is in a file, or None if nobody can tell.

    Args:
        base: the working directory; commands name it and the file, so that they can be typed anywhere.
    """
    try:
        start, packed_as = _start_of(path)
    except (OSError, BadArchive):
        return None
    place = str(path.relative_to(base))
    kind = kind_of(start) or (named_kind_of(start, path) if is_named_table(start, path) else None)
    if kind:
        return f"{printable(place)}: {what_it_is(kind, _to_add(path, kind), base=str(base))}"
    if not _begins_with_an_object(start):
        return _of_objects_over_lines(path, place, start) or _of_table_by_name(path, place, start, base)
    suffix = f".jsonl{packed_as}"
    # Without the last suffix alone: part.1.json and part.2.json must not become one file
    target = path.with_name(without_packed_suffix(path).stem + suffix)
    command = f"mv -n {shell_word(str(path))} {shell_word(str(target))}"
    return f"{printable(place)}: it looks like JSON Lines; rename it: {command}"


def _of_objects_over_lines(path: Path, place: str, start: bytes) -> str | None:
    """Say how JSON objects of several lines become rows, if that is what a file begins with."""
    first, _, rest = start.removeprefix(BYTE_ORDER_MARK).partition(b"\n")
    if first.strip() != b"{" or not rest.lstrip().startswith((b'"', b"}")):
        return None
    what = "it looks like JSON objects over several lines; write one on each line"
    return f"{printable(place)}: {what}: jq -c . {shell_word(str(path))} > NAME.jsonl"


def _of_table_by_name(path: Path, place: str, start: bytes, base: Path) -> str | None:
    """Say what tells the fault of a file that is named like a table, and whose rows are none of a table."""
    header = start.partition(b"\n")[0]
    if suffix_of(path) not in SUFFIXES or not any(separator in header for separator in SEPARATORS):
        return None
    command = f"training_queue add {shell_word(str(path))} --base-dir {shell_word(str(base))}"
    what = "it is named like a table, but its rows do not fit; to see where"
    return f"{printable(place)}: {what}: {command}"


def _start_of(path: Path) -> tuple[bytes, str]:
    """Return the first bytes of a file, unpacked, and the suffix of what it is packed with."""
    with open_regular(path) as file:
        if is_packed(file):
            packed_as = ".gz" if os.pread(file.fileno(), len(GZIP), 0) == GZIP else ".zst"
        else:
            packed_as = ""
        return text_of(file, seen=len).peek(BYTES_LOOKED_AT), packed_as


def _to_add(path: Path, kind: FileKind) -> str:
    """Return what to add: the whole of a folder that belongs together."""
    is_part = kind in COLUMNAR and path.with_name(DATASET_NOTES).is_file()
    return str(path.parent if is_part else path)


def _begins_with_an_object(start: bytes) -> bool:
    first, _, _ = start.removeprefix(BYTE_ORDER_MARK).partition(b"\n")
    try:
        return isinstance(json.loads(first), dict)
    except (ValueError, RecursionError):
        return False
