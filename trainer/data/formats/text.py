"""`{"text": …}`: a text that is trained whole, without a chat template around it."""

from collections.abc import Mapping
from typing import Any

from trainer.data.conversation import Message
from trainer.data.formats.values import read_text


def read(row: Mapping[str, Any]) -> tuple[Message, ...]:
    """Return the text as the one message, of the assistant because it is supervised.

    Raises:
        BadRow: it is something else.
    """
    return (Message("assistant", read_text(row["text"], "text")),)
