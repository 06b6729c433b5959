"""A file's identity as the ledger stores it: SQLite's integers are signed, numbers of files are not."""

import sqlite3

from daemon.settling import Identity

MASK_64 = (1 << 64) - 1


def signed(value: int) -> int:
    """Return the number that stands in the ledger for an inode or a device."""
    return value - (1 << 64) if value >= 1 << 63 else value


def identity_of_row(row: sqlite3.Row) -> Identity:
    """Return the identity of the file of a row of the table of jobs."""
    device, inode = row["device"] & MASK_64, row["inode"] & MASK_64
    return Identity(device, inode, row["size_bytes"], row["mtime_ns"])
