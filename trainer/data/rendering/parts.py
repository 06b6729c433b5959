"""Find what a chat template does not show of a conversation, by putting unmistakable words in every place.

A word that the conversation also says elsewhere proves nothing: "add 2 and 3" shows the name of the function
`add`, though its call may be lost. So a copy of the conversation is rendered in which every part says
something that is said nowhere else, and each must be found where it belongs.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

from trainer.data.conversation import REASONING_KEYS, Conversation, Message
from trainer.data.rendering.chat_template import ShownTurns, Tokenizer, UnrenderableConversation

MARKS = re.compile(r"zq[0-9]+zq|9[0-9]{9}9(?=\D|$)")
STRUCTURES_KEPT = 4096
DEEPEST = 32  # levels of arguments in which every value is marked

WORDS, REASONING, CALLS, RESULT = "words", "reasoning", "tool_calls", "tool result"
NAME = "name"
"""Of who speaks; where it is not shown, the words can be learned nevertheless."""
TOOLS, SCHEMA = "tools", "schema of the tools"


@dataclass(frozen=True, slots=True)
class LostPart:
    """What is not shown, or not where it belongs."""

    what: str
    turn: int | None
    """None for the tools, which belong to no turn."""

    @property
    def place(self) -> str:
        """Words for a message."""
        return f"the {self.what}" if self.turn is None else f"the {self.what} of messages[{self.turn}]"


@dataclass(frozen=True, slots=True)
class _Mark:
    word: str
    part: LostPart
    is_bound: bool
    """Whether it must stand behind the turns before; what the system says may stand anywhere."""


class PartsCheck:
    """Finds lost parts with one tokenizer's template; conversations of the same structure are tried once."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._known: dict[str, tuple[LostPart, ...] | None] = {}

    def lost(self, conversation: Conversation, text: str) -> list[LostPart]:
        """Return what is not shown of a conversation.

        Args:
            text: what the template makes of it.
        """
        lost = self._lost_of_structure(conversation)
        return [*lost, *_words_not_in(text, conversation, besides=lost)]

    def _lost_of_structure(self, conversation: Conversation) -> tuple[LostPart, ...]:
        marked, marks = _Marking().of(conversation)
        key = hashlib.sha256(repr((marked.messages, marked.tools)).encode()).hexdigest()  # tools may be long
        if key not in self._known:
            if len(self._known) >= STRUCTURES_KEPT:
                self._known.clear()
            self._known[key] = self._try(marked, marks)
        lost = self._known[key]
        if lost is None:
            raise UnrenderableConversation(
                "the chat template shows the conversation, but not one that says other words in the same "
                "places, so nobody can tell whether it shows all of it"
            )
        return lost

    def _try(self, marked: Conversation, marks: list[_Mark]) -> tuple[LostPart, ...] | None:
        try:
            text = ShownTurns(marked, self._tokenizer).first(len(marked.messages))
        except UnrenderableConversation:
            return None
        return tuple(dict.fromkeys(_out_of_place(text, marks)))


class _Marking:
    """Makes a copy of a conversation that says a word of its own in every place."""

    def __init__(self) -> None:
        self._numbers = count(1)
        self._marks: list[_Mark] = []
        self._part = LostPart(TOOLS, None)
        self._is_bound = False
        self._names: set[str] = set()
        self._ids: dict[str, str] = {}

    def of(self, conversation: Conversation) -> tuple[Conversation, list[_Mark]]:
        tools = tuple(self._tool(tool) for tool in conversation.tools)
        messages = tuple(self._message(i, message) for i, message in enumerate(conversation.messages))
        return Conversation(messages, tools=tools), self._marks

    def _word(self) -> str:
        word = f"zq{next(self._numbers)}zq"
        self._marks.append(_Mark(word, self._part, self._is_bound))
        return word

    def _number(self) -> int:
        number = 90_000_000_009 + 10 * next(self._numbers)
        self._marks.append(_Mark(str(number), self._part, self._is_bound))
        return number

    def _tool(self, tool: Mapping[str, Any]) -> dict[str, Any]:
        function = tool.get("function")
        if isinstance(function, Mapping):
            return {**tool, "function": self._schema(function)}
        return self._schema(tool)

    def _schema(self, function: Mapping[str, Any]) -> dict[str, Any]:
        schema = {**function}
        self._part = LostPart(TOOLS, None)
        if isinstance(function.get("name"), str):
            schema["name"] = self._word()
        self._part = LostPart(SCHEMA, None)
        if isinstance(function.get("description"), str) and function["description"].strip():
            schema["description"] = self._word()
        parameters = function.get("parameters")
        if isinstance(parameters, Mapping) and isinstance(parameters.get("properties"), Mapping):
            names = {name: self._word() for name in parameters["properties"]}
            properties = {names[name]: value for name, value in parameters["properties"].items()}
            required = parameters.get("required")
            schema["parameters"] = {**parameters, "properties": properties}
            if isinstance(required, list):
                schema["parameters"]["required"] = [names.get(str(name), name) for name in required]
        return schema

    def _message(self, i: int, message: Message) -> Message:
        self._is_bound = message.role != "system"
        extra = dict(message.extra)
        for key in REASONING_KEYS:
            if isinstance(extra.get(key), str) and extra[key].strip():
                self._part = LostPart(REASONING, i)
                extra[key] = self._word()
        if message.role != "tool" and isinstance(extra.get(NAME), str) and extra[NAME].strip():
            self._part, is_bound, self._is_bound = LostPart(NAME, i), self._is_bound, False
            extra[NAME] = self._word()
            self._is_bound = is_bound
        content = message.content
        if content.strip():
            self._part = LostPart(RESULT if message.role == "tool" else WORDS, i)
            content = self._word()
        self._part = LostPart(CALLS, i)
        calls = tuple(self._call(call) for call in message.tool_calls)
        if message.role == "tool" and extra.get("name") in self._names:
            # Another word than in the call, which a template may leave out of it and show here
            extra["name"] = f"zq{next(self._numbers)}zq"
        if isinstance(extra.get("tool_call_id"), str):
            extra["tool_call_id"] = self._ids.get(extra["tool_call_id"], extra["tool_call_id"])
        return replace(message, content=content, tool_calls=calls, extra=extra, is_trained=True)

    def _call(self, call: Mapping[str, Any]) -> dict[str, Any]:
        function = call["function"]
        name = self._word()
        self._names.add(function["name"])
        # One without arguments gets one: only so can its call be told from a result that shows its name
        arguments = self._value(function["arguments"] or {"": ""}, 0)
        marked = {**call, "function": {**function, "name": name, "arguments": arguments}}
        if isinstance(call.get("id"), str) and function["name"] in call["id"]:
            # Kimi names a call by its id alone, functions.add:0
            marked["id"] = self._ids[call["id"]] = call["id"].replace(function["name"], name)
        return marked

    def _value(self, value: Any, depth: int) -> Any:
        match value:
            case _ if depth > DEEPEST:
                return value
            case Mapping():
                return {self._word(): self._value(item, depth + 1) for item in value.values()}
            case list():
                return [self._value(item, depth + 1) for item in value]
            case str():
                return self._word()
            case bool() | None:
                return value  # said in many places; its key was marked
            case _:
                return self._number()


