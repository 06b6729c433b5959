"""MinHash signatures of rows in SQLite, found again by what they have in common; for any number of files.

A signature is cut into bands. Rows that share the whole of a band are compared, all others are not (locality
sensitive hashing: Leskovec, Rajaraman and Ullman, "Mining of Massive Datasets", chapter 3). Of the pairs with
80 % of their shingles in common 95 % are compared, of those with 85 % more than 99 %.
"""

import sqlite3
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Self

from trainer.data.checks.minhash import NEAR, PLACES, RowMinHash, similarity

VERSION = 2
"""Of the tables and of what signatures mean."""
READABLE_VERSIONS = (1, VERSION)
"""Version 1 salted no signatures: its rows are recognised as the same, and hardly ever as nearly the same."""
SCHEMA = f"""
CREATE TABLE IF NOT EXISTS files (
    id INTEGER PRIMARY KEY,        -- in the order in which they were added
    sha256 TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,            -- printable
    rows INTEGER NOT NULL DEFAULT 0  -- that are here
);
CREATE TABLE IF NOT EXISTS rows (
    id INTEGER PRIMARY KEY,
    file INTEGER NOT NULL, line INTEGER NOT NULL, identity INTEGER NOT NULL, sketch BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS rows_by_identity ON rows (identity);
CREATE TABLE IF NOT EXISTS bands (
    key INTEGER NOT NULL,
    slot INTEGER NOT NULL,         -- few, so that rows made from one pattern cannot all be compared with all
    row INTEGER NOT NULL, PRIMARY KEY (key, slot)
) WITHOUT ROWID;
PRAGMA user_version={VERSION};
"""
CACHE_KIB = 32 * 1024
ROWS_AT_ONCE = 2_000  # whose bands are sorted, and so reach the table's pages one after another
SLOTS = 4
BAND_PLACES = 8
NUM_BANDS = PLACES // BAND_PLACES
BANDS = struct.Struct(f"<{NUM_BANDS}q")
# The same places in another band are another key
BAND_KEYS = [(band * 0x9E3779B97F4A7C15 & 0x7FFFFFFFFFFFFFFF) for band in range(1, NUM_BANDS + 1)]

SAME = """
SELECT name, line FROM rows CROSS JOIN files ON files.id = file WHERE identity = ? ORDER BY rows.id LIMIT 1
"""
SIMILAR = f"""
SELECT name, line, sketch FROM rows CROSS JOIN files ON files.id = file
WHERE rows.id IN (SELECT row FROM bands WHERE key IN ({", ".join("?" * NUM_BANDS)})) ORDER BY rows.id
"""


@dataclass(frozen=True, slots=True)
class Match:
    """A row, and the one most like it among those compared."""

    line: int
    other_file: str
    """Printable."""
    other_line: int
    similarity: float
    is_exact: bool
    """They say the same but for spaces and case."""


class RowTable:
    """The tables of one database.

    Args:
        database: with the tables in it; the caller sees to transactions.
    """

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    @classmethod
    def temporary(cls) -> Self:
        """Return an empty one."""
        return cls(temporary_database())

    def new_file(self, sha256: str, name: str) -> int:
        """Note a file, and return its id."""
        cursor = self._database.execute("INSERT INTO files (sha256, name) VALUES (?, ?)", (sha256, name))
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def insert(self, file: int, rows: Iterable[RowMinHash]) -> int:
        """Add rows of a file; return how many."""
        rows, count = iter(rows), 0
        [first] = self._database.execute("SELECT ifnull(max(id), 0) + 1 FROM rows").fetchone()
        while some := list(islice(rows, ROWS_AT_ONCE)):
            self._insert(file, some, first + count)
            count += len(some)
        self._database.execute("UPDATE files SET rows = rows + ? WHERE id = ?", (count, file))
        return count

    def _insert(self, file: int, rows: list[RowMinHash], first: int) -> None:
        self._database.executemany(
            "INSERT INTO rows VALUES (?, ?, ?, ?, ?)",
            [(id, file, row.line, row.identity, row.signature) for id, row in enumerate(rows, first)],
        )
        bands = [(key, id % SLOTS, id) for id, row in enumerate(rows, first) for key in _keys(row)]
        self._database.executemany("INSERT OR IGNORE INTO bands VALUES (?, ?, ?)", sorted(bands))

    def find(self, row: RowMinHash, *, threshold: float = NEAR) -> Match | None:
        """Return the row most like `row`, the oldest of several; None if none is near.

        Args:
            threshold: similarity from which rows are near. Below NEAR many pairs are not even compared.
        """
        if same := self._database.execute(SAME, (row.identity,)).fetchone():
            name, line = same
            return Match(row.line, name, line, 1.0, is_exact=True)
        keys = _keys(row)
        if not keys:
            return None
        near = [
            (similarity(row.signature, signature), name, line)
            for name, line, signature in self._database.execute(SIMILAR, keys)
        ]
        likeness, name, line = max(near, key=lambda found: found[0], default=(0.0, "", 0))
        return Match(row.line, name, line, likeness, is_exact=False) if likeness >= threshold else None

    def close(self) -> None:
        """Let the database go."""
        self._database.close()


def temporary_database() -> sqlite3.Connection:
    """Return a database with empty tables, in a file that the system removes; memory stays flat."""
    # Used by one thread at a time, but not always by the same
    database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
    database.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
    database.execute("PRAGMA journal_mode=OFF")
    database.execute("PRAGMA synchronous=OFF")
    database.executescript(SCHEMA)
    database.execute("BEGIN")
    return database


def _keys(row: RowMinHash) -> list[int]:
    """Return the keys of a row's bands; none for a row without words."""
    if not row.signature:
        return []
    return [places ^ key for places, key in zip(BANDS.unpack(row.signature), BAND_KEYS, strict=True)]
