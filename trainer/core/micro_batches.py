"""Split the rows of one optimizer step into micro-batches, and turn those into tensors.

Shapes: B = rows of a micro-batch, T = tokens of its longest row.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.data.render import IGNORED, Example


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """Rows that go through the model together."""

    token_ids: Tensor
    """(B, T) padded on the right with token 0, which is never looked at."""
    labels: Tensor
    """(B, T) IGNORED on padding."""


def split_by_tokens(examples: Sequence[Example], *, max_tokens: int) -> list[list[Example]]:
    """Group examples of similar length so that rows times longest row stays within `max_tokens`.

    A row longer than that goes alone. Sorting is stable, so equal input gives an equal split.
    """
    groups: list[list[Example]] = []
    for example in sorted(examples, key=lambda example: len(example.token_ids)):
        if groups and len(example.token_ids) * (len(groups[-1]) + 1) <= max_tokens:
            groups[-1].append(example)
        else:
            groups.append([example])
    return groups


def to_tensors(examples: Sequence[Example], device: torch.device) -> MicroBatch:
    """Pad examples to the longest of them and put them on `device`."""
    length = max(len(example.token_ids) for example in examples)
    token_ids = torch.tensor([_padded(example.token_ids, length, 0) for example in examples])
    labels = torch.tensor([_padded(example.labels, length, IGNORED) for example in examples])
    return MicroBatch(token_ids.to(device, non_blocking=True), labels.to(device, non_blocking=True))


def _padded(values: list[int], length: int, filler: int) -> list[int]:
    return values + [filler] * (length - len(values))
