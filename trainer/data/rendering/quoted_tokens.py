"""Find control tokens that people quote in their words, such as `<|im_end|>` in an answer about templates.

As tokens they would end a turn in its middle, or begin one that nobody said. So they are encoded as what they
are there: text.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from trainer.data.conversation import REASONING_KEYS, Conversation, Message
from trainer.data.rendering.chat_template import Tokenizer


class QuotedTokens:
    """The control tokens of one tokenizer, and where a conversation quotes them."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        added: Mapping[int, Any] = getattr(tokenizer, "added_tokens_decoder", {})
        control = sorted({token.content for token in added.values() if token.special}, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, control)))
        self._beginnings = tuple({token[:2] for token in control})

    def are_in(self, conversation: Conversation) -> bool:
        """Return whether anybody quotes one. In a plain text, which has no turns, all are meant."""
        if conversation.is_plain_text:
            return False
        for message in conversation.messages:
            if message.extra or message.tool_calls:
                if any(map(self._is_in, _said(message))):
                    return True
            elif self._is_in(message.content):
                return True
        return False

    def _is_in(self, words: str) -> bool:
        for beginning in self._beginnings:  # asked of every row, and far quicker than the search
            if beginning in words:
                return self._pattern.search(words) is not None
        return False

    def places(self, conversation: Conversation, text: str) -> list[int]:
        """Return where in a text the quoted ones stand: of each, its first character.

        One whose surroundings the template has changed is not found, and stays a token.
        """
        found: list[int] = []
        reached = 0
        for message in conversation.messages:
            for words in filter(None, map(str.strip, _said(message))):
                start = text.find(words, reached if message.role != "system" else 0)
                if start >= 0:
                    found += [start + quoted.start() for quoted in self._pattern.finditer(words)]
                    reached = start + len(words) if message.role != "system" else reached
        return sorted(set(found))


def _said(message: Message) -> Iterator[str]:
    """Yield whatever somebody says in a turn, in the order in which templates show it."""
    for key in REASONING_KEYS:
        if isinstance(thoughts := message.extra.get(key), str):
            yield thoughts
    yield message.content
    for call in message.tool_calls:
        yield from _strings(call["function"]["arguments"])


def _strings(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case Mapping():
            for item in value.values():
                yield from _strings(item)
        case list():
            for item in value:
                yield from _strings(item)
