"""Remember rows by signatures of their words, to recognise near duplicates. Loads numpy."""

from trainer.data.checks.minhash import minhash_row
from trainer.data.checks.row_table import RowTable
from trainer.data.conversation import Conversation


class SeenNear:
    """Conversations that were new. On disk, like `Seen`, and gone with the process."""

    def __init__(self) -> None:
        self._table = RowTable.temporary()
        self._file = self._table.new_file("", "")
        self._count = 0

    def add(self, conversation: Conversation) -> bool:
        """Remember a conversation, unless it is near one that is remembered; return whether it is new."""
        self._count += 1
        row = minhash_row(self._count, conversation)
        if self._table.find(row):
            return False
        self._table.insert(self._file, [row])
        return True

    def close(self) -> None:
        """Forget them."""
        self._table.close()
