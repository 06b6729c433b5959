"""Express a conversation in another format, and report what is lost. Pure. One function per format.

What would change what is trained is never lost silently: either it is counted, or the row is refused.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from daemon.data_tools.tables import numbered_rows
from trainer.data.conversation import REASONING_KEYS, Conversation, Message, Role


class Format(StrEnum):
    """What rows can be written as."""

    MESSAGES = "messages"
    SHAREGPT = "sharegpt"
    ALPACA = "alpaca"
    PROMPT_COMPLETION = "prompt-completion"


def format_named(name: str) -> Format:
    """Return a format by its name, also by that which the queue and the ledger show (with `_`).

    Raises:
        ValueError: there is none.
    """
    return Format(name.replace("_", "-"))


class Loss(StrEnum):
    """What a format has no place for, in words for people."""

    TOOLS = "the list of tools"
    TOOL_CALLS = "calls of tools, with their answers"
    THOUGHTS = "thoughts before answers"
    FIELDS = "further fields of messages, such as name and tool_call_id"
    SYSTEM = "system messages that are empty or not the first"
    EARLIER_ANSWERS = "learning earlier answers: they become context"
    LAST_QUESTION = "turns after the last answer"
    OTHER_KEYS = "keys of rows that no format knows"


class CannotExpress(ValueError):
    """A format has no way to say this conversation; the message says why."""


@dataclass(frozen=True)
class Expressed:
    """A conversation as a row of some format."""

    row: dict[str, Any]
    losses: frozenset[Loss] = frozenset()


def express(conversation: Conversation, format: Format) -> Expressed:
    """Return a conversation as a row.

    Raises:
        CannotExpress: it has no turns, or the format has no place for them.
    """
    if conversation.is_plain_text:
        raise CannotExpress("a plain text has no turns; expected a conversation")
    return WRITERS[format](conversation)


def to_line(row: Mapping[str, Any]) -> bytes:
    """Return a row as a line of a file.

    Raises:
        CannotExpress: it holds a number that JSON has no word for.
    """
    try:
        return numbered_rows.to_line(row)
    except ValueError as error:
        raise CannotExpress("a number is too large for JSON; expected a finite one") from error


def _messages(conversation: Conversation) -> Expressed:
    row: dict[str, Any] = {"messages": [_message(message) for message in conversation.messages]}
    return Expressed(row | _beside(conversation))


def _message(message: Message) -> dict[str, Any]:
    item: dict[str, Any] = {"role": message.role, "content": message.content, **message.extra}
    if message.tool_calls:
        item["tool_calls"] = list(message.tool_calls)
    if not message.is_trained:
        item["train"] = False
    return item


def _beside(conversation: Conversation) -> dict[str, Any]:
    """Return what stands in a row beside its turns."""
    found: dict[str, Any] = {}
    if conversation.tools:
        found["tools"] = list(conversation.tools)
    if conversation.metadata:
        found["metadata"] = dict(conversation.metadata)
    return found


# ---- sharegpt

SPEAKERS: dict[Role, str] = {"system": "system", "user": "human", "assistant": "gpt", "tool": "observation"}


def _sharegpt(conversation: Conversation) -> Expressed:
    turns = [_sharegpt_turn(message) for message in conversation.messages]
    losses = _lost_beside_words(conversation.messages) - {Loss.THOUGHTS}
    return Expressed({"conversations": turns} | _beside(conversation), frozenset(losses))


def _sharegpt_turn(message: Message) -> dict[str, Any]:
    turn: dict[str, Any] = {"from": SPEAKERS[message.role], "value": message.content}
    if message.tool_calls:
        if message.content:
            raise CannotExpress("one turn both has text and calls a tool; expected one or the other")
        calls = message.tool_calls if len(message.tool_calls) > 1 else message.tool_calls[0]
        turn = {"from": "function_call", "value": json.dumps(calls, ensure_ascii=False)}
    turn |= {key: message.extra[key] for key in REASONING_KEYS if key in message.extra}
    return turn if message.is_trained else turn | {"train": False}


def _lost_beside_words(messages: Sequence[Message]) -> set[Loss]:
    """Return what is lost where a turn has only its words."""
    keys = {key for message in messages for key in message.extra}
    losses = {Loss.THOUGHTS} if not keys.isdisjoint(REASONING_KEYS) else set()
    return losses | {Loss.FIELDS} if keys.difference(REASONING_KEYS) else losses


# ---- alpaca


def _alpaca(conversation: Conversation) -> Expressed:
    _refuse_untrained(conversation.messages)
    messages, losses = _without_tools(conversation)
    messages, cut = _up_to_last_answer(messages)
    system, turns = _split_system(messages)
    if any(message.role == "system" for message in turns) or (system and not system.content):
        losses |= {Loss.SYSTEM}
        turns = [message for message in turns if message.role != "system"]
    pairs = list(zip(turns[::2], turns[1::2], strict=False))
    if len(turns) % 2 or any((asked.role, given.role) != ("user", "assistant") for asked, given in pairs):
        raise CannotExpress("user and assistant do not alternate; expected user, assistant, user, …")
    *earlier, (question, answer) = pairs
    row: dict[str, Any] = {"instruction": question.content, "input": "", "output": answer.content}
    if system and system.content:
        row["system"] = system.content
    if earlier:
        row["history"] = [[asked.content, given.content] for asked, given in earlier]
    if conversation.metadata:
        row["metadata"] = dict(conversation.metadata)
    return Expressed(row, frozenset(losses | cut))


def _without_tools(conversation: Conversation) -> tuple[list[Message], set[Loss]]:
    losses = _lost_beside_words(conversation.messages)
    if conversation.tools:
        losses.add(Loss.TOOLS)
    messages = list(conversation.messages)
    if any(message.tool_calls or message.role == "tool" for message in messages):
        losses.add(Loss.TOOL_CALLS)
        # A turn that answers and calls keeps its answer
        messages = [message for message in messages if message.role != "tool" and _says_something(message)]
    return messages, losses


def _says_something(message: Message) -> bool:
    return bool(message.content) or not message.tool_calls


def _split_system(messages: Sequence[Message]) -> tuple[Message | None, list[Message]]:
    if messages and messages[0].role == "system":
        return messages[0], list(messages[1:])
    return None, list(messages)


def _up_to_last_answer(messages: Sequence[Message]) -> tuple[list[Message], set[Loss]]:
    answers = [place for place, message in enumerate(messages) if message.role == "assistant"]
    if not answers:
        raise CannotExpress("no answer of the assistant is left; expected at least one")
    kept = list(messages[: answers[-1] + 1])
    return kept, {Loss.LAST_QUESTION} if len(kept) < len(messages) else set()


# ---- prompt and completion


def _prompt_completion(conversation: Conversation) -> Expressed:
    messages, losses = _up_to_last_answer(conversation.messages)
    *prompt, completion = messages
    if not completion.is_trained:
        raise CannotExpress("the last answer has train: false; a completion is always supervised")
    if not prompt:
        raise CannotExpress("the assistant speaks first; expected a prompt before the completion")
    if any(message.role == "assistant" and message.is_trained for message in prompt):
        losses.add(Loss.EARLIER_ANSWERS)
    row: dict[str, Any] = {
        "prompt": [_context(message) for message in prompt],
        "completion": [_message(completion)],
    }
    if len(prompt) == 1 and prompt[0].role == "user" and _is_mere_text(prompt[0], completion):
        row = {"prompt": prompt[0].content, "completion": completion.content}
    return Expressed(row | _beside(conversation), frozenset(losses))


def _context(message: Message) -> dict[str, Any]:
    # That a prompt is not learned needs no saying
    return {key: value for key, value in _message(message).items() if key != "train"}


def _is_mere_text(*messages: Message) -> bool:
    return not any(message.extra or message.tool_calls for message in messages)


def _refuse_untrained(messages: Sequence[Message]) -> None:
    for place, message in enumerate(messages):
        if message.role == "assistant" and not message.is_trained:
            raise CannotExpress(
                f"messages[{place}] has train: false, which {Format.ALPACA} cannot represent; "
                f"it would be supervised; expected another format, such as {Format.MESSAGES}"
            )


WRITERS: dict[Format, Callable[[Conversation], Expressed]] = {
    Format.MESSAGES: _messages,
    Format.SHAREGPT: _sharegpt,
    Format.ALPACA: _alpaca,
    Format.PROMPT_COMPLETION: _prompt_completion,
}
