"""A list of turns, each with role and content or with from and value; and one of questions with answers."""

from collections.abc import Iterator, Mapping
from typing import Any

from trainer.data.conversation import ROLES, Message
from trainer.data.formats.messages import read_is_trained, read_message, read_thoughts
from trainer.data.formats.sharegpt import read_turn
from trainer.data.formats.unsupported import CALLS, has_content, refuse_lost_words
from trainer.data.formats.values import kind, read_embedded, read_text
from trainer.data.reading.rows import BadRow

PAIRS = (("input", "output"), ("human", "assistant"), ("user", "assistant"))
COLUMNS = (("role", "content"), ("from", "value"), *PAIRS)


def read_messages(row: Mapping[str, Any]) -> tuple[Message, ...]:
    """Return the turns in `messages`.

    Raises:
        BadRow: they are not such turns.
    """
    return read_turns(row["messages"], "messages")


def read_conversations(row: Mapping[str, Any]) -> tuple[Message, ...]:
    """Return the turns in `conversations`.

    Raises:
        BadRow: they are not such turns.
    """
    turns = _listed(row["conversations"], "conversations", "turn")
    return tuple([_read_usual_turn(turn, i) for i, turn in enumerate(turns)])


def read_pairs(row: Mapping[str, Any]) -> tuple[Message, ...]:
    """Return the turns in `conversation`, each item of which may also be a question with its answer.

    Raises:
        BadRow: they are not such turns.
    """
    items = _listed(row["conversation"], "conversation", "message")
    if not any(map(_pair_in, items)):
        return read_turns(items, "conversation")
    return tuple(turn for i, item in enumerate(items) for turn in _read_pair(item, i))


def read_turns(items: Any, place: str) -> tuple[Message, ...]:
    """Return turns from a list of objects, each with role and content or with from and value.

    Raises:
        BadRow: it is something else.
    """
    turns = _listed(items, place, "message")
    return tuple([_read_usual_message(item, place, i) for i, item in enumerate(turns)])


def _listed(items: Any, place: str, noun: str) -> list[Any]:
    """Return a list as it is, or made of columns, which the library `datasets` makes of a list of objects."""
    if isinstance(items, list) and items:
        return items
    if isinstance(items, dict) and (turns := turns_in_columns(items)):
        return turns
    if isinstance(items, str) and items.lstrip().startswith("["):
        read_embedded(items, place, f"a list with at least one {noun}")
        raise BadRow(
            f"{place} is a list written as text; expected the list itself; unpack it, such as with: "
            f"jq -c '.{place} |= fromjson' FILE"
        )
    raise BadRow(f"{place} is {kind(items)}; expected a list with at least one {noun}")


def turns_in_columns(items: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return turns from `{"role": ["user", "assistant"], "content": […]}`; none if it is no such object."""
    columns = {key: column for key, column in items.items() if column is not None}
    if not any(all(key in columns for key in pair) for pair in COLUMNS):
        return []
    if not all(isinstance(column, list) for column in columns.values()):
        return []
    if len({len(column) for column in columns.values()}) > 1:
        return []
    return [dict(zip(columns, turn, strict=True)) for turn in zip(*columns.values(), strict=True)]


def _read_usual_message(item: Any, places: str, index: int) -> Message:
    if type(item) is dict and len(item) == 2:  # by far the most messages
        role, content = item.get("role"), item.get("content")
        if role in ROLES and type(content) is str and content.isascii():
            return Message(role, content)
    read = read_turn if _has_only(item, "from", "role") else read_message
    return read(item, f"{places}[{index}]")


def _read_usual_turn(item: Any, index: int) -> Message:
    read = read_message if _has_only(item, "role", "from") else read_turn
    return read(item, f"conversations[{index}]")


def _has_only(item: Any, key: str, other: str) -> bool:
    return isinstance(item, dict) and item.get(key) is not None and item.get(other) is None


def _pair_in(item: Any) -> tuple[str, str] | None:
    if not isinstance(item, dict) or "role" in item or "from" in item:
        return None
    return next((pair for pair in PAIRS if all(item.get(key) is not None for key in pair)), None)


def _read_pair(item: Any, index: int) -> Iterator[Message]:
    place, pair = f"conversation[{index}]", _pair_in(item)
    if pair is None:
        raise BadRow(f"{place} is {kind(item)}; expected an object with input and output, as the others are")
    asked, answered = pair
    refuse_lost_words(item, place)
    if lost := next((key for key in CALLS if has_content(item.get(key))), ""):
        raise BadRow(
            f'found {place}.{lost}, which would be lost; expected "messages", so write the row as such'
        )
    is_trained = read_is_trained(item, place) and item.get("output_with_loss") is not False
    if item.get("system"):
        yield Message("system", read_text(item["system"], f"{place}.system"))
    yield Message("user", read_text(item[asked], f"{place}.{asked}"))
    answer = read_text(item[answered], f"{place}.{answered}")
    yield Message("assistant", answer, extra=read_thoughts(item, place), is_trained=is_trained)
