"""Find control tokens that people quote in their words, such as `<|im_end|>` in an answer about templates.

As tokens they would end a turn in its middle, or begin one that nobody said. So they are encoded as what they
are there: text. Which ones are quoted cannot be seen in the rendered text, where the template's own look the
same. So the conversation is rendered once more with other words in their places.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from itertools import count
from typing import Any

from trainer.data.conversation import Conversation, Message, Role
from trainer.data.rendering.chat_template import ShownTurns, Tokenizer, UnrenderableConversation

NOTHING = "(?!)"
MARK = re.compile(r"zq[0-9]+quote([0-9]+)zq")


SHORTEST_MARKER = 3  # characters
PROBES: tuple[tuple[Role, ...], ...] = (
    ("user", "assistant", "user", "assistant"),
    ("system", "user", "assistant", "user"),
)


class QuotedTokens:
    """The control tokens of one tokenizer, and where a conversation quotes them.

    Args:
        markers: tokens that count as control tokens though the tokenizer does not call them special.
    """

    def __init__(self, tokenizer: Tokenizer, markers: Collection[str] = ()) -> None:
        self._tokenizer = tokenizer
        special = {token.content for token in _added_tokens(tokenizer) if token.special}
        control = _longest_first({*special, *markers})
        self._pattern = re.compile("|".join(map(re.escape, control)) or NOTHING)
        self._beginnings = tuple({token[:2] for token in control})

    def are_in(self, conversation: Conversation) -> bool:
        """Return whether anybody quotes one. In a plain text, which has no turns, all are meant."""
        if conversation.is_plain_text:
            return False
        for message in conversation.messages:
            has_more = message.extra or message.tool_calls
            said = _strings([message.content, message.extra, message.tool_calls]) if has_more else ()
            if self._is_in(message.content) or any(map(self._is_in, said)):
                return True
        return bool(conversation.tools) and any(map(self._is_in, _strings(conversation.tools)))

    def _is_in(self, words: str) -> bool:
        for beginning in self._beginnings:  # asked of every row, and far quicker than the search
            if beginning in words:
                return self._pattern.search(words) is not None
        return False

    def places(self, conversation: Conversation, text: str) -> list[int]:
        """Return where in a text the quoted ones stand: of each, its first character.

        A token that the template itself looks for in the words, as many do for `</think>`, is no quote.

        Args:
            text: what the template makes of the conversation.
        Raises:
            UnrenderableConversation: the template does something else with other words in their places.
        """
        found = self._places(conversation, text, self._pattern)
        if found is None:
            said = "".join(_strings_of(conversation))
            each = map(re.compile, map(re.escape, sorted(set(self._pattern.findall(said)), key=len)))
            quotes = [one.pattern for one in each if self._places(conversation, text, one) is not None]
            found = self._places(conversation, text, re.compile("|".join(reversed(quotes)) or NOTHING))
        if found is None:
            raise UnrenderableConversation(
                "the chat template shows the conversation, but not one that says other words where this one "
                "quotes control tokens",
                'remove the tokens from the words, or set data.quoted_control_tokens to "tokens"',
            )
        return found

    def _places(self, conversation: Conversation, text: str, quotes: re.Pattern[str]) -> list[int] | None:
        """Return where quotes stand; None if the template shows something else with other words."""
        marks = _Marks(quotes, conversation)
        try:
            shown = ShownTurns(marks.marked, self._tokenizer).first(len(conversation.messages))
        except UnrenderableConversation:
            return None
        restored, places = marks.restored(shown)
        return places if text.startswith(restored.rstrip()) else None


def turn_markers(tokenizer: Tokenizer) -> frozenset[str]:
    """Return the tokens between the turns of a plain conversation that the tokenizer does not call special.

    DeepSeek's `<｜Assistant｜>` is such. Marks that enclose a part of a turn, as `<think>` and `</think>` do,
    are none: people write them into answers and prompts, and mean the tokens.
    """
    added = _added_tokens(tokenizer)
    ordinary = {token.content for token in added if not token.special and _looks_like_marker(token.content)}
    markers = {token for token in ordinary if not _counterparts(token) & ordinary}
    if not markers:
        return frozenset()
    pattern = re.compile("|".join(map(re.escape, _longest_first({token.content for token in added}))))
    between = "".join(_texts_between_turns(tokenizer))
    return frozenset(markers.intersection(pattern.findall(between)))


def _texts_between_turns(tokenizer: Tokenizer) -> Iterator[str]:
    for roles in PROBES:
        words = [f"zq{i}turn" for i in range(len(roles))]
        probe = Conversation(tuple(map(Message, roles, words)))
        try:
            text = ShownTurns(probe, tokenizer).first(len(roles))
        except UnrenderableConversation:
            continue
        yield from re.split("|".join(words), text)[1:-1]


def _looks_like_marker(token: str) -> bool:
    """Return whether a token is no word, emoji or white space, which somebody may have added."""
    is_word = token[:1].isalnum() or token[-1:].isalnum()
    return len(token) >= SHORTEST_MARKER and token.isprintable() and token == token.strip() and not is_word


def _counterparts(token: str) -> set[str]:
    """Return what closes a mark, or opens it."""
    return {f"<{token[2:]}"} if token.startswith("</") else {f"</{token[1:]}"}


def _added_tokens(tokenizer: Tokenizer) -> list[Any]:
    return list(getattr(tokenizer, "added_tokens_decoder", {}).values())


def _longest_first(tokens: Collection[str]) -> list[str]:
    return sorted(tokens, key=len, reverse=True)


class _Marks:
    """A conversation with a word of its own in the place of each quoted token."""

    def __init__(self, pattern: re.Pattern[str], conversation: Conversation) -> None:
        said = "".join(_strings_of(conversation))
        self._prefix = next(prefix for number in count() if (prefix := f"zq{number}quote") not in said)
        self._quoted: list[str] = []
        self._pattern = pattern
        messages = tuple(
            replace(
                message,
                content=self._mark(message.content),
                extra=_changed(message.extra, self._mark),
                tool_calls=_changed(message.tool_calls, self._mark),
            )
            for message in conversation.messages
        )
        self.marked = replace(conversation, messages=messages, tools=_changed(conversation.tools, self._mark))

    def restored(self, shown: str) -> tuple[str, list[int]]:
        """Return a text with the tokens in their places again, and where these are."""
        places: list[int] = []
        parts: list[str] = []  # joined at the end: a row may quote hundreds of thousands
        reached, length = 0, 0
        for mark in MARK.finditer(shown):
            number = int(mark[1])
            if not mark[0].startswith(self._prefix) or number >= len(self._quoted):
                continue  # somebody's own words
            places.append(length + mark.start() - reached)
            parts += shown[reached : mark.start()], self._quoted[number]
            reached, length = mark.end(), places[-1] + len(self._quoted[number])
        return "".join([*parts, shown[reached:]]), places

    def _mark(self, words: str) -> str:
        return self._pattern.sub(self._next_mark, words)

    def _next_mark(self, found: re.Match[str]) -> str:
        self._quoted.append(found[0])
        return f"{self._prefix}{len(self._quoted) - 1}zq"


def _strings_of(conversation: Conversation) -> Iterator[str]:
    """Yield whatever is said in a conversation."""
    for message in conversation.messages:
        yield from _strings([message.content, message.extra, message.tool_calls])
    yield from _strings(conversation.tools)


def _strings(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case Mapping():
            for key, item in value.items():
                yield from _strings(key)
                yield from _strings(item)
        case list() | tuple():
            for item in value:
                yield from _strings(item)


def _changed(value: Any, change: Callable[[str], str]) -> Any:
    match value:
        case str():
            return change(value)
        case Mapping():
            return {_changed(key, change): _changed(item, change) for key, item in value.items()}
        case list() | tuple():
            return type(value)(_changed(item, change) for item in value)
        case _:
            return value
