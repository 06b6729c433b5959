"""Files of the queue as text for people. What comes in is printable already."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from daemon.client.results import FinishedFile, QueuedFile

ROWS_SHOWN = 50
WIDEST_NAME = 60


def queued_lines(files: "Sequence[QueuedFile]", number: int) -> Iterator[str]:
    """Yield a table of files that wait or are processed.

    Args:
        number: how many there are; those that are not shown are counted.
    """
    if not files:
        yield "the queue is empty"
        return
    width = _name_width([file.name for file in files])
    yield f"{'FILE':{width}}  {'STATE':10}  {'PRIORITY':8}  {'ROWS':>10}  FORMAT"
    for file in files:
        rows = f"{file.rows:,}" if file.rows is not None else "-"
        place = f"{file.state:10}  {file.priority or '-':8}"
        yield f"{file.name:{width}}  {place}  {rows:>10}  {file.format or '-'}"
    yield from _more(number - len(files))


def finished_lines(files: "Sequence[FinishedFile]", number: int) -> Iterator[str]:
    """Yield a table of files that failed or were skipped, with their reasons.

    Args:
        number: how many there are; those that are not shown are counted.
    """
    if not files:
        yield "there are none"
        return
    width = _name_width([file.name for file in files])
    yield f"{'FILE':{width}}  {'STATE':7}  REASON"
    for file in files:
        yield f"{file.name:{width}}  {file.state:7}  {file.reason or '-'}"
    yield from _more(number - len(files))


def _more(number: int) -> Iterator[str]:
    if number:
        yield f"… and {number:,} more (--all shows them)"


def _name_width(names: Sequence[str]) -> int:
    return min(WIDEST_NAME, max(len("FILE"), *map(len, names)))
