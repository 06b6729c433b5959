"""A question and its answer under the names in use, such as `{"instruction": …, "input": …, "output": …}`."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from trainer.data.conversation import Message, Role
from trainer.data.formats.turns import read_turns, turns_in_columns
from trainer.data.formats.unsupported import is_prose
from trainer.data.formats.values import kind, read_optional_text, read_text
from trainer.data.reading.rows import BadRow

INSTRUCTIONS = (("instruction", "output"), ("instruction", "response"))
# The first that fits counts. A worked solution comes before the short answer that often stands beside it
QUESTIONS = (
    ("prompt", "completion"),
    ("prompt", "response"),
    ("problem", "solution"),
    ("question", "solution"),
    ("question", "answer"),
    ("question", "response"),
    ("query", "response"),
    ("inputs", "targets"),
    ("human", "assistant"),
    ("user", "assistant"),
    ("input", "output"),
)
CONTEXTS = ("context", "input")
WHOLE_PROMPTS = ("prompt", "inputs")
"""They may already contain the context that stands beside them."""
THOUGHTS = ("reasoning_content", "thinking")


def read(row: Mapping[str, Any]) -> tuple[Message, ...]:
    """Return the turns of `history`, then the question with its context, then the answer.

    Either may be a list of messages. Nothing in such a question is supervised.

    Raises:
        BadRow: one of them is not what it should be.
    """
    asked, answered = next(pair for pair in (*INSTRUCTIONS, *QUESTIONS) if _has_both(row, pair))
    question, answer = _side(row[asked], asked, "user"), _side(row[answered], answered, "assistant")
    if len(row) > 2:
        question = (*_history(row.get("history")), *_with_context(row, asked, question))
        answer = _with_thoughts(row, answered, answer)
    return (*question, *answer)


def _has_both(row: Mapping[str, Any], pair: tuple[str, str]) -> bool:
    asked, answered = pair
    return row.get(asked) is not None and row.get(answered) is not None


def _side(value: Any, place: str, role: Role) -> tuple[Message, ...]:
    if isinstance(value, dict):
        value = turns_in_columns(value) or value
    if not isinstance(value, list) or _are_parts(value):
        return (Message(role, read_text(value, place)),)
    turns = read_turns(value, place)
    if role == "assistant":
        return turns
    return tuple(replace(turn, is_trained=False) if turn.role == "assistant" else turn for turn in turns)


def _are_parts(items: list[Any]) -> bool:
    """Whether a list has the parts of one text instead of turns."""
    return bool(items) and isinstance(items[0], dict) and "type" in items[0] and "text" in items[0]


def _with_context(row: Mapping[str, Any], asked: str, question: tuple[Message, ...]) -> tuple[Message, ...]:
    """Put context and input behind the question, each separated by a blank line."""
    given = [(key, read_optional_text(row.get(key), key)) for key in CONTEXTS if key != asked]
    contexts = [(key, text) for key, text in given if text]
    if contexts and isinstance(row[asked], list) and not _are_parts(row[asked]):
        raise BadRow(f"{contexts[0][0]} stands beside a list in {asked}; expected it in one of the messages")
    for _, text in contexts:
        said = question[0].content
        if not (asked in WHOLE_PROMPTS and text in said):
            question = (Message("user", f"{said}\n\n{text}" if said else text),)
    return question


def _with_thoughts(row: Mapping[str, Any], answered: str, answer: tuple[Message, ...]) -> tuple[Message, ...]:
    """Let the answer have the thoughts that stand beside it."""
    thoughts = {key: read_text(row[key], key) for key in THOUGHTS if is_prose(row.get(key))}
    if not thoughts:
        return answer
    if len(answer) > 1 or isinstance(row[answered], list):
        raise BadRow(
            f"{min(thoughts)} stands beside a list in {answered}; expected it in one of the messages"
        )
    if len(set(thoughts.values())) > 1:
        raise BadRow("reasoning_content and thinking differ; expected only one of them")
    return (replace(answer[0], extra=thoughts),)


def _history(pairs: Any) -> Iterator[Message]:
    if not pairs:
        return
    if not isinstance(pairs, list):
        raise BadRow(f"history is {kind(pairs)}; expected a list of [question, answer]")
    for index, pair in enumerate(pairs):
        if not isinstance(pair, list) or len(pair) != 2:
            raise BadRow(f"history[{index}] is {kind(pair)}; expected [question, answer]")
        yield Message("user", read_text(pair[0], f"history[{index}][0]"))
        yield Message("assistant", read_text(pair[1], f"history[{index}][1]"))
