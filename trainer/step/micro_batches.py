"""Split the rows of one optimizer step into micro-batches, and turn those into tensors.

Shapes: B = sequences of a micro-batch, T = tokens of a sequence, K = positions that predict a supervised
token.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain

import torch
from torch import Tensor

from trainer.data.rendering.render import IGNORED, Example
from trainer.step.attention import RowBounds

PADDING = 0  # a token that is never used
FINEST_STEP = 32  # between numbers of tokens
A_PASS_COSTS = 128  # tokens that could go through the model in the time that each further pass takes


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """Rows that go through the model together."""

    token_ids: Tensor
    """(B, T) one row per sequence, padded on the right; or all rows end to end in one."""
    positions: Tensor
    """(B, T) of each token in its row."""
    predicting: Tensor
    """(K,) where hidden states predict a supervised token, counted over all sequences."""
    targets: Tensor
    """(K,) those tokens."""
    row_lengths: tuple[int, ...]
    """Tokens of each row, padding left out, but for a row that is nothing else."""
    rows: RowBounds | None
    """Of rows that lie end to end."""


def split_end_to_end(examples: Sequence[Example], *, max_tokens: int) -> list[list[Example]]:
    """Group examples so that their tokens together stay within `max_tokens`; a longer one goes alone.

    Rows of equal length end up side by side, where attention takes them at once.
    """
    groups: list[list[Example]] = []
    size = 0
    for example in _by_length(examples):
        size += len(example.token_ids)
        if groups and size <= max_tokens:
            groups[-1].append(example)
        else:
            groups.append([example])
            size = len(example.token_ids)
    return groups


def split_padded(examples: Sequence[Example], *, max_tokens: int) -> list[list[Example]]:
    """Group examples of similar length so that rows times longest row stays within `max_tokens`.

    Of all such groupings the one that computes least, counting A_PASS_COSTS for each group (by dynamic
    programming over the sorted rows). A row longer than `max_tokens` goes alone.
    """
    rows = _by_length(examples)
    least = [0]  # cost of the best grouping of the first i rows
    starts = [0]  # where its last group begins
    for end in range(1, len(rows) + 1):
        longest = len(rows[end - 1].token_ids)
        costs = [
            (least[start] + (end - start) * longest + A_PASS_COSTS, start)
            for start in range(end)
            if (end - start) * longest <= max_tokens or start == end - 1
        ]
        cost, start = min(costs)
        least.append(cost)
        starts.append(start)
    groups: list[list[Example]] = []
    end = len(rows)
    while end:
        groups.insert(0, rows[starts[end] : end])
        end = starts[end]
    return groups


def _by_length(examples: Sequence[Example]) -> list[Example]:
    # Stable, so that equal input gives an equal split
    return sorted(examples, key=lambda example: len(example.token_ids))


def of_few(num_tokens: int) -> int:
    """Return the next of few numbers, by 32 tokens or 1/16 more at most: 16 of them for each doubling."""
    step = max(FINEST_STEP, (1 << num_tokens.bit_length()) // 32)
    return -(-num_tokens // step) * step


def end_to_end(
    examples: Sequence[Example], device: torch.device, *, num_tokens: int | None = None
) -> MicroBatch:
    """Lay examples one behind the other, and put them on `device`.

    Args:
        num_tokens: of the micro-batch; what the examples leave of it is one more row, in which nothing is
            predicted. None for as many as they have.
    """
    lengths = [len(example.token_ids) for example in examples]
    padding = [PADDING] * ((num_tokens or 0) - sum(lengths))
    lengths += [len(padding)] if padding else []
    offsets = [0, *accumulate(lengths)]
    return _tensors(
        token_ids=[*chain.from_iterable(example.token_ids for example in examples), *padding],
        labels=[*chain.from_iterable(example.labels for example in examples), *[IGNORED] * len(padding)],
        positions=torch.cat([torch.arange(length) for length in lengths]),
        starts=offsets[:-1],
        lengths=lengths,
        num_sequences=1,
        rows=RowBounds(
            tuple(lengths), torch.tensor(offsets, dtype=torch.int32).to(device, non_blocking=True)
        ),
        device=device,
    )


def padded(examples: Sequence[Example], device: torch.device) -> MicroBatch:
    """Pad examples to the longest of them, and put them on `device`."""
    lengths = [len(example.token_ids) for example in examples]
    longest = max(lengths)

    def pad(rows: Iterable[list[int]], filler: int) -> list[int]:
        return list(chain.from_iterable(row + [filler] * (longest - len(row)) for row in rows))

    return _tensors(
        token_ids=pad((example.token_ids for example in examples), PADDING),
        labels=pad((example.labels for example in examples), IGNORED),
        positions=torch.arange(longest).repeat(len(examples)),
        starts=range(0, longest * len(examples), longest),
        lengths=lengths,
        num_sequences=len(examples),
        rows=None,
        device=device,
    )


def _tensors(
    *,
    token_ids: list[int],
    labels: list[int],
    positions: Tensor,
    starts: Sequence[int],
    lengths: Sequence[int],
    num_sequences: int,
    rows: RowBounds | None,
    device: torch.device,
) -> MicroBatch:
    ids, wanted = torch.tensor(token_ids), torch.tensor(labels)
    wanted[list(starts)] = IGNORED  # nothing predicts the first token of a row
    supervised = wanted.ne(IGNORED).nonzero().squeeze(1)
    parts = [ids, positions, supervised - 1, wanted[supervised]]
    everything = torch.cat(parts)  # one copy to the device instead of four
    if device.type == "cuda":
        everything = everything.pin_memory()
    ids, positions, predicting, targets = torch.split(
        everything.to(device, non_blocking=True), [len(part) for part in parts]
    )
    return MicroBatch(
        token_ids=ids.view(num_sequences, -1),
        positions=positions.view(num_sequences, -1),
        predicting=predicting,
        targets=targets,
        row_lengths=tuple(lengths),
        rows=rows,
    )
