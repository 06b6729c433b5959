"""Operations on whole files: rows come in one by one, lines go out. Memory stays flat."""

import random
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO, Literal

from daemon.data_tools.express import CannotExpress, Format, Loss, express, to_line
from daemon.data_tools.fingerprint import fingerprint, share_of
from daemon.data_tools.reading import BadInput, DataFile, LeftOut, Row, as_line
from daemon.data_tools.row_format import unknown_keys
from trainer.data.conversation import Conversation
from trainer.data.reading.rows import BadRow
from trainer.protocol.row_fields import Fields
from trainer.protocol.text import num_of, printable

By = Literal["hash", "random"]


@dataclass
class Converted:
    """What became of the rows of a conversion."""

    rows: int = 0
    losses: Counter[str] = field(default_factory=Counter)
    """Rows by what their new format has no place for."""


def convert(sources: Sequence[DataFile], out: BinaryIO, format: Format, left_out: LeftOut) -> Converted:
    """Write every row in another format, in order; one that cannot be said in it goes to `left_out`."""
    done = Converted()
    for source in sources:
        for row in source.rows(left_out):
            try:
                line, losses = _converted(row, format, source.fields)
            except CannotExpress as error:
                left_out.add(source.place(row.line), str(error))
                continue
            out.write(line)
            done.rows += 1
            done.losses.update(losses)
    return done


def copy_rows(source: DataFile, out: BinaryIO, left_out: LeftOut) -> int:
    """Write every row with the keys that it has, whatever it says; return how many.

    What is no JSON object goes to `left_out`.
    """
    count = 0
    for line in source.lines():
        try:
            out.write(source.object_on(line))
        except BadRow as error:
            left_out.add(source.place(line.number), str(error))
            continue
        count += 1
    return count


def _converted(row: Row, format: Format, fields: Fields) -> tuple[bytes, set[str]]:
    expressed = express(row.conversation, format)
    losses = {loss.value for loss in expressed.losses}
    if unknown_keys(row.keys, row.format, fields):
        losses.add(Loss.OTHER_KEYS.value)
    return to_line(expressed.row), losses


def split(
    source: DataFile,
    training: BinaryIO,
    validation: BinaryIO,
    left_out: LeftOut,
    *,
    fraction: float,
    by: By,
    seed: int,
) -> tuple[int, int]:
    """Deal rows to two files; return how many went to each.

    Args:
        fraction: share of rows that go to `validation`, on average.
        by: `hash` sends the same row to the same side in every file; with a larger fraction validation rows
            stay validation rows. `random` looks at nothing but the seed and the row's place.
    """
    draw = random.Random(seed)
    counts = [0, 0]
    for row in source.rows(left_out):
        chance = share_of(fingerprint(row.conversation, seed=seed)) if by == "hash" else draw.random()
        side = int(chance < fraction)
        (training, validation)[side].write(row.content)
        counts[side] += 1
    return counts[0], counts[1]


def dedupe(
    source: DataFile, out: BinaryIO, left_out: LeftOut, *, is_new: Callable[[int, Conversation], bool]
) -> tuple[int, int]:
    """Write the rows that are new; return how many were written, and how many dropped.

    Args:
        is_new: called with the line of each row and what it says.
    """
    kept = dropped = 0
    for row in source.rows(left_out):
        if is_new(row.line, row.conversation):
            out.write(row.content)
            kept += 1
        else:
            dropped += 1
    return kept, dropped


def beginnings(source: DataFile, lines: Collection[int], *, length: int) -> dict[int, str]:
    """Return how the rows on these lines begin, printable, without their system prompts."""
    found: dict[int, str] = {}
    for row in source.rows(LeftOut()):
        if row.line in lines:
            turns = [turn for turn in row.conversation.messages if turn.role != "system"]
            found[row.line] = printable(" ".join(turns[0].content.split()), limit=length) if turns else ""
        if len(found) == len(lines):
            break
    return found


def sample(source: DataFile, out: BinaryIO, left_out: LeftOut, *, count: int, seed: int) -> int:
    """Write `count` rows, drawn with equal chances, in the order of the file; return how many there were.

    Raises:
        BadInput: there are fewer.
    """
    # Only their numbers are kept, so that memory stays flat: the file is read a second time
    chosen, num_rows = _reservoir((row.line for row in source.rows(left_out)), count, random.Random(seed))
    if num_rows < count:
        there = num_of(num_rows, "row")
        raise BadInput(f"{source.name} has {there}, fewer than {count:,}; nothing was written")
    for line in source.lines():
        if line.number in chosen and line.content is not None:
            out.write(as_line(line.content))
    return num_rows


def _reservoir(numbers: Iterator[int], count: int, draw: random.Random) -> tuple[frozenset[int], int]:
    """Choose `count` of a stream of unknown length (Vitter's algorithm R); return them and the length."""
    chosen: list[int] = []
    seen = 0
    for seen, number in enumerate(numbers, start=1):
        if len(chosen) < count:
            chosen.append(number)
        elif (place := draw.randrange(seen)) < count:
            chosen[place] = number
    return frozenset(chosen), seen


def merge(sources: Sequence[DataFile], out: BinaryIO, left_out: LeftOut) -> int:
    """Write the rows of one file after the other, as they are; return how many.

    Raises:
        BadInput: two rows differ in format.
    """
    count = 0
    first: tuple[str, str] | None = None
    for source in sources:
        for row in source.rows(left_out):
            found = (source.place(row.line), row.format)
            first = first or found
            if found[1] != first[1]:
                advice = f"give one with --to, such as --to {Format.MESSAGES}"
                if "text" in (found[1], first[1]):
                    advice = "a plain text has no turns, so train the files one after the other"
                raise BadInput(
                    f"{found[0]} has format {found[1]}, but {first[0]} has {first[1]}; expected one format; "
                    f"{advice}; nothing was written"
                )
            out.write(row.content)
            count += 1
    return count
