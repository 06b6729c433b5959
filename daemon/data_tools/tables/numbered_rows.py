"""What every reader of tables yields, and how a row becomes a line of JSON."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.protocol.text import printable, shell_word


class BadTable(ValueError):
    """A table cannot be read; the message says where and why."""


@dataclass(frozen=True, slots=True)
class TableRow:
    """One row as a line of JSON Lines."""

    number: int
    """Of its line in a text, or of the row itself; counted from 1."""
    content: bytes
    """With a line end."""
    fault: str = ""
    """Why it cannot be a row, where its reader knows; empty if nothing is known against it."""


def to_line(row: Mapping[str, Any]) -> bytes:
    """Return a row as a line.

    Raises:
        ValueError: it holds what JSON has no word for; the message says what.
    """
    text = json.dumps(row, ensure_ascii=False, allow_nan=False)
    try:
        return text.encode() + b"\n"
    except UnicodeEncodeError:  # half of a surrogate pair, which whoever reads the line will refuse
        return json.dumps(row).encode() + b"\n"


def not_utf8(error: UnicodeDecodeError, file: str) -> str:
    """Say which byte cannot be read, and what to do with the file."""
    found = f"found the byte {error.object[error.start]:#04x}"
    return f"{found}; expected UTF-8; {iconv('WINDOWS-1252', file)} (or whatever encoding it has)"


def iconv(encoding: str, file: str) -> str:
    """Say how a file becomes UTF-8.

    Args:
        file: where it is, as one would type it.
    """
    shown, suffix = shell_word(file), Path(file).suffix
    return f"convert it: iconv -f {encoding} -t UTF-8 {shown} > NAME{printable(suffix)}"
