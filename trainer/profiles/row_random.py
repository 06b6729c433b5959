"""Repeatable chance: a random number generator for each row, seeded by its words."""

import hashlib
import json
from random import Random

from trainer.data.conversation import Conversation


def random_of(conversation: Conversation, purpose: str) -> Random:
    """Return a generator of its own for a row. What rows say of themselves (metadata) has no part in it.

    Args:
        purpose: two uses of the same row are independent if these differ.
    """
    words = [purpose, *([message.role, message.content] for message in conversation.messages)]
    # Escaped to ASCII, so that half of a surrogate pair has a hash, too
    return Random(hashlib.sha256(json.dumps(words).encode()).digest())
