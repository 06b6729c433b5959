"""Which rows have the same content. Pure."""

import hashlib
import json

from trainer.data.conversation import Conversation, Message

SIZE_BYTES = 16  # so many that two different rows never have the same in practice: equal ones are dropped


def fingerprint(conversation: Conversation, *, seed: int = 0) -> bytes:
    """Return a number for what a conversation says. White space, case and metadata make no difference.

    Args:
        seed: another one gives other numbers.
    """
    said = [conversation.is_plain_text, conversation.tools, [_said(turn) for turn in conversation.messages]]
    text = json.dumps(said, sort_keys=True, separators=(",", ":"), default=dict)
    key = seed.to_bytes(16, "little", signed=True)
    return hashlib.blake2b(text.encode(), digest_size=SIZE_BYTES, key=key).digest()


def _said(turn: Message) -> list[object]:
    words = " ".join(turn.content.casefold().split())
    return [turn.role, words, turn.tool_calls, turn.extra, turn.is_trained]


def share_of(mark: bytes) -> float:
    """Return a number in [0, 1) that is as good as drawn, and always the same for the same fingerprint."""
    # 53 bits: what a float holds exactly, so that it never rounds up to 1
    return (int.from_bytes(mark[:8], "big") >> 11) / 2**53
