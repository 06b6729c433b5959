"""Run a chat template on turns of a conversation."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

from jinja2 import TemplateError

from trainer.data.conversation import REASONING_KEYS, Conversation, Message
from trainer.protocol.text import printable

# Attributes that a tokenizer is given with its template, by those who load models
OTHER_TEMPLATES = "find_other_templates"  # returns those with which the model could be trained instead
IN_USE = "training_template_in_use"  # which training template it has, and what that one does

CHARACTERS_ALWAYS_SHOWN = 1_000_000  # of a row, however short; of a longer one so many times its own:
TIMES_AS_LONG = 100
REASON_SHOWN = 300  # characters of what a template says when it refuses; it may quote the conversation

# Whatever a program may raise that somebody else wrote
OF_PYTHON = (ValueError, TypeError, LookupError, ArithmeticError, AttributeError, RecursionError)
FAILURES = (TemplateError, *OF_PYTHON)


class Tokenizer(Protocol):
    """What rendering needs of a tokenizer of the transformers library."""

    def __hash__(self) -> int: ...

    def __call__(
        self, text: list[str], *, add_special_tokens: bool, split_special_tokens: bool = ...
    ) -> Any: ...

    def decode(self, token_ids: list[int]) -> Any: ...

    def apply_chat_template(
        self, conversation: list[dict[str, Any]], *, tokenize: bool, add_generation_prompt: bool
    ) -> Any: ...


class Refused(ValueError):
    """A chat template does not do for a conversation.

    Args:
        reason: what is wrong.
        way_out: what to do about it, where that is known without a search.
        find_advice: searches for what to do about it, which takes up to a second or so.
    """

    def __init__(self, reason: str, way_out: str = "", find_advice: Callable[[], str] | None = None) -> None:
        super().__init__(f"{reason}; {way_out}" if way_out else reason)
        self.reason = reason
        self.way_out = way_out
        self._find_advice = find_advice

    def with_way_out(self) -> str:
        """Return the message for a person, with what to do about it. Searches for that if need be."""
        if self.way_out or self._find_advice is None:
            return str(self)
        return f"{self.reason}; {self._find_advice()}"


class UnrenderableConversation(Refused):
    """The chat template refuses this conversation, or leaves out what it says."""


class UnusableTemplate(Refused):
    """The chat template does not show a conversation in a way from which its turns can be separated."""


@dataclass(frozen=True)
class OtherTemplate:
    """A template with which a model could be trained instead of the one in use."""

    setting: str
    """What to set, in words."""
    text: str
    end_of_turn: str | None
    """What becomes the tokenizer's end of text; None if it stays."""
    in_use: Any
    """What the tokenizer would have as `training_template_in_use`."""


