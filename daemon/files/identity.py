"""What distinguishes a file from another, and from a changed one, whatever its place and name."""

import os
import sqlite3
from pathlib import Path
from typing import NamedTuple, Self

LATEST_NS = (1 << 63) - 1  # in the year 2262; what the ledger can hold
MASK_64 = (1 << 64) - 1


class Identity(NamedTuple):
    """Tells whether a file is still the same, unchanged one."""  # a tuple: a start compares 100,000

    device: int
    inode: int
    size: int
    mtime_ns: int

    def __str__(self) -> str:
        """Return it as events name it."""
        return f"{self.device}:{self.inode}:{self.size}:{self.mtime_ns}"

    def has_changed_to(self, found: "Identity") -> bool:
        """Whether `found` is this very file, written to or made new since."""
        return found != self and (found.device, found.inode) == (self.device, self.inode)

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Return the one that an event names."""
        return cls(*map(int, text.split(":")))


def identity_of(found: os.stat_result) -> Identity:
    """Return what tells a file from a changed one."""
    mtime_ns = found.st_mtime_ns
    return Identity(
        found.st_dev, found.st_ino, found.st_size, mtime_ns if mtime_ns < LATEST_NS else LATEST_NS
    )


def made_new(identity: Identity) -> Identity:
    """Return that of the same file once it is to count as one that nobody knows: a nanosecond younger."""
    return identity._replace(mtime_ns=identity.mtime_ns + 1)


def is_there(path: Path, identity: Identity) -> bool:
    try:
        return identity_of(path.lstat()) == identity
    except FileNotFoundError:
        return False


def signed(value: int) -> int:
    """Return the number that stands in the ledger for an inode or a device."""
    return value - (1 << 64) if value >= 1 << 63 else value


def identity_of_row(row: sqlite3.Row) -> Identity:
    """Return the identity of the file of a row of the table of jobs."""
    device, inode = row["device"] & MASK_64, row["inode"] & MASK_64
    return Identity(device, inode, row["size_bytes"], row["mtime_ns"])
