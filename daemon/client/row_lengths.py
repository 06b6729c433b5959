"""How long the rows of a file are, in bytes; only the first ones are read, so that it takes a moment."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from daemon.client.errors import FileRefused
from trainer.data.reading.rows import BadRow, lines_of
from trainer.data.reading.unpacking import BadArchive
from trainer.protocol.text import printable

if TYPE_CHECKING:
    from trainer.config.schema import DataSettings

MOST_ROWS = 20_000
MOST_BYTES = 64 << 20
LONGEST = (1 << 20) - 1  # a longer row counts as one of this length


@dataclass(frozen=True, kw_only=True)
class LengthBucket:
    """Rows of about the same length."""

    from_bytes: int
    to_bytes: int
    """The last length that counts, too."""
    rows: int


@dataclass(frozen=True, kw_only=True)
class RowLengths:
    """How long rows are."""

    rows: int
    """That were read."""
    is_whole: bool
    """Whether these are all rows of the file."""
    buckets: tuple[LengthBucket, ...]
    """The shortest first, each up to twice as long as the one before."""


def row_lengths(file: Path, settings: "DataSettings") -> RowLengths:
    """Return how long the first rows of a file are.

    Raises:
        FileRefused: it cannot be read.
    """
    found: Counter[int] = Counter()
    rows = num_bytes = 0
    is_whole = True
    limits = {"max_line_bytes": LONGEST, "max_unpacked_bytes": settings.max_unpacked_bytes}
    try:
        for line in lines_of(file, **limits):
            if line.is_blank:
                continue
            if rows == MOST_ROWS or num_bytes > MOST_BYTES:
                is_whole = False
                break
            length = LONGEST if line.content is None else len(line.content)
            found[length.bit_length()] += 1
            rows += 1
            num_bytes += length
    except (BadRow, BadArchive) as error:
        raise FileRefused(f"{printable(file.name)}: {error}", is_bad_config=False) from error
    return RowLengths(rows=rows, is_whole=is_whole, buckets=tuple(map(_bucket, sorted(found.items()))))


def _bucket(item: tuple[int, int]) -> LengthBucket:
    bits, rows = item
    return LengthBucket(from_bytes=1 << bits >> 1, to_bytes=(1 << bits) - 1, rows=rows)
