"""`{"from": "human", "value": …}`: a turn as in ShareGPT."""

from dataclasses import replace
from typing import Any

from trainer.data.conversation import Message, Role
from trainer.data.formats.messages import message_of
from trainer.data.formats.tools import Calls, TooManyCalls, read_tool_calls
from trainer.data.formats.values import kind
from trainer.data.reading.rows import BadRow, parse_row

ROLES: dict[str, Role] = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "system": "system",
    "developer": "system",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
    "function_call": "assistant",
}


def read_turn(turn: Any, place: str) -> Message:
    """Return a message from an object with from and value.

    Raises:
        BadRow: it is something else.
    """
    if not isinstance(turn, dict):
        raise BadRow(f"{place} is {kind(turn)}; expected an object with from and value")
    speaker = turn.get("from")
    role = ROLES.get(speaker) if isinstance(speaker, str) else None
    if role is None:
        raise BadRow(f"{place}.from is {kind(speaker)}; expected one of {', '.join(ROLES)}")
    message = message_of(role, turn, "value", place)
    if speaker == "function_call" and (calls := _calls_in(message.content, f"{place}.value")):
        return replace(message, content="", tool_calls=(*message.tool_calls, *calls))
    return message


def _calls_in(text: str, place: str) -> Calls:
    """Return the calls that a text is the JSON of; none if it is something else, which is then a text.

    Raises:
        TooManyCalls: there are far too many.
    """
    try:
        value = parse_row(text.encode())
        return read_tool_calls(value if isinstance(value, list) else [value], place)
    except TooManyCalls:
        raise
    except BadRow:
        return ()
