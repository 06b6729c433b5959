"""Texts of which it is known how much they have in common."""

import random
from collections.abc import Sequence

from trainer.data.checks.minhash import RowMinHash, minhash_row
from trainer.data.conversation import Conversation, Message, Role

WORDS = [
    f"{start}{end}" for start in ("ba", "ko", "li", "mu", "ne", "sa") for end in ("n", "r", "t", "ver", "zil")
]


def words(number: int, seed: int) -> list[str]:
    return random.Random(seed).choices(WORDS, k=number)


def talk(*turns: tuple[Role, str]) -> Conversation:
    return Conversation(tuple(Message(role, text) for role, text in turns))


def answer(text: str | Sequence[str], *, question: str = "Tell me.") -> Conversation:
    text = text if isinstance(text, str) else " ".join(text)
    return talk(("user", question), ("assistant", text))


def minhashed(conversation: Conversation, line: int = 1) -> RowMinHash:
    return minhash_row(line, conversation)


def minhashes(number: int, *, seed: int = 0) -> list[RowMinHash]:
    """Return rows that have nothing in common, of consecutive lines from 1."""
    return [minhashed(answer(words(40, seed * 1_000_000 + line)), line) for line in range(1, number + 1)]
