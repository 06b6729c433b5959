"""Conversations made by chance, in which every word is said once, so that one knows whose it is."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count
from random import Random
from typing import Any

from trainer.data.conversation import REASONING_KEYS, Conversation, Message

WORD = re.compile(r"kw[0-9]+kw|7[0-9]{8}7")
SPACES = (" ", "\n", "\n\n", " 🎉 ", " é ")


@dataclass(frozen=True)
class Owner:
    """Where a word is said."""

    turn: int | None
    """None for the tools."""
    kind: str
    """As messages name it: words, reasoning, tool_calls, tool result, tools, schema of the tools."""

    @property
    def place(self) -> str:
        return f"the {self.kind}" if self.turn is None else f"the {self.kind} of messages[{self.turn}]"


class RandomConversation:
    """One conversation, and who says each of its words.

    Args:
        seed: decides everything.
        quoted: a control token that somebody may quote.
    """

    def __init__(self, seed: str, quoted: str) -> None:
        self._random = Random(seed)
        self._quoted = quoted
        self._numbers = count(1)
        self.owners: dict[str, Owner] = {}
        self._tool_names: list[str] = []
        has_tools = self._chance(0.4)
        self.row = self._make(has_tools)

    def _chance(self, share: float) -> bool:
        return self._random.random() < share

    def _make(self, has_tools: bool) -> Conversation:
        tools = tuple(self._tool() for _ in range(self._random.randint(1, 2))) if has_tools else ()
        messages: list[Message] = []
        if self._chance(0.4):
            messages.append(self._said("system", 0))
        if self._chance(0.1):
            messages.append(self._answer(len(messages)))
        for _ in range(self._random.randint(1, 3)):
            messages += self._exchange(len(messages), has_tools)
        if self._chance(0.1):
            messages.append(self._said("user", len(messages)))
        return Conversation(tuple(messages), tools=tools)

    def _exchange(self, start: int, has_tools: bool) -> list[Message]:
        turns = [self._said("user", start)]
        if self._chance(0.05):
            turns.append(self._said("user", start + 1))
        if self._chance(0.05):
            turns.append(self._said("system", start + len(turns)))
        if has_tools and self._chance(0.6):
            turns.append(self._call(start + len(turns)))
            for call in turns[-1].tool_calls:
                turns.append(self._result(start + len(turns), call))
            if self._chance(0.2):
                return turns
        turns.append(self._answer(start + len(turns)))
        if self._chance(0.05):
            turns.append(self._answer(start + len(turns)))
        return turns

    def _word(self, turn: int | None, kind: str) -> str:
        word = f"kw{next(self._numbers)}kw"
        self.owners[word] = Owner(turn, kind)
        return word

    def _words(self, turn: int, kind: str) -> str:
        words = [self._word(turn, kind) for _ in range(self._random.randint(1, 3))]
        text = self._random.choice(SPACES).join(words)
        if self._chance(0.05):
            text += self._quoted
        return f" {text}\n" if self._chance(0.1) else text

    def _said(self, role: Any, turn: int) -> Message:
        return Message(role, self._words(turn, "words"))

    def _answer(self, turn: int) -> Message:
        content = "" if self._chance(0.05) else self._words(turn, "words")
        message = Message("assistant", content, is_trained=self._chance(0.9))
        return self._with_thoughts(message, turn) if self._chance(0.2) else message

    def _with_thoughts(self, message: Message, turn: int) -> Message:
        key = self._random.choice(REASONING_KEYS)
        return replace(message, extra={key: self._words(turn, "reasoning")})

    def _tool(self) -> dict[str, Any]:
        name = self._word(None, "tools")
        self._tool_names.append(name)
        properties = {self._word(None, "schema of the tools"): {"type": "string"}}
        parameters = {"type": "object", "properties": properties, "required": list(properties)}
        description = self._word(None, "schema of the tools")
        function = {"name": name, "description": description, "parameters": parameters}
        return {"type": "function", "function": function}

    def _call(self, turn: int) -> Message:
        calls = tuple(self._one_call(turn, place) for place in range(self._random.choice([1, 1, 1, 2])))
        content = self._words(turn, "words") if self._chance(0.3) else ""
        message = Message("assistant", content, tool_calls=calls, is_trained=self._chance(0.9))
        return self._with_thoughts(message, turn) if self._chance(0.2) else message

    def _one_call(self, turn: int, place: int) -> dict[str, Any]:
        def word() -> str:
            return self._word(turn, "tool_calls")

        def number() -> int:
            value = 7_000_000_007 + 10 * next(self._numbers)
            self.owners[str(value)] = Owner(turn, "tool_calls")
            return value

        kinds: list[Callable[[], Any]] = [
            *(word, number, dict, bool),
            lambda: [word(), number()],
            lambda: {word(): word()},
        ]
        chosen = self._random.sample(kinds, self._random.randint(0, 3))
        arguments = {word(): value() for value in chosen}
        function = {"name": self._random.choice(self._tool_names), "arguments": arguments}
        return {"type": "function", "id": f"callid{turn:02}{place}", "function": function}

    def _result(self, turn: int, call: dict[str, Any]) -> Message:
        extra = {"name": call["function"]["name"], "tool_call_id": call["id"]}
        content = self._words(turn, "tool result")
        return Message("tool", content, extra=extra)
