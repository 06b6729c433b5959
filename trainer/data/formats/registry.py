"""Which format a row has, and what it says as a Conversation."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from trainer.data.conversation import Conversation, Message
from trainer.data.formats import question_answer, text
from trainer.data.formats.fields import renamed
from trainer.data.formats.tools import Calls, read_tools
from trainer.data.formats.turns import read_conversations, read_messages, read_pairs
from trainer.data.formats.unsupported import refuse_unsupported
from trainer.data.formats.values import kind, read_text
from trainer.data.formats.way_out import columns_instead_of_rows, way_out
from trainer.data.reading.rows import BadRow
from trainer.protocol.row_fields import NO_FIELDS, Fields
from trainer.protocol.text import printable

KEYS_SHOWN = 5
MAX_TURNS = 10_000  # in a row; so many are rendered in a few seconds
MAX_CALLS_OF_ROW = 10_000
SYSTEM_KEYS, TOOLS_KEYS = ("system", "system_prompt"), ("tools", "functions")
TOP_LEVEL_METADATA = ("skill", "difficulty", "source")
BRACKETS = ("[", "{", " ", "\n")  # what a conversation written as text begins with
SERIALISED = re.compile(r"""\s*(\{\s*["'](messages|conversations)["']\s*:\s*)?\[\s*\{""")
SERIALISED_ROLE = re.compile(r"""["'](role|from)["']\s*:\s*["'](system|user|assistant|tool|human|gpt)["']""")
SERIALISED_CONTENT = re.compile(r"""["'](content|value)["']\s*:""")


@dataclass(frozen=True)
class Format:
    """One way to write a conversation down.

    Args:
        keys: a row with all keys of one of these sets has the format.
        read: returns the messages of such a row; raises BadRow.
        names: what `data.fields` calls the keys of a set.
        is_plain_text: the one message is a text without a chat template around it.
    """

    name: str
    keys: tuple[tuple[str, ...], ...]
    read: Callable[[Mapping[str, Any]], tuple[Message, ...]]
    names: tuple[str, ...]
    is_plain_text: bool = False

    def keys_in(self, row: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the first of these sets of keys that a row has, if any. What is null counts as missing."""
        for keys in self.keys:  # faster than next() and all(), and asked of every row
            for key in keys:
                if row.get(key) is None:
                    break
            else:
                return keys
        return ()


# The first that fits counts. The plain text comes last: data that was once rendered has it besides its turns
FORMATS = (
    Format("messages", (("messages",),), read_messages, ("messages",)),
    Format("sharegpt", (("conversations",),), read_conversations, ("conversations",)),
    Format("alpaca", question_answer.INSTRUCTIONS, question_answer.read, ("instruction", "output")),
    Format("prompt_completion", question_answer.QUESTIONS, question_answer.read, ("prompt", "completion")),
    Format("conversation", (("conversation",),), read_pairs, ("conversation",)),
    Format("text", (("text",),), text.read, ("text",), is_plain_text=True),
)


def read_conversation(row: Any, fields: Fields = NO_FIELDS) -> Conversation:
    """Turn the JSON value of a row into a Conversation. Keys that no format knows are left alone.

    Args:
        fields: other names, as `data.fields` gives them.
    Raises:
        BadRow: the row has no known format, or nothing from which something could be supervised.
    """
    return read_row(row, fields)[1]


def read_row(row: Any, fields: Fields = NO_FIELDS) -> tuple[Format, Conversation]:
    """Return the format of a row besides its conversation.

    Raises:
        BadRow: as `read_conversation` does.
    """
    if not isinstance(row, dict):
        raise BadRow(f'found {kind(row)}; expected an object, such as {{"messages": [...]}}')
    try:
        return _read(renamed(row, fields), fields) if fields else _read(row)
    except BadRow as error:
        names = ", ".join(f'{field} is "{printable(name, limit=30)}"' for field, name in fields.items())
        by_fields = f" (by data.fields, {names})" if fields else ""
        raise BadRow(f"{error}{columns_instead_of_rows(row)}{by_fields}") from error


def _read(row: dict[str, Any], fields: Fields = NO_FIELDS) -> tuple[Format, Conversation]:
    found, own = _format_of(row, fields)
    turns = found.read(row)
    if len(turns) > MAX_TURNS:
        raise BadRow(f"it has {len(turns):,} turns; expected at most {MAX_TURNS:,}, so split it into rows")
    if len(row) == len(own):
        conversation = Conversation(turns, is_plain_text=found.is_plain_text)
    elif found.is_plain_text:
        conversation = Conversation(turns, is_plain_text=True, metadata=_metadata(row))
    else:
        conversation = Conversation(_with_system(row, turns), _tools(row), metadata=_metadata(row))
    if found.is_plain_text and not turns[0].content:
        raise BadRow(
            "the text is empty, so there is nothing to train; expected words, so leave out such rows"
        )
    _refuse_unlearnable(turns)
    return found, conversation


def _format_of(row: dict[str, Any], fields: Fields) -> tuple[Format, tuple[str, ...]]:
    for known in FORMATS:
        if own := known.keys_in(row):
            if len(row) > len(own):
                refuse_unsupported(row, known.name, own, fields)
            return known, own
    refuse_unsupported(row, "", (), fields)
    raise BadRow(_no_format(row))


def _no_format(row: Mapping[str, Any]) -> str:
    shown = [
        f'"{printable(key, limit=30)}"' + (" (null)" if value is None else "") for key, value in row.items()
    ]
    more = f" and {len(shown) - KEYS_SHOWN} more" if len(shown) > KEYS_SHOWN else ""
    keys = ", ".join(shown[:KEYS_SHOWN]) or "no keys"
    expected = " or ".join(_keys_text(known.keys) for known in FORMATS)
    names = [(known.keys, known.names) for known in FORMATS]
    return f"found {keys}{more}; expected {expected}; {way_out(row, names)}"


def _keys_text(known: tuple[tuple[str, ...], ...]) -> str:
    """Return the first keys of a format, with the other ones that may stand beside the very first."""
    first, *others = known[0]
    if not others:
        return f'"{first}"'
    beside = [f'"{keys[1]}"' for keys in known if keys[0] == first]
    return f'"{first}" with {" or ".join(beside)}'


def _with_system(row: Mapping[str, Any], turns: tuple[Message, ...]) -> tuple[Message, ...]:
    """Put the row's own system turn in front."""
    key, value = _either(row, SYSTEM_KEYS)
    if value in (None, ""):
        return turns
    system = Message("system", read_text(value, key))
    if turns[0].role != "system":
        return (system, *turns)
    if turns[0].content != system.content:
        raise BadRow(f"{key} stands beside a first message of the role system; expected only one of them")
    return turns


def _tools(row: Mapping[str, Any]) -> Calls:
    key, value = _either(row, TOOLS_KEYS)
    return read_tools(value, key)


def _either(row: Mapping[str, Any], keys: tuple[str, str]) -> tuple[str, Any]:
    """Return which of two keys for the same thing a row has, and its value."""
    first, second = (row.get(key) for key in keys)
    if not second or first == second:
        return keys[0], first
    if first:
        raise BadRow(f"{keys[1]} differs from {keys[0]}; expected only one of them")
    return keys[1], second


def _metadata(row: Mapping[str, Any]) -> dict[str, Any]:
    found = row.get("metadata")
    metadata = dict(found) if isinstance(found, dict) else {}
    return metadata | {key: row[key] for key in TOP_LEVEL_METADATA if row.get(key) is not None}


def _refuse_unlearnable(turns: Iterable[Message]) -> None:
    answers = [turn for turn in turns if turn.role == "assistant" and (turn.content or turn.tool_calls)]
    if not answers:
        raise BadRow("no message of the assistant has content, so there is nothing to train")
    is_any_trained = False
    num_calls = 0
    for answer in answers:
        num_calls += len(answer.tool_calls)
        is_any_trained = is_any_trained or answer.is_trained
        if answer.content.startswith(BRACKETS) and _is_serialised(answer.content):
            raise BadRow(
                "an answer is itself a list of messages written as text; expected the words of the answer, "
                "so unpack the list into messages"
            )
    if num_calls > MAX_CALLS_OF_ROW:
        raise BadRow(
            f"it has {num_calls:,} calls; expected at most {MAX_CALLS_OF_ROW:,}, so split it into rows"
        )
    if not is_any_trained:
        raise BadRow("every message of the assistant has train: false, so there is nothing to train")


def _is_serialised(content: str) -> bool:
    """Whether a text is a conversation, in JSON or as Python shows one."""
    return bool(
        SERIALISED.match(content) and SERIALISED_ROLE.search(content) and SERIALISED_CONTENT.search(content)
    )
