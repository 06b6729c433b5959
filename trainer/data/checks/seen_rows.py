"""The rows of all files trained before, in one SQLite file. For people only: training never depends on it.

One process writes it, any number read it meanwhile. A file's rows are in it all together or not at all.
"""

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Self
from urllib.parse import quote

from trainer.data.checks.minhash import RowMinHash
from trainer.data.checks.row_table import (
    CACHE_KIB,
    READABLE_VERSIONS,
    SCHEMA,
    VERSION,
    Match,
    RowTable,
    temporary_database,
)
from trainer.protocol.text import printable

FILE_NAME = "seen_rows.sqlite3"
BYTES_PER_ROW = 500  # measured
FILES_REMEMBERED = 10_000  # whose rows have gone, so that none is added again as if it were new
LOCK_TIMEOUT_S = 10.0
EMPTY = 0  # the version of a database without tables
# What a file says that is damaged, or holds something else; other errors, such as a full disk, will pass
DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class UnusableSeenRows(ValueError):
    """The file of rows trained before cannot be used; the message says why."""


class DamagedSeenRows(UnusableSeenRows):
    """The file is damaged, or of another release."""


class SeenRows:
    """An open index of rows trained before.

    Args:
        notice: what a person should know about how it was opened.
    """

    def __init__(self, database: sqlite3.Connection, *, notice: str | None = None) -> None:
        self._database = database
        self._table = RowTable(database)
        self.notice = notice

    @classmethod
    def open(cls, path: Path) -> Self:
        """Return the index for writing. Created if need be; a damaged one is quarantined and started anew.

        Raises:
            UnusableSeenRows: it is whole, but not to be used.
        """
        notice = None
        try:
            database = _create(path)
        except DamagedSeenRows as error:
            notice = f"{error}; it was quarantined as {_quarantine(path).name}, and a new one was started"
            database = _create(path)
        return cls(database, notice=notice)

    @classmethod
    def open_for_reading(cls, path: Path) -> Self:
        """Return the index as it stands. What is not there, or cannot be read, is empty.

        A damaged one is left to whoever writes next; a notice tells of it.
        """
        notice = None
        if path.exists():
            try:
                database = _connect(path, mode="ro")
            except UnusableSeenRows as error:
                notice = f"{error}; until the next file is completed, rows trained before are not recognised"
            else:
                if _version(database) in READABLE_VERSIONS:
                    return cls(database)
                database.close()  # it is just being created
        return cls(temporary_database(), notice=notice)

    def add(self, sha256: str, name: str, rows: Iterable[RowMinHash], *, max_rows: int) -> int:
        """Add a file's rows, unless it is known; return how many. The rows of the oldest files make room.

        Args:
            name: shown to people later.
            max_rows: that the index may hold; of a longer file only the first ones are added.
        """
        self._database.execute("BEGIN IMMEDIATE")
        try:
            count = 0
            if not self.knows(sha256):
                file = self._table.new_file(sha256, printable(name))
                count = self._table.insert(file, islice(rows, max_rows))
                self._make_room(max_rows)
            self._database.execute("COMMIT")
        except BaseException:
            if self._database.in_transaction:  # a full disk has ended it already
                self._database.execute("ROLLBACK")
            raise
        return count

    def forget(self, sha256: str) -> None:
        """Drop a file's rows and that it was ever there; its bytes in the database are overwritten."""
        self._database.execute("PRAGMA secure_delete=ON")
        self._database.execute("BEGIN IMMEDIATE")
        try:
            of_file = "SELECT id FROM files WHERE sha256 = :sha256"
            values = {"sha256": sha256}
            self._database.execute(
                f"DELETE FROM bands WHERE row IN (SELECT id FROM rows WHERE file IN ({of_file}))", values
            )
            self._database.execute(f"DELETE FROM rows WHERE file IN ({of_file})", values)
            self._database.execute("DELETE FROM files WHERE sha256 = :sha256", values)
            self._database.execute("COMMIT")
        except BaseException:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            raise
        self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def knows(self, sha256: str) -> bool:
        """Whether a file with this content was ever added."""
        found = self._database.execute("SELECT 1 FROM files WHERE sha256 = ?", (sha256,)).fetchone()
        return found is not None

    def find(self, row: RowMinHash) -> Match | None:
        """Return the row trained before that is most like `row`, the oldest of several; None if none is near.

        Raises:
            UnusableSeenRows: the file is damaged.
        """
        try:
            return self._table.find(row)
        except sqlite3.DatabaseError as error:
            raise UnusableSeenRows(f"{error}; rows trained before are not recognised") from error

    @property
    def num_rows(self) -> int:
        [count] = self._database.execute("SELECT ifnull(sum(rows), 0) FROM files").fetchone()
        return int(count)

    def close(self) -> None:
        """Let the file go."""
        self._table.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _make_room(self, max_rows: int) -> None:
        too_many, last = self.num_rows - max_rows, 0
        for file, rows in self._database.execute("SELECT id, rows FROM files WHERE rows > 0 ORDER BY id"):
            if too_many <= 0:
                break
            too_many, last = too_many - rows, file
        if last:
            self._forget_files_up_to(last)

    def _forget_files_up_to(self, file: int) -> None:
        # Rows are numbered in the order of their files, so those that go are the lowest numbers
        [last_row] = self._database.execute("SELECT max(id) FROM rows WHERE file <= ?", (file,)).fetchone()
        self._database.execute("DELETE FROM bands WHERE row <= ?", (last_row,))
        self._database.execute("DELETE FROM rows WHERE id <= ?", (last_row,))
        self._database.execute("UPDATE files SET rows = 0 WHERE id <= ?", (file,))
        self._database.execute("DELETE FROM files WHERE id <= ?", (file - FILES_REMEMBERED,))


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Turn errors of SQLite into ours."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        kind = DamagedSeenRows if error.sqlite_errorcode & 0xFF in DAMAGED else UnusableSeenRows
        raise kind(f"{path}: {error}; expected the rows trained before") from error


def _connect(path: Path, *, mode: str) -> sqlite3.Connection:
    address = f"file:{quote(os.fsencode(path))}?mode={mode}"
    with _naming(path):
        # Used by one thread at a time, but not always by the same
        database = sqlite3.connect(
            address, uri=True, timeout=LOCK_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
        try:
            _check(database, path)
        except BaseException:
            database.close()
            raise
    return database


def _check(database: sqlite3.Connection, path: Path) -> None:
    database.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
    [health] = database.execute("PRAGMA quick_check(1)").fetchone()
    if health != "ok":
        raise DamagedSeenRows(f"{path}: {health}")
    if (version := _version(database)) not in (EMPTY, *READABLE_VERSIONS):
        raise DamagedSeenRows(f"{path}: version is {version}; expected {VERSION}")


def _create(path: Path) -> sqlite3.Connection:
    database = _connect(path, mode="rwc")
    try:
        with _naming(path):
            database.execute("PRAGMA journal_mode=WAL")
            database.execute(
                "PRAGMA synchronous=NORMAL"
            )  # at worst the last file is forgotten, and added again
            database.executescript(f"BEGIN;{SCHEMA}COMMIT;")
    except BaseException:
        database.close()
        raise
    return database


def _version(database: sqlite3.Connection) -> int:
    [version] = database.execute("PRAGMA user_version").fetchone()
    return int(version)


def _quarantine(path: Path) -> Path:
    aside = path.with_name(f"{path.name}.corrupt")  # the last one is enough
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    os.replace(path, aside)
    return aside
