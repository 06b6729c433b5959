"""From the JSON value of a row to a Conversation. One function a format; the caller names no format."""

from typing import Any, cast

from trainer.data.conversation import ROLES, Conversation, Message, Role
from trainer.data.rows import BadRow
from trainer.protocol.text import printable


def read_conversation(row: Any) -> Conversation:
    """Turn `{"messages": [{"role": …, "content": …}, …]}` into a Conversation. Other keys are left alone.

    Raises:
        BadRow: the row has no such messages, or none from which something could be learned.
    """
    if not isinstance(row, dict):
        raise BadRow(f'found {_kind(row)}; expected an object with "messages"')
    if "messages" not in row:
        keys = ", ".join(f'"{printable(key, limit=30)}"' for key in list(row)[:5]) or "no keys"
        raise BadRow(f'found {keys}; expected the key "messages"')
    messages = row["messages"]
    if not isinstance(messages, list) or not messages:
        raise BadRow(f"messages is {_kind(messages)}; expected a list with at least one message")
    conversation = Conversation(
        tuple(_read_message(item, f"messages[{i}]") for i, item in enumerate(messages))
    )
    if not any(message.role == "assistant" and message.content for message in conversation.messages):
        raise BadRow("no message of the assistant has content, so there is nothing to learn")
    return conversation


def _read_message(item: Any, place: str) -> Message:
    if not isinstance(item, dict):
        raise BadRow(f"{place} is {_kind(item)}; expected an object with role and content")
    role, content = item.get("role"), item.get("content")
    if role not in ROLES:
        raise BadRow(f"{place}.role is {_kind(role)}; expected {', '.join(ROLES[:-1])} or {ROLES[-1]}")
    if not isinstance(content, str):
        raise BadRow(f"{place}.content is {_kind(content)}; expected a text")
    if not _is_unicode(content):
        raise BadRow(f"{place}.content holds half of a surrogate pair; expected valid Unicode")
    return Message(cast(Role, role), content)


def _is_unicode(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _kind(value: Any) -> str:
    match value:
        case None:
            return "missing or null"
        case str():
            return f'"{printable(value, limit=40)}"'
        case bool() | int() | float():
            return printable(str(value), limit=40)
        case list():
            return "an empty list" if not value else "a list"
        case _:
            return "an object"
