"""The order of rows and their grouping into steps. Pure: computed from a few numbers, never stored.

Any position is found in constant time and memory, so continuing in the middle of a file costs nothing.
"""

import hashlib
from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trainer.protocol.job import EarlierFile

ROUNDS = 6  # four already pass the usual tests of randomness; the rest is margin


@dataclass(frozen=True, kw_only=True)
class Replay:
    """Rows of earlier files that are trained among those of a plan's own file.

    Args:
        files: SHA-256 and number of trainable rows of each; there is at least one row.
        rows_per_step: how many of a step's rows are taken from them.
    """

    files: tuple[tuple[str, int], ...]
    rows_per_step: int


def replay_of(files: Iterable[tuple[str, int]], *, rows_per_step: int, fraction: float) -> Replay | None:
    """Return what is replayed in steps of `rows_per_step` rows; None if nothing is.

    With a fraction above 0 it is at least one row of a step, and never all of them.
    """
    files = tuple(files)
    if fraction == 0 or not any(num_rows for _, num_rows in files):
        return None
    return Replay(files=files, rows_per_step=min(max(1, round(fraction * rows_per_step)), rows_per_step - 1))


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How one file is trained: a pure function of its fields.

    Args:
        sha256: of the file's content.
        num_rows: trainable rows in the file.
        rows_per_step: rows of one optimizer step, replayed ones included; the last step of an epoch may have
            fewer.
        epochs: passes over the file.
        seed: chooses the order.
        replay: rows of earlier files in every step.
    """

    sha256: str
    num_rows: int
    rows_per_step: int
    epochs: int
    seed: int
    replay: Replay | None = None

    @property
    def own_rows_per_step(self) -> int:
        """Rows of one step that are the file's own."""
        return self.rows_per_step - (self.replay.rows_per_step if self.replay else 0)

    @property
    def steps_per_epoch(self) -> int:
        return -(-self.num_rows // self.own_rows_per_step)

    @property
    def num_steps(self) -> int:
        return self.steps_per_epoch * self.epochs

    @property
    def fingerprint(self) -> str:
        """Equal for equal plans; stands in a cursor so that it is never applied to another plan."""
        facts: tuple[object, ...] = (
            self.sha256, self.num_rows, self.rows_per_step, self.epochs, self.seed
        )  # fmt: skip
        if self.replay:
            facts += (self.replay.files, self.replay.rows_per_step)
        return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]

    def positions(self, step: int) -> list[int]:
        """Return the positions in the file of the rows of `step` (both counted from 0), in training order."""
        epoch, step_in_epoch = divmod(step, self.steps_per_epoch)
        shuffle = permutation(self.num_rows, key=f"{self.seed}:{self.sha256}:{epoch}")
        first = step_in_epoch * self.own_rows_per_step
        return [shuffle(index) for index in range(first, min(first + self.own_rows_per_step, self.num_rows))]

    def replayed(self, step: int) -> list[tuple[int, int]]:
        """Return the rows that are replayed in `step`: which of the files, and the position in it.

        They are drawn in passes over all of them, so that none comes again before all have come.
        """
        if self.replay is None:
            return []
        ends = list(accumulate(num_rows for _, num_rows in self.replay.files))
        drawn = []
        for index in range(step * self.replay.rows_per_step, (step + 1) * self.replay.rows_per_step):
            one_pass, index_in_pass = divmod(index, ends[-1])
            shuffle = permutation(ends[-1], key=f"replay:{self.seed}:{self.sha256}:{one_pass}")
            row = shuffle(index_in_pass)
            file = bisect_right(ends, row)
            drawn.append((file, row - (ends[file] - self.replay.files[file][1])))
        return drawn


def plan_of(
    sha256: str,
    num_rows: int,
    earlier: "Iterable[EarlierFile]",
    *,
    rows_per_step: int,
    epochs: int,
    seed: int,
    replay_fraction: float,
) -> Plan:
    """Return the plan of a file whose steps take a share of their rows from earlier files."""
    return Plan(
        sha256=sha256,
        num_rows=num_rows,
        rows_per_step=rows_per_step,
        epochs=epochs,
        seed=seed,
        replay=replay_of(
            [(file.sha256, file.rows) for file in earlier],
            rows_per_step=rows_per_step,
            fraction=replay_fraction,
        ),
    )


def permutation(size: int, *, key: str) -> Callable[[int], int]:
    """Return a pseudo-random permutation of `range(size)` as a function.

    A Feistel network over the next even power of two, walked until the value falls below `size`
    (Black and Rogaway, "Ciphers with Arbitrary Finite Domains", 2002). Unlike a shuffle it needs no memory,
    and unlike a library's generator it is the same in every version.
    """
    half_bits = max(1, ((size - 1).bit_length() + 1) // 2)
    mask = (1 << half_bits) - 1
    digest = hashlib.sha512(key.encode()).digest()
    round_keys = [int.from_bytes(digest[8 * i : 8 * i + 8], "little") for i in range(ROUNDS)]

    def once(value: int) -> int:
        left, right = value >> half_bits, value & mask
        for round_key in round_keys:
            left, right = right, left ^ (_mix(right ^ round_key) & mask)
        return (left << half_bits) | right

    def shuffle(index: int) -> int:
        value = once(index)
        while value >= size:
            value = once(value)
        return value

    return shuffle


def _mix(value: int) -> int:
    """Scramble 64 bits (the finalizer of splitmix64: Steele, Lea and Flood, 2014)."""
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB & 0xFFFFFFFFFFFFFFFF
    return value ^ (value >> 31)
