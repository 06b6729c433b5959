"""Other names for the parts of a row, as `data.fields` gives them."""

from typing import Any

from trainer.protocol.row_fields import OF_MESSAGES, OF_ROWS, Fields

HOLD_MESSAGES = ("messages", "conversations", "conversation", "prompt", "completion")


def renamed(row: dict[str, Any], fields: Fields) -> dict[str, Any]:
    """Return a row under the names that the formats know. A name that it does not have changes nothing."""
    result = _renamed(row, {field: fields[field] for field in OF_ROWS if field in fields})
    if of_messages := {field: fields[field] for field in OF_MESSAGES if field in fields}:
        for key in HOLD_MESSAGES:
            if isinstance(messages := result.get(key), list):
                result[key] = [
                    _renamed(item, of_messages) if isinstance(item, dict) else item for item in messages
                ]
            elif isinstance(messages, dict):
                result[key] = _renamed(messages, of_messages)
    return result


def _renamed(item: dict[str, Any], fields: Fields) -> dict[str, Any]:
    given = {field: item[name] for field, name in fields.items() if name in item}
    moved = {fields[field] for field in given}
    return {key: value for key, value in item.items() if key not in moved} | given
