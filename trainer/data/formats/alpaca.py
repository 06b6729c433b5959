"""Alpaca: `{"instruction": …, "input": …, "output": …}`, with earlier turns in `history`."""

from collections.abc import Iterator, Mapping
from typing import Any

from trainer.data.conversation import Message
from trainer.data.formats.values import kind, read_optional_text, read_text
from trainer.data.reading.rows import BadRow


def read(row: Mapping[str, Any]) -> tuple[Message, ...]:
    """Return the turns of `history`, then the instruction with its input, then the output.

    Raises:
        BadRow: one of them is not what it should be.
    """
    instruction = read_text(row["instruction"], "instruction")
    context = read_optional_text(row.get("input"), "input")
    question = f"{instruction}\n\n{context}" if instruction and context else instruction or context
    answer = read_text(row["output"], "output")
    return (*_history(row.get("history")), Message("user", question), Message("assistant", answer))


def _history(pairs: Any) -> Iterator[Message]:
    if pairs is None:
        return
    if not isinstance(pairs, list):
        raise BadRow(f"history is {kind(pairs)}; expected a list of [question, answer]")
    for index, pair in enumerate(pairs):
        if not isinstance(pair, list) or len(pair) != 2:
            raise BadRow(f"history[{index}] is {kind(pair)}; expected [question, answer]")
        yield Message("user", read_text(pair[0], f"history[{index}][0]"))
        yield Message("assistant", read_text(pair[1], f"history[{index}][1]"))
