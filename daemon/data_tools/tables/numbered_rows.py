"""What every reader of tables yields, and how a row becomes a line of JSON."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


class BadTable(ValueError):
    """A table cannot be read; the message says where and why."""


@dataclass(frozen=True, slots=True)
class TableRow:
    """One row as a line of JSON Lines."""

    number: int
    """Of its line in a text, or of the row itself; counted from 1."""
    content: bytes
    """With a line end."""


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
