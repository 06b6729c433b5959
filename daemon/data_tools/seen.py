"""Remember which rows have been seen: on disk, so that memory stays flat for any number of them."""

import sqlite3

from daemon.data_tools.fingerprint import fingerprint
from trainer.data.conversation import Conversation


class Seen:
    """Conversations, by their fingerprints. Gone when it is closed, and with the process."""

    def __init__(self) -> None:
        # Without a name: a file of SQLite's own, which nobody else sees and no crash leaves behind
        self._database = sqlite3.connect("", isolation_level=None)
        self._database.execute("PRAGMA synchronous = OFF")
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute("CREATE TABLE seen (mark BLOB PRIMARY KEY) WITHOUT ROWID")
        self._database.execute("BEGIN")

    def add(self, line: int, conversation: Conversation) -> bool:
        """Remember a conversation, on whatever line it is; return whether it is new."""
        mark = fingerprint(conversation)
        return self._database.execute("INSERT OR IGNORE INTO seen VALUES (?)", (mark,)).rowcount == 1

    def close(self) -> None:
        """Forget them."""
        self._database.close()
