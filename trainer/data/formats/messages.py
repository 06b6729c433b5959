"""`{"messages": [{"role": …, "content": …}, …]}`: the format of most chat data."""

from collections.abc import Mapping
from typing import Any, cast

from trainer.data.conversation import ROLES, Message, Role
from trainer.data.formats.tools import read_tool_calls
from trainer.data.formats.values import kind, read_text
from trainer.data.reading.rows import BadRow

SHOWN_BY_TEMPLATES = ("name", "tool_call_id", "reasoning_content")


def read(row: Mapping[str, Any]) -> tuple[Message, ...]:
    """Return the messages of a row.

    Raises:
        BadRow: they are not such messages.
    """
    return read_messages(row["messages"], "messages")


def read_messages(items: Any, place: str) -> tuple[Message, ...]:
    """Return messages from a list of objects with role and content.

    Raises:
        BadRow: it is something else.
    """
    if not isinstance(items, list) or not items:
        raise BadRow(f"{place} is {kind(items)}; expected a list with at least one message")
    return tuple([_read_message(item, place, i) for i, item in enumerate(items)])


def _read_message(item: Any, places: str, index: int) -> Message:
    if type(item) is dict and len(item) == 2:  # by far the most messages
        role, content = item.get("role"), item.get("content")
        if role in ROLES and type(content) is str and content.isascii():
            return Message(role, content)
    return _read_any_message(item, f"{places}[{index}]")


def _read_any_message(item: Any, place: str) -> Message:
    if not isinstance(item, dict):
        raise BadRow(f"{place} is {kind(item)}; expected an object with role and content")
    role, content = item.get("role"), item.get("content")
    if role not in ROLES:
        raise BadRow(f"{place}.role is {kind(role)}; expected {', '.join(ROLES[:-1])} or {ROLES[-1]}")
    role = cast(Role, role)
    calls = read_tool_calls(item.get("tool_calls"), f"{place}.tool_calls")
    if calls and role != "assistant":
        raise BadRow(f"{place}.tool_calls is given with the role {role}; only the assistant calls functions")
    text = "" if content is None and calls else read_text(content, f"{place}.content")
    extra = {key: read_text(item[key], f"{place}.{key}") for key in SHOWN_BY_TEMPLATES if item.get(key)}
    return Message(role, text, calls, extra, read_is_trained(item, place))


def read_is_trained(item: Mapping[str, Any], place: str) -> bool:
    """Return what `train` (true or false) or `weight` (0 or 1) says of a message; true without them.

    Raises:
        BadRow: they say something else.
    """
    train, weight = item.get("train"), item.get("weight")
    if train is not None and not isinstance(train, bool):
        raise BadRow(f"{place}.train is {kind(train)}; expected true or false")
    if weight is not None and weight not in (0, 1):
        raise BadRow(f"{place}.weight is {kind(weight)}; expected 0 or 1")
    return train is not False and weight != 0