class ShownTurns:
    """Shows how many turns of a conversation one likes.

    Args:
        tokenizer: has the template.
    """

    def __init__(self, conversation: Conversation, tokenizer: Tokenizer) -> None:
        template = getattr(tokenizer, "chat_template", None)
        names = _names_of_thoughts(template) if isinstance(template, str) else {}
        self._messages = [_as_template_sees_it(message, names) for message in conversation.messages]
        self._tools = {"tools": [dict(tool) for tool in conversation.tools]} if conversation.tools else {}
        self._tokenizer = tokenizer
        self._first: dict[int, str] = {}

    def first(self, number: int) -> str:
        """Return the text of the first turns.

        Raises:
            UnrenderableConversation: the template refuses them.
        """
        if number not in self._first:
            self._first[number] = self._show(self._messages[:number])
        return self._first[number]

    def prompt_after(self, number: int) -> str:
        """Return what the model is given after the first turns, to produce the next one.

        Raises:
            UnrenderableConversation: the template refuses them.
        """
        return self._show(self._messages[:number], add_generation_prompt=True)

    def first_with_answer(self, number: int, words: str) -> str:
        """Return the text of the first turns and an answer of these words."""
        return self._show([*self._messages[:number], {"role": "assistant", "content": words}])

    def followed_by_another(self, words: str | None = None) -> str:
        """Return the text of all turns and the one that is next: what a tool returns to calls, or a question.

        Args:
            words: of an answer in the place of the last turn.
        """
        *before, last = self._messages
        if words is not None:
            last = {"role": "assistant", "content": words}
        return self._show([*before, last, _next_to(last)])

    def lone_answer(self, words: str) -> str:
        """Return the text of a conversation that consists of an answer only."""
        return self._show([{"role": "assistant", "content": words}])

    def head_of_answer(self) -> str:
        """Return what the template asks for an answer with, behind a question."""
        question = [{"role": "user", "content": "?"}]
        return self._show(question, add_generation_prompt=True).removeprefix(self._show(question))

    def _show(self, messages: Sequence[dict[str, Any]], *, add_generation_prompt: bool = False) -> str:
        text = self._shown(messages, add_generation_prompt)
        if len(text) > CHARACTERS_ALWAYS_SHOWN:
            self._refuse_inflated(text, messages)
        return text

    def _shown(self, messages: Sequence[dict[str, Any]], add_generation_prompt: bool) -> str:
        try:
            return self._run(messages, add_generation_prompt)
        except FAILURES as error:
            if any("tool_calls" in message for message in messages):
                with suppress(*FAILURES):  # DeepSeek's, for example, wants arguments as the text of JSON
                    return self._run([_with_arguments_as_text(m) for m in messages], add_generation_prompt)
            reason = printable(str(error) or type(error).__name__, limit=REASON_SHOWN)
            raise UnrenderableConversation(f"the chat template refuses the conversation: {reason}") from error

    def _refuse_inflated(self, text: str, messages: Sequence[dict[str, Any]]) -> None:
        """Make sure that a text is not out of all proportion to the row, before anybody tokenizes it."""
        given = len(repr(messages)) + len(repr(self._tools))
        if len(text) > TIMES_AS_LONG * given:
            raise UnrenderableConversation(
                f"the chat template makes {len(text):,} characters of a row of {given:,}; "
                f"expected at most {TIMES_AS_LONG} times as many",
                way_out="use another model.chat_template",
            )

    def _run(self, messages: Sequence[dict[str, Any]], add_generation_prompt: bool) -> str:
        return str(
            self._tokenizer.apply_chat_template(
                list(messages), tokenize=False, add_generation_prompt=add_generation_prompt, **self._tools
            )
        )


def _next_to(last: Mapping[str, Any]) -> dict[str, Any]:
    """Return a turn that may stand behind one of the assistant's."""
    if not last.get("tool_calls"):
        return {"role": "user", "content": "?"}
    call = last["tool_calls"][0]
    return {
        "role": "tool",
        "content": "?",
        "name": call["function"]["name"],
        "tool_call_id": call.get("id", ""),
    }


@lru_cache(maxsize=8)  # asked for every row
def _names_of_thoughts(template: str) -> Mapping[str, str]:
    """Return by which name a template reads thoughts that the data gives by one that it does not know.

    Whether the model may think is often asked by one of these names, too, but not of a message.
    """
    known = [key for key in REASONING_KEYS if re.search(rf"""[.'"]{key}\b""", template)]
    return {key: known[0] for key in REASONING_KEYS if known and key not in known}


def _as_template_sees_it(message: Message, names: Mapping[str, str]) -> dict[str, Any]:
    shown = {**message.extra, "role": message.role, "content": message.content}
    for ours, theirs in names.items():
        if ours in shown and theirs not in shown:
            shown[theirs] = shown.pop(ours)
    if message.tool_calls:
        shown["tool_calls"] = [dict(call) for call in message.tool_calls]
    return shown


def _with_arguments_as_text(message: dict[str, Any]) -> dict[str, Any]:
    if "tool_calls" not in message:
        return message
    calls = []
    for call in message["tool_calls"]:
        text = json.dumps(call["function"]["arguments"], ensure_ascii=False)
        calls.append({**call, "function": {**call["function"], "arguments": text}})
    return {**message, "tool_calls": calls}
