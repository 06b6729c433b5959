"""Tell a person why a row is not trained; only then what to do about it is searched for."""

from trainer.data.reading.rows import BadRow
from trainer.data.rendering.chat_template import Refused
from trainer.data.rendering.overlong import OverlongRow


class RefusedRow(BadRow):
    """A row that cannot be rendered. The message names its line, but has no way out that takes a search."""

    def __init__(self, line: int, refusal: Refused | OverlongRow) -> None:
        super().__init__(f"line {line}: {refusal}")
        self._line = line
        self._refusal = refusal

    def with_way_out(self) -> str:
        """Return the message for a person. Searches for a way out if need be."""
        return f"line {self._line}: {message_with_way_out(self._refusal)}"


def message_with_way_out(error: Exception) -> str:
    """Return an error's message for a person; of a refused row also what would let it train.

    That is found out by rendering the row many times, so it is asked for once, not for every row.
    """
    return error.with_way_out() if isinstance(error, Refused | RefusedRow) else str(error)
