"""Files of the queue as text for people. What comes in is printable already."""

from collections.abc import Iterator, Mapping, Sequence
from textwrap import wrap
from typing import TYPE_CHECKING

from trainer.protocol.places import Outcome
from trainer.protocol.text import num_of

if TYPE_CHECKING:
    from daemon.client.results import Cleared, FinishedFile, QueuedFile

ROWS_SHOWN = 50
WIDEST_NAME = 60
NARROWEST_NAME = 20
BESIDE_NAME = 54  # columns of the other facts, with the longest name of a format


def queued_lines(
    files: "Sequence[QueuedFile]", number: int, *, columns: int | None = None, is_daemon_gone: bool = False
) -> Iterator[str]:
    """Yield a table of files that wait or are processed.

    Args:
        number: how many there are; those that are not shown are counted.
        columns: of the terminal, if it is one; names are shortened to fit.
        is_daemon_gone: no daemon is running, so nothing is processed.
    """
    if not files:
        yield "the queue is empty"
        return
    width = _name_width([file.name for file in files], room=columns and columns - BESIDE_NAME)
    yield f"{padded('FILE', width)}  {'STATE':10}  {'PRIORITY':8}  {'ROWS':>10}  FORMAT"
    for file in files:
        rows = f"{file.rows:,}" if file.rows is not None else "-"
        place = f"{file.state:10}  {file.priority or '-':8}"
        name = shortened(file.name, width) if columns else file.name
        yield f"{padded(name, width)}  {place}  {rows:>10}  {file.format or '-'}"
    yield from _more(number - len(files))
    if any(file.state == "unchecked" for file in files):
        yield "unchecked: whether it can be trained is found out when a daemon starts"
    if is_daemon_gone:
        yield "no daemon is running, so none of them is trained now: training_daemon start"


def finished_lines(
    files: "Sequence[FinishedFile]", number: int, *, kind: str, columns: int | None = None
) -> Iterator[str]:
    """Yield a table of files that failed or were skipped, with their reasons.

    Args:
        number: how many there are; those that are not shown are counted.
        kind: what they are called if there are none.
        columns: of the terminal, if it is one; each reason then stands below its file, in lines that fit.
    """
    if not files:
        yield f"there are no {kind} files"
        return
    if columns:
        for file in files:
            yield f"{file.state:7}  {shortened(file.name, columns - len('skipped  '))}"
            yield from wrap(file.reason or "-", columns, initial_indent="    ", subsequent_indent="    ")
    else:
        width = _name_width([file.name for file in files])
        yield f"{'FILE':{width}}  {'STATE':7}  REASON"
        for file in files:
            yield f"{padded(file.name, width)}  {file.state:7}  {file.reason or '-'}"
    yield from _more(number - len(files))


def cleared_lines(cleared: "Mapping[Outcome, Cleared]") -> Iterator[str]:
    """Yield what became of the files that failed or were skipped."""
    for outcome, found in cleared.items():
        if found.moved:
            folder = found.moved[0].rpartition("/")[0]
            yield f"moved {num_of(len(found.moved), f'{outcome} file')} to {folder}/"
        elif not found.kept and not found.arriving:
            yield f"there are no {outcome} files to move"
        if found.kept:
            yield f"left {num_of(found.kept, f'{outcome} file')}: not old enough"
        if found.arriving:
            yield f"left {num_of(found.arriving, f'{outcome} file')}: still arriving; try again soon"
    if any(found.moved for found in cleared.values()):
        yield (
            "unless disk.queue_trash_kept_s is set, they stay there; "
            "to put one back: training_queue retry NAME"
        )


def cells_of(name: str) -> int:
    """Return how many columns a name takes; some characters, such as emoji, take two."""
    if name.isascii():
        return len(name)
    from rich.cells import cell_len

    return cell_len(name)


def padded(name: str, width: int) -> str:
    """Return a name with blanks up to a width."""
    return name + " " * (width - cells_of(name))


def shortened(name: str, width: int) -> str:
    """Return a name with as much of its middle left out as does not fit."""
    if cells_of(name) <= width:
        return name
    from rich.cells import set_cell_size

    end = (width - 1) // 2
    last = set_cell_size(name[::-1], end)[::-1]
    return f"{set_cell_size(name, width - 1 - end)}…{last}"


def _more(number: int) -> Iterator[str]:
    if number:
        yield f"… and {number:,} more (--all shows them)"


def _name_width(names: Sequence[str], *, room: int | None = None) -> int:
    widest = WIDEST_NAME if room is None else max(NARROWEST_NAME, room)
    return min(widest, max(len("FILE"), *map(cells_of, names)))
