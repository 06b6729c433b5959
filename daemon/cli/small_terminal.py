"""Choose what a small terminal shows: what is wrong stays, what matters less goes first."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

MOST_LINES = 6  # of one text, once texts have to be cut


@dataclass(frozen=True)
class Row:
    """A named value of a table."""

    name: str
    value: str
    style: str = ""
    is_urgent: bool = False
    """It says what is wrong, so it is never left out."""


def fitting(
    rows: Sequence[Row],
    *,
    room: int,
    wrap: Callable[[str], Sequence[str]],
    least_important_first: Sequence[str],
) -> list[Row]:
    """Return the rows that fit into a terminal.

    Args:
        room: lines that there are.
        wrap: returns the lines that a value takes.
        least_important_first: the names of rows that may be left out.
    """
    kept = list(rows)
    for name in least_important_first:
        if _height(kept, wrap) <= room:
            return kept
        kept = [row for row in kept if row.name != name or row.is_urgent]
    for limit in range(MOST_LINES, 0, -1):
        if _height(kept, wrap) <= room:
            return kept
        kept = [replace(row, value=_cut(wrap(row.value), limit)) for row in kept]
    if _height(kept, wrap) <= room:
        return kept
    shown = max(1, room - 1)
    return [*kept[:shown], Row("", f"… and {len(kept) - shown:,} more lines", is_urgent=True)]


def _height(rows: Sequence[Row], wrap: Callable[[str], Sequence[str]]) -> int:
    return sum(len(wrap(row.value)) for row in rows)


def _cut(lines: Sequence[str], limit: int) -> str:
    if len(lines) <= limit:
        return "\n".join(lines)
    return "\n".join([*lines[: limit - 1], f"{lines[limit - 1].rstrip()[:-1]}…"])
