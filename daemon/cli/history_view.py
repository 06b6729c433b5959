"""Completed files as text for people. What comes in is printable already."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from daemon.cli.queue_view import cells_of, padded, shortened
from daemon.cli.validation_text import with_weights
from trainer.protocol.text import num_of

if TYPE_CHECKING:
    from daemon.client.results import CompletedFile, Validation

NARROWEST_NAME = 24  # on one line with its figures; otherwise the figures stand below it
GAP = "  "
UNKNOWN = "-"
SHARED = "*"  # behind a change of the validation loss that is not of this file alone
TITLES = ("ROWS", "STEPS", "TIME", "TOKENS/S", "LOSS", "VALIDATION")
NUMBERS = TITLES[: TITLES.index("LOSS")]
SMALL_LOSS = 0.01  # below it, three decimals say nothing
UNITS = ((86_400.0, "day"), (3_600.0, "hour"), (60.0, "minute"))


def history_lines(
    files: "Sequence[CompletedFile]", number: int, *, now: float, columns: int | None = None
) -> Iterator[str]:
    """Yield a table of completed files.

    Args:
        number: how many there are; those that are not shown are counted.
        now: Unix seconds.
        columns: of the terminal, if it is one; where names find no room, the figures stand below them.
    """
    if not files:
        yield "no file has been completed yet"
        return
    figures = _aligned([TITLES, *map(_figures, files)])
    ends = _aligned([("ENDED",), *((ago_text(file.finished_at, now=now),) for file in files)])
    checkpoints = _aligned([("CHECKPOINT",), *((_checkpoint(file),) for file in files)])
    names = ["FILE", *(file.name for file in files)]
    table = list(zip(names, ends, figures, checkpoints, strict=True))
    beside = sum(len(GAP) + len(cell) for cell in table[0][1:])
    widest = max(map(cells_of, names))
    if columns is None or columns - beside >= NARROWEST_NAME:
        width = min(widest, columns - beside if columns else widest)
        for name, *cells in table:
            yield GAP.join([padded(shortened(name, width), width), *cells]).rstrip()
    else:
        width = min(widest, columns - beside + len(GAP) + len(figures[0]))
        for name, ended, line, checkpoint in table:
            yield GAP.join([padded(shortened(name, width), width), ended, checkpoint]).rstrip()
            yield f"{GAP}{line}".rstrip()
    yield from _remarks(files, number)


def empty_text(
    newest: "Sequence[CompletedFile]",
    completed: int,
    failed: int,
    *,
    dropped: int = 0,
    now: float,
) -> str:
    """Return what to say of a queue in which no file waits.

    Args:
        newest: the file that was completed last, if there is one.
        completed: how many files have been completed.
        failed: how many files lie in failed/.
        dropped: how many files in the inbox have not been accepted yet.
        now: Unix seconds.
    """
    in_inbox = f"{num_of(dropped, 'file')} in inbox/, not taken in yet"
    parts = [in_inbox, "nothing else waits"] if dropped else ["the queue is empty"]
    for file in newest[:1]:
        losses = f", loss {_change(file.first_loss, file.last_loss)}" if file.steps else ""
        what = f"the last one {file.name} {ago_text(file.finished_at, now=now)}{losses}"
        parts.append(f"{num_of(completed, 'file')} completed, {what} (training_queue history)")
    if failed:
        parts.append(f"{failed:,} failed (training_queue list --failed)")
    return "; ".join(parts)


def ago_text(at: str | None, *, now: float) -> str:
    """Return how long ago a time was, roughly.

    Args:
        at: UTC, ISO 8601.
        now: Unix seconds.
    """
    try:
        seconds = now - datetime.fromisoformat(at or "").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return UNKNOWN
    for unit_s, unit in UNITS:
        if seconds >= unit_s:
            return f"{num_of(int(seconds // unit_s), unit)} ago"
    return "just now"  # also where the clock was set back


def _figures(file: "CompletedFile") -> tuple[str, ...]:
    if not file.steps:
        return (f"{file.rows_trained:,}", "0", *(UNKNOWN,) * 4)
    return (
        f"{file.rows_trained:,}",
        f"{file.steps:,}",
        _clock(file.seconds),
        f"{file.tokens_per_s:,.0f}" if file.tokens_per_s else UNKNOWN,
        _change(file.first_loss, file.last_loss),
        _validation(file.before, file.after) + (SHARED if _is_shared(file) else ""),
    )


def _is_shared(file: "CompletedFile") -> bool:
    """Whether both losses are shown and other files affected their difference, too."""
    return bool(file.other_steps and file.before and file.after)


def _checkpoint(file: "CompletedFile") -> str:
    if file.checkpoint is None:
        return UNKNOWN
    return file.checkpoint if file.is_checkpoint_kept else f"({file.checkpoint})"


def _aligned(table: Sequence[tuple[str, ...]]) -> list[str]:
    """Return the rows of a table as lines: numbers end below each other, texts begin below each other.

    Args:
        table: the titles come first.
    """
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    sides = [">" if title in NUMBERS else "<" for title in table[0]]
    return [
        GAP.join(f"{cell:{side}{width}}" for cell, side, width in zip(row, sides, widths, strict=True))
        for row in table
    ]


def _remarks(files: "Sequence[CompletedFile]", number: int) -> Iterator[str]:
    if any(file.rows_trained > file.rows for file in files):
        yield "(ROWS counts each row as often as it was trained, once in each epoch)"
    if any(map(_is_shared, files)):
        yield f"({SHARED}: other jobs took steps in between, too: training_queue show NAME)"
    if any(file.checkpoint and not file.is_checkpoint_kept for file in files):
        yield "(in parentheses: the checkpoint has been removed; newer ones contain the file, too)"
    if more := number - len(files):
        yield f"… and {more:,} more (--limit {number} shows all)"


def _clock(seconds: float) -> str:
    minutes, left = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"


def _validation(before: "Validation | None", after: "Validation | None") -> str:
    newest = after or before
    if newest is None:
        return UNKNOWN
    if before and after and before.weights != after.weights:  # their difference would say nothing
        return with_weights(_loss(after.loss), after.weights, beside_others=True)
    change = _change(before.loss if before else None, after.loss if after else None)
    return with_weights(change, newest.weights)


def _change(first: float | None, last: float | None) -> str:
    return f"{_loss(first)} → {_loss(last)}"


def _loss(loss: float | None) -> str:
    if loss is None:
        return UNKNOWN
    return f"{loss:.3g}" if loss >= 1000 else f"{loss:.{4 if loss < SMALL_LOSS else 3}f}"
