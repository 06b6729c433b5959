"""Remember which rows have come by: on disk, so that memory stays flat for any number of them."""

import sqlite3
from types import TracebackType
from typing import Self


class Seen:
    """A set of fingerprints. Gone when it is closed, and with the process."""

    def __init__(self) -> None:
        # Without a name: a file of SQLite's own, which nobody else sees and no crash leaves behind
        self._database = sqlite3.connect("", isolation_level=None)
        self._database.execute("PRAGMA synchronous = OFF")
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute("CREATE TABLE seen (mark BLOB PRIMARY KEY) WITHOUT ROWID")
        self._database.execute("BEGIN")

    def add(self, mark: bytes) -> bool:
        """Remember a fingerprint; return whether it is new."""
        return self._database.execute("INSERT OR IGNORE INTO seen VALUES (?)", (mark,)).rowcount == 1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._database.close()