def _out_of_place(text: str, marks: list[_Mark]) -> Iterator[LostPart]:
    """Yield the parts of which a mark is missing, or stands before one of an earlier turn."""
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    for found in MARKS.finditer(text.lower()):
        first.setdefault(found[0], found.start())
        last[found[0]] = found.start()
    reached = 0  # where the words of the earlier turns end
    end_of_turn, turn = 0, -1
    for mark in marks:
        place = first.get(mark.word)
        if place is None:
            yield mark.part
            continue
        if not mark.is_bound or mark.part.turn is None:
            continue
        if mark.part.turn != turn:
            reached, turn = end_of_turn, mark.part.turn
        if last[mark.word] < reached:
            yield mark.part
        else:
            end_of_turn = max(end_of_turn, place)


def _words_not_in(
    text: str, conversation: Conversation, *, besides: Sequence[LostPart]
) -> Iterator[LostPart]:
    """Yield the parts whose own words cannot be found in the text, behind those of the turns before.

    Args:
        besides: parts that are known to be lost.
    """
    text = squeezed(text)
    reached = 0
    for i, message in enumerate(conversation.messages):
        what = RESULT if message.role == "tool" else WORDS
        for said, kind in [(reasoning_of(message), REASONING), (message.content, what)]:
            words = squeezed(said)
            if not words or LostPart(kind, i) in besides:
                continue
            start = 0 if message.role == "system" else reached
            place = text.find(words, start)
            if place < 0:
                place = max(text.find(form, start) for form in _escaped(said))
            if place < 0:
                yield LostPart(kind, i)
            elif message.role != "system" and kind != REASONING:
                reached = place + len(words)
        if LostPart(CALLS, i) not in besides and not _shows_arguments(text, message):
            yield LostPart(CALLS, i)


def _shows_arguments(text: str, message: Message) -> bool:
    """Return whether each name and value that a turn gives to tools can be found in a text.

    That a template shows arguments is known by then, but it may drop a 0, or what is long.
    """
    arguments = (call["function"]["arguments"] for call in message.tool_calls)
    return all(
        any(form in text for form in forms_of(value)) for given in arguments for value in _leaves(given)
    )


def _leaves(value: Any) -> Iterator[Any]:
    match value:
        case Mapping():
            yield from value
            for item in value.values():
                yield from _leaves(item)
        case list():
            for item in value:
                yield from _leaves(item)
        case _:
            yield value


def forms_of(value: Any) -> Iterator[str]:
    """Yield how a template may write a name or a value, without white space, also in JSON inside of JSON."""
    if isinstance(value, str):
        once = [value, *_escaped(value)]
        yield from map(squeezed, once)
        for form in once[1:]:
            yield from _escaped(form)
    else:
        yield from (str(value), json.dumps(value))


def reasoning_of(message: Message) -> str:
    """Return the thoughts of a message; empty if it has none."""
    return next((str(message.extra[key]) for key in REASONING_KEYS if message.extra.get(key)), "")


def _escaped(words: str) -> Iterator[str]:
    """Yield how a template may write words inside of JSON."""
    for is_ascii in (False, True):
        yield squeezed(json.dumps(words.strip(), ensure_ascii=is_ascii)[1:-1])


def squeezed(text: str) -> str:
    """Return a text without white space, which is the template's to set."""
    return "".join(text.split())
