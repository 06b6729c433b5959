"""`{"role": …, "content": …}`: a message as most chat data has it, and what may stand in any message."""

from collections.abc import Mapping
from typing import Any

from trainer.data.conversation import REASONING_KEYS, ROLES, Message, Role
from trainer.data.formats.tools import Calls, read_function_call, read_tool_calls
from trainer.data.formats.unsupported import is_prose, refuse_lost_words
from trainer.data.formats.values import kind, read_text
from trainer.data.reading.rows import BadRow

OTHER_ROLES: Mapping[str, Role] = {
    "developer": "system",
    "function": "tool",
    "human": "user",
    "gpt": "assistant",
}
WORDS = frozenset({"content", "value"})
SHOWN_BY_TEMPLATES = ("name", "tool_call_id")
OTHER_FLAGS = ("loss", "training")  # for train; a number under these names is a measurement


def read_message(item: Any, place: str) -> Message:
    """Return a message from an object with role and content.

    Raises:
        BadRow: it is something else.
    """
    if not isinstance(item, dict):
        raise BadRow(f"{place} is {kind(item)}; expected an object with role and content")
    given = item.get("role")
    role = given if given in ROLES else OTHER_ROLES.get(given) if isinstance(given, str) else None
    if role is None:
        raise BadRow(f"{place}.role is {kind(given)}; expected {', '.join(ROLES[:-1])} or {ROLES[-1]}")
    return message_of(role, item, "content", place)


def message_of(role: Role, item: Mapping[str, Any], key: str, place: str) -> Message:
    """Return a message whose words have this key, with all that stands beside them.

    Raises:
        BadRow: something of it cannot be read, or would be lost.
    """
    if len(item) == 2 and key in item:
        return Message(role, read_text(item.get(key), f"{place}.{key}"))
    refuse_lost_words(item, place)
    _refuse_other_words(item, key, place)
    calls = _calls_of(item, role, place)
    text = "" if item.get(key) is None and calls else read_text(item.get(key), f"{place}.{key}")
    extra = {key: read_text(item[key], f"{place}.{key}") for key in SHOWN_BY_TEMPLATES if item.get(key)}
    return Message(role, text, calls, extra | read_thoughts(item, place), read_is_trained(item, place))


def _refuse_other_words(item: Mapping[str, Any], key: str, place: str) -> None:
    """Refuse a message with words both under `content` and under `value`, of which only one would be read."""
    [other] = WORDS - {key}
    if is_prose(item.get(other)) and item[other] != item.get(key):
        raise BadRow(
            f"found {place}.{other} beside {key}, which would be lost; expected the words of a message once; "
            "remove one of the keys"
        )


def _calls_of(item: Mapping[str, Any], role: Role, place: str) -> Calls:
    calls = read_tool_calls(item.get("tool_calls"), f"{place}.tool_calls")
    call = read_function_call(item.get("function_call"), f"{place}.function_call")
    if calls and call:
        raise BadRow(f"{place}.function_call stands beside tool_calls; expected only one of them")
    if (calls or call) and role != "assistant":
        key = "tool_calls" if calls else "function_call"
        raise BadRow(f"{place}.{key} is given with the role {role}; only the assistant calls functions")
    return calls or call


def read_thoughts(item: Mapping[str, Any], place: str) -> dict[str, str]:
    """Return thoughts under the keys that the message has for them. A flag is none.

    Raises:
        BadRow: they are no text, differ, or would be lost.
    """
    thoughts = {
        key: read_text(item[key], f"{place}.{key}")
        for key in REASONING_KEYS
        if item.get(key) and not isinstance(item[key], bool)
    }
    if len(set(thoughts.values())) > 1:
        raise BadRow(f"{place} has {' and '.join(thoughts)} that differ; expected the thoughts once")
    if not thoughts and item.get("reasoning_details"):
        raise BadRow(
            f"found {place}.reasoning_details, which would be lost; write the thoughts as "
            '"reasoning_content" if they are to be learned, else remove the key'
        )
    return thoughts


def read_is_trained(item: Mapping[str, Any], place: str) -> bool:
    """Return what `train` (true or false) or `weight` (0 or 1) says of a message; true without them.

    Raises:
        BadRow: they say something else.
    """
    train = item.get("train")
    if train is not None and not isinstance(train, bool):
        raise BadRow(f"{place}.train is {kind(train)}; expected true or false")
    flags = [train, *(item.get(key) for key in OTHER_FLAGS)]
    weights = [item.get(key) for key in ("weight", "loss_weight")]
    for key, weight in zip(("weight", "loss_weight"), weights, strict=True):
        if weight is not None and weight not in (0, 1):
            raise BadRow(f"{place}.{key} is {kind(weight)}; expected 0 or 1")
    return not any(flag is False for flag in flags) and 0 not in weights
