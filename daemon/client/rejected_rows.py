"""Read the list of a file's rejected rows page by page."""

import json
from dataclasses import dataclass
from pathlib import Path

from trainer.protocol.files import UnreadableFile, open_regular
from trainer.protocol.text import printable

MOST_CHARACTERS = 4_000  # of a row that are shown; the list itself has more
MOST_LINE_BYTES = 16 << 20  # no line of such a list comes near


@dataclass(frozen=True, kw_only=True)
class RejectedLine:
    """A row that is not trained."""

    line: int
    """Counted from 1."""
    reason: str
    """Printable."""
    row: str
    """The beginning of its text, as it stands in the file; it may hold anything."""
    is_cut: bool


@dataclass(frozen=True, kw_only=True)
class RejectedPage:
    """Some of the rejected rows of a file."""

    rows: tuple[RejectedLine, ...]
    next: int | None
    """Where the next page begins; None if this is the last one."""


def read_rejected(path: Path, *, after: int, limit: int) -> RejectedPage:
    """Return some of the rows of a list.

    Args:
        after: `next` of the page before; 0 for the first page.
    Raises:
        UnreadableFile: it is none of ours, or `after` is none of its pages.
    """
    rows: list[RejectedLine] = []
    try:
        with open_regular(path) as file:
            file.seek(after)
            while len(rows) < limit and (line := file.readline(MOST_LINE_BYTES)):
                rows.append(_rejected(line))
            position = file.tell()
            is_last = not file.read(1)
    except FileNotFoundError:
        return RejectedPage(rows=(), next=None)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UnreadableFile(f"{printable(str(path))} is no list of rejected rows: {error}") from error
    return RejectedPage(rows=tuple(rows), next=None if is_last else position)


def _rejected(line: bytes) -> RejectedLine:
    found = json.loads(line)
    text = str(found["row"]).encode("utf-8", "backslashreplace").decode("utf-8")
    return RejectedLine(
        line=int(found["line"]),
        reason=printable(str(found["reason"])),
        row=text[:MOST_CHARACTERS],
        is_cut=len(text) > MOST_CHARACTERS,
    )
