"""A step's rows are split by a token budget, and padding is never more than filling."""

import pytest
import torch

from trainer.core.micro_batches import split_by_tokens, to_tensors
from trainer.data.render import IGNORED, Example


def example(length: int, first_token: int = 1) -> Example:
    token_ids = list(range(first_token, first_token + length))
    labels = [IGNORED, *token_ids[1:]]
    return Example(token_ids, labels, length - 1, is_truncated=False)


@pytest.mark.parametrize(
    "lengths, max_tokens, split",
    [
        ([], 10, []),
        ([5, 5], 10, [[5, 5]]),
        ([5, 5], 9, [[5], [5]]),
        ([3, 5, 4], 15, [[3, 4, 5]]),
        ([3, 5, 4], 14, [[3, 4], [5]]),
        ([2, 9, 2], 12, [[2, 2], [9]]),
        ([11, 2], 10, [[2], [11]]),
        ([11, 12], 10, [[11], [12]]),
        ([1, 1, 1], 1, [[1], [1], [1]]),
    ],
)
def test_rows_times_longest_row_stay_within_the_budget(lengths, max_tokens, split):
    groups = split_by_tokens([example(length) for length in lengths], max_tokens=max_tokens)

    assert [[len(one.token_ids) for one in group] for group in groups] == split


def test_rows_of_one_length_keep_their_order():
    examples = [example(3, first_token=start) for start in (30, 10, 20)]

    [group] = split_by_tokens(examples, max_tokens=100)

    assert group == examples


def test_shorter_rows_are_padded_on_the_right_where_nothing_is_learned():
    batch = to_tensors([example(2), example(4)], torch.device("cpu"))

    assert batch.token_ids.tolist() == [[1, 2, 0, 0], [1, 2, 3, 4]]
    assert batch.labels.tolist() == [[IGNORED, 2, IGNORED, IGNORED], [IGNORED, 2, 3, 4]]
    assert batch.token_ids.dtype == batch.labels.dtype == torch.int64
