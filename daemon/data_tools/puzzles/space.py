"""Draw puzzles from numbered spaces, so that no two seeds ever share one.

A space numbers its puzzles from 0, and no two numbers give the same question. A fixed permutation puts the
numbers into one pseudo-random order, and every seed owns an equal, consecutive share of that order. So rows
of one run differ, runs of two seeds have none in common, and none of this needs memory.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from zlib import crc32

from trainer.data.plan import permutation

NUM_SEEDS = 10_000
MAX_SPACE = 2**128  # the permutation mixes both halves of a number with 64 bits
LEVELS = range(1, 6)


class TooFewPuzzles(ValueError):
    """A seed's share does not hold as many puzzles as were asked for."""


@dataclass(frozen=True, slots=True)
class Puzzle:
    """A question, and the one answer it has."""

    question: str
    answer: str


@dataclass(frozen=True)
class Space:
    """All puzzles of one kind.

    Args:
        size: how many numbers there are; below MAX_SPACE.
        puzzle: returns the puzzle of a number, or None if that number has none.
    """

    size: int
    puzzle: Callable[[int], Puzzle | None]

    @property
    def share(self) -> int:
        """How many numbers one seed owns."""
        return self.size // NUM_SEEDS


def draw(
    spaces: Sequence[Space],
    *,
    key: str,
    seed: int,
    count: int,
    is_wanted: Callable[[Puzzle], bool] = lambda puzzle: True,
) -> Iterator[Puzzle]:
    """Yield up to `count` puzzles that belong to `seed`, from each space in turn.

    Args:
        key: chooses the order; the same for all seeds.
        seed: in range(NUM_SEEDS).
        is_wanted: whether a puzzle may be drawn; others are passed over.
    Raises:
        TooFewPuzzles: the share of the seed is smaller than `count`. Said at once if its numbers are too few,
            later if too many of them have no puzzle, or none that is wanted.
    """
    largest = len(spaces) * min(space.share for space in spaces)
    if count > largest:
        raise TooFewPuzzles(f"seed {seed} has {largest:,} puzzles here; expected at least {count:,}")
    streams = [filter(is_wanted, _stream(space, f"{key}:{i}", seed)) for i, space in enumerate(spaces)]
    return _deal(streams, seed, count)


def _deal(streams: Sequence[Iterator[Puzzle]], seed: int, count: int) -> Iterator[Puzzle]:
    for given, stream in enumerate(islice(cycle(streams), count)):
        puzzle = next(stream, None)
        if puzzle is None:
            raise TooFewPuzzles(f"seed {seed} has {given:,} puzzles here; expected at least {count:,}")
        yield puzzle


def _stream(space: Space, key: str, seed: int) -> Iterator[Puzzle]:
    shuffle = permutation(space.size, key=key)
    for place in range(seed * space.share, (seed + 1) * space.share):
        if puzzle := space.puzzle(shuffle(place)):
            yield puzzle


def digits(index: int, bases: Collection[int]) -> tuple[int, ...]:
    """Return the digits of a number, the last one first, each below its base.

    What is left above the last base is dropped, so `index` must be below the product of all.
    """
    found = []
    for base in bases:
        index, digit = divmod(index, base)
        found.append(digit)
    return tuple(found)


def worded(wordings: Sequence[str], *texts: str) -> str:
    """Ask about `texts` in one of several ways, chosen by their hash: a digit of a number would be a hint."""
    return wordings[crc32(" ".join(texts).encode()) % len(wordings)].format(*texts)
