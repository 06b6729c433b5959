"""What the model receives: token ids, and which of them are supervised. Shapes: T = tokens of one example."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

TrainOn = Literal["assistant", "last_assistant", "all"]

IGNORED = -100  # the label that torch's cross entropy skips

Span = tuple[int, int]
"""The first, and the one after the last."""


@dataclass(frozen=True, slots=True)
class Example:
    """A row, or a part of one, as the model sees it."""

    token_ids: list[int]
    """(T,)"""
    labels: list[int]
    """(T,) the token itself where it is supervised, else IGNORED."""
    supervised_tokens: int
    """Labels that count: not IGNORED, and not at position 0, which nothing predicts."""
    is_truncated: bool
    """Whether something of the row was left out that is in no other example of it."""


RowExamples = tuple[Example, ...]
"""What one row becomes: none where a row that is too long is dropped, several where it is split. A row from
which nothing can be supervised has one, without supervised tokens."""


def example_of(token_ids: list[int], spans: Iterable[Span], *, is_truncated: bool) -> Example:
    """Return the example of these tokens.

    Args:
        spans: tokens [first, end) that are supervised; they may reach beyond the last token.
    """
    labels = [IGNORED] * len(token_ids)
    for first, end in spans:
        labels[first:end] = token_ids[first:end]
    supervised = len(labels) - labels.count(IGNORED) - (labels[:1] not in ([], [IGNORED]))
    return Example(token_ids, labels, supervised, is_truncated)


def learnable(rows: Iterable[RowExamples]) -> list[Example]:
    """Return the examples of rows from which something can be supervised."""
    return [example for row in rows for example in row if example.supervised_tokens]
