"""Find prompts that are answered in different ways within one file. Pure, with a few bytes for each row.

Compared are hashes: of all that stands before the last supervised answer, and of what it says.
"""

import hashlib
import json
from array import array
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.data.conversation import Conversation, Message

ROWS_COMPARED = 1_000_000  # the first ones that are inspected, so that memory is limited (24 MB)
PROMPTS_NAMED = 3


@dataclass(frozen=True, kw_only=True)
class DifferentAnswers:
    """What was found."""

    prompts: int
    """That have more than one answer."""
    rows: int
    """With one of these prompts."""
    first: tuple[tuple[int, int], ...]
    """Lines of the first prompts: where each comes first, and where it first has another answer."""


class AnswerComparison:
    """Takes in rows in the order of the file, and says at the end which differ in their answers only."""

    def __init__(self) -> None:
        self._lines, self._prompts, self._answers = array("q"), array("q"), array("q")

    def note(self, line: int, conversation: Conversation) -> None:
        """Take note of a row. What has no prompt, such as a plain text, is left out."""
        if len(self._lines) == ROWS_COMPARED or conversation.is_plain_text:
            return
        messages = conversation.messages
        trained = (
            place for place, turn in enumerate(messages) if turn.role == "assistant" and turn.is_trained
        )
        last = max(trained, default=0)
        if not any(turn.role in ("user", "tool") for turn in messages[:last]):
            return
        self._lines.append(line)
        self._prompts.append(_hash([conversation.tools, [_said(turn) for turn in messages[:last]]]))
        self._answers.append(_hash([messages[last].content.split(), messages[last].tool_calls]))

    def found(self) -> DifferentAnswers:
        """Return which prompts have more than one answer so far."""
        prompts, answers = _numbers(self._prompts), _numbers(self._answers)
        order = np.lexsort((answers, prompts))
        prompts_in_order, answers_in_order = prompts[order], answers[order]
        is_other = (prompts_in_order[1:] == prompts_in_order[:-1]) & (
            answers_in_order[1:] != answers_in_order[:-1]
        )
        several = np.unique(prompts_in_order[1:][is_other])
        rows = np.flatnonzero(np.isin(prompts, several))
        _, places = np.unique(prompts[rows], return_index=True)
        firsts = rows[np.sort(places)[:PROMPTS_NAMED]]
        return DifferentAnswers(
            prompts=len(several),
            rows=len(rows),
            first=tuple(
                (self._lines[row], self._lines[_next_other(prompts, answers, row)]) for row in firsts
            ),
        )


def _next_other(prompts: NDArray[np.int64], answers: NDArray[np.int64], row: int) -> int:
    """Return the first row with the prompt of `row` and another answer."""
    return int(np.argmax((prompts == prompts[row]) & (answers != answers[row])))


def _said(turn: Message) -> list[object]:
    return [turn.role, turn.content, turn.tool_calls, turn.extra]


def _hash(value: Any) -> int:
    text = json.dumps(value, sort_keys=True, default=dict)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little", signed=True)


def _numbers(values: "array[int]") -> NDArray[np.int64]:
    return np.frombuffer(values, dtype=np.int64) if values else np.zeros(0, np.int64)
