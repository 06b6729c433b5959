"""ShareGPT: `{"conversations": [{"from": "human", "value": …}, {"from": "gpt", "value": …}]}`."""

from collections.abc import Mapping
from typing import Any

from trainer.data.conversation import Message, Role
from trainer.data.formats.messages import read_is_trained
from trainer.data.formats.tools import read_tool_calls
from trainer.data.formats.values import kind, read_text
from trainer.data.reading.rows import BadRow, parse_row

ROLES: dict[str, Role] = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "system": "system",
    "tool": "tool",
    "observation": "tool",
    "function_call": "assistant",
}


def read(row: Mapping[str, Any]) -> tuple[Message, ...]:
    """Return the turns of a row.

    Raises:
        BadRow: they are not such turns.
    """
    turns = row["conversations"]
    if not isinstance(turns, list) or not turns:
        raise BadRow(f"conversations is {kind(turns)}; expected a list with at least one turn")
    return tuple(_read_turn(turn, f"conversations[{i}]") for i, turn in enumerate(turns))


def _read_turn(turn: Any, place: str) -> Message:
    if not isinstance(turn, dict):
        raise BadRow(f"{place} is {kind(turn)}; expected an object with from and value")
    speaker = turn.get("from")
    role = ROLES.get(speaker) if isinstance(speaker, str) else None
    if role is None:
        raise BadRow(f"{place}.from is {kind(speaker)}; expected one of {', '.join(ROLES)}")
    text = read_text(turn.get("value"), f"{place}.value")
    is_trained = read_is_trained(turn, place)
    if speaker == "function_call" and (calls := _calls_in(text, f"{place}.value")):
        return Message(role, "", calls, is_trained=is_trained)
    return Message(role, text, is_trained=is_trained)


def _calls_in(text: str, place: str) -> tuple[Mapping[str, Any], ...]:
    """Return the calls that a text is the JSON of; none if it is something else, which is then a text."""
    try:
        value = parse_row(text.encode())
        return read_tool_calls(value if isinstance(value, list) else [value], place)
    except BadRow:
        return ()
