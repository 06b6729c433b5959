"""Remember rows by signatures of their words, to recognise near duplicates. Loads numpy."""

from trainer.data.checks.minhash import NEAR, minhash_row
from trainer.data.checks.row_table import Match, RowTable
from trainer.data.conversation import Conversation

PAIRS_KEPT = 10


class SeenNear:
    """Conversations that were new. On disk, like `Seen`, and gone with the process.

    Args:
        threshold: similarity from which two rows are near.
    """

    def __init__(self, *, threshold: float = NEAR) -> None:
        self._table = RowTable.temporary()
        self._file = self._table.new_file("", "")
        self._threshold = threshold
        self.pairs: list[Match] = []
        """The first that were near one that is remembered, and not the same."""

    def add(self, line: int, conversation: Conversation) -> bool:
        """Remember a conversation, unless it is near one that is remembered; return whether it is new."""
        row = minhash_row(line, conversation, must_answer_same=True)
        if match := self._table.find(row, threshold=self._threshold):
            if not match.is_exact and len(self.pairs) < PAIRS_KEPT:
                self.pairs.append(match)
            return False
        self._table.insert(self._file, [row])
        return True

    def close(self) -> None:
        """Forget them."""
        self._table.close()
