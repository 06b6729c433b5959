"""The order of rows and their grouping into steps. Pure: computed from a few numbers, never remembered.

Any position is found in constant time and memory, so going on in the middle of a file costs nothing.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

ROUNDS = 6  # four already pass the usual tests of randomness; the rest is margin


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How one file is trained: a pure function of its fields.

    Args:
        sha256: of the file's content.
        num_rows: trainable rows in the file.
        rows_per_step: rows of one optimizer step; the last step of an epoch may have fewer.
        epochs: passes over the file.
        seed: chooses the order.
    """

    sha256: str
    num_rows: int
    rows_per_step: int
    epochs: int
    seed: int

    @property
    def steps_per_epoch(self) -> int:
        return -(-self.num_rows // self.rows_per_step)

    @property
    def num_steps(self) -> int:
        return self.steps_per_epoch * self.epochs

    @property
    def fingerprint(self) -> str:
        """Equal for equal plans; stands in a cursor so that it is never applied to another plan."""
        facts = (self.sha256, self.num_rows, self.rows_per_step, self.epochs, self.seed)
        return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]

    def positions(self, step: int) -> list[int]:
        """Return the positions in the file of the rows of `step` (both counted from 0), in training order."""
        epoch, step_in_epoch = divmod(step, self.steps_per_epoch)
        shuffle = permutation(self.num_rows, key=f"{self.seed}:{self.sha256}:{epoch}")
        first = step_in_epoch * self.rows_per_step
        return [shuffle(index) for index in range(first, min(first + self.rows_per_step, self.num_rows))]


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
