"""What a family is: a template, and what it makes of a conversation, said again without a template."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trainer.data.conversation import REASONING_KEYS, Conversation, Message


class Refused(Exception):
    """The template does not take such a conversation."""


@dataclass(frozen=True)
class Part:
    """A stretch of text: which turn it belongs to, and whether the model produces it."""

    text: str
    turn: int | None = None
    is_produced: bool = False
    ends: int | None = None
    """The turn that it ends, too, where that has no end of its own."""
    closes: bool = False
    """Whether it stands only where no turn follows."""
    is_added: bool = False
    """Whether it is there only if turn `turn` is learned: the template leaves the end to the next turn."""


Parts = Callable[[Conversation], Iterator[Part]]


@dataclass(frozen=True)
class Family:
    name: str
    template: str
    parts: Parts
    bos: str = ""
    eos: str = "</s>"
    ends: tuple[str, ...] = ()
    """What ends a turn; the end-of-text token if there is nothing else."""
    markers: tuple[str, ...] = ()
    """Control tokens that few families have."""
    asks: Callable[[Conversation], str] | None = None
    """What a prompt ends with, where its answers begin in another way."""
    options: Mapping[str, Any] = field(default_factory=dict)
    shows_tools: bool = False
    shows_schema: bool = True
    """Whether a tool's description and parameters are shown with its name."""

    @property
    def ends_of_turns(self) -> tuple[str, ...]:
        return self.ends or (self.eos,)


@dataclass(frozen=True)
class Turns:
    """Each turn between a head and an end by its role, one after the other."""

    heads: Mapping[str, str]
    ends: Mapping[str, str]
    before: str = ""
    behind: str = ""
    """After the end of an assistant's turn, but not produced by it."""
    between: str = ""
    """The same, if another turn follows."""
    default_system: str | None = None
    strips: bool = False
    alternates: bool = False
    system: str = "head"
    """`head`: a turn of its own; `refused`: not taken."""
    last: str = ""
    """What the text ends with."""
    asks: str | None = None
    """Part of the assistant's head that the template asks with; None for all of it."""
    says: Callable[[Message], str] = lambda message: message.content
    """What an assistant's turn says."""
    hides: Callable[[int, Message], bool] = lambda i, message: False
    """Which turns are not shown."""

    def __call__(self, conversation: Conversation) -> Iterator[Part]:
        messages = list(enumerate(conversation.messages))
        has_system = messages[0][1].role == "system"
        if has_system and self.system == "refused":
            raise Refused
        if self.alternates:
            refuse_unless_alternating([message for _, message in messages[has_system:]])
        if self.before:
            yield Part(self.before, 0)
        if self.default_system is not None and not has_system:
            yield Part(self.default_system, 0)
        for i, message in messages:
            if not self.hides(i, message):
                yield from self._turn(i, message)
                if message.role == "assistant" and i + 1 < len(messages):
                    yield Part(self.between, i + 1)
        yield Part(self.last, closes=True)

    def _turn(self, i: int, message: Message) -> Iterator[Part]:
        is_answer = message.role == "assistant"
        content = self.says(message) if is_answer else message.content
        content = content.strip() if self.strips else content
        if message.role not in self.heads:
            raise Refused
        head, end = self.heads[message.role], self.ends[message.role]
        if not is_answer:
            yield Part(head + content + end, i)
            return
        asks = head if self.asks is None else self.asks
        yield Part(asks, i)
        yield Part(head[len(asks) :] + content + end, i, is_produced=True)
        yield Part(self.behind, i)


def same(text: str) -> dict[str, str]:
    return dict.fromkeys(("system", "user", "assistant", "tool"), text)


def by_role(pattern: str, **names: str) -> dict[str, str]:
    return {role: pattern.replace("ROLE", names.get(role, role)) for role in same("")}


def refuse_unless_alternating(messages: Sequence[Message]) -> None:
    for i, message in enumerate(messages):
        if (message.role == "user") != (i % 2 == 0):
            raise Refused


def system_in_first_question(
    conversation: Conversation, before: str, after: str, *, strips_all: bool = False
) -> Iterator[tuple[int, Message, str]]:
    """Yield turn, message and what it says, with the system's words in the first question."""
    messages = list(enumerate(conversation.messages))
    prefix = ""
    if messages[0][1].role == "system":
        prefix = before + messages.pop(0)[1].content + after
    refuse_unless_alternating([message for _, message in messages])
    for place, (i, message) in enumerate(messages):
        said = message.content.strip()
        if place == 0:
            said = (prefix + message.content).strip() if strips_all else prefix + said
        yield i, message, said


def system_apart(conversation: Conversation) -> tuple[str | None, list[tuple[int, Message]]]:
    """Return what the system says at the head, and the other turns."""
    messages = list(enumerate(conversation.messages))
    if messages[0][1].role == "system":
        return messages[0][1].content, messages[1:]
    return None, messages


def thoughts_of(message: Message) -> str:
    return next((message.extra[key] for key in REASONING_KEYS if key in message.extra), "")


def last_question(conversation: Conversation, default: int = -1) -> int:
    roles = [message.role for message in conversation.messages]
    return max((i for i, role in enumerate(roles) if role == "user"), default=default)


def as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def name_and_arguments(call: Mapping[str, Any], *, key: str = "arguments") -> str:
    function = call["function"]
    return f'{{"name": "{function["name"]}", "{key}": {as_json(function["arguments"])}}}'


def shared_response(messages: Sequence[Message], i: int, *, role: str = "user") -> Part:
    """Return what a tool returns, in a turn of ChatML that results behind one another share."""
    begins = i == 0 or messages[i - 1].role != "tool"
    ends = i + 1 == len(messages) or messages[i + 1].role != "tool"
    head, end = f"<|im_start|>{role}" if begins else "", "<|im_end|>\n" if ends else ""
    return Part(f"{head}\n<tool_response>\n{messages[i].content}\n</tool_response>{end}", i)
