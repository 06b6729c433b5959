"""A step's rows are split by a token budget, and become tensors end to end or padded."""

import pytest
import torch

from trainer.data.rendering.render import IGNORED, Example
from trainer.step.micro_batches import (
    A_PASS_COSTS,
    end_to_end,
    of_few,
    padded,
    split_end_to_end,
    split_padded,
)

CPU = torch.device("cpu")


def example(length: int, first_token: int = 1) -> Example:
    token_ids = list(range(first_token, first_token + length))
    labels = [IGNORED, *token_ids[1:]]
    return Example(token_ids, labels, length - 1, is_truncated=False)


def lengths_of(groups: list[list[Example]]) -> list[list[int]]:
    return [[len(one.token_ids) for one in group] for group in groups]


@pytest.mark.parametrize(
    "lengths, max_tokens, split",
    [
        ([], 10, []),
        ([5, 5], 10, [[5, 5]]),
        ([5, 5], 9, [[5], [5]]),
        ([3, 5, 4], 12, [[3, 4, 5]]),
        ([3, 5, 4], 11, [[3, 4], [5]]),
        ([2, 9, 2], 12, [[2, 2], [9]]),
        ([11, 2], 10, [[2], [11]]),
        ([11, 12], 10, [[11], [12]]),
        ([1, 1, 1], 1, [[1], [1], [1]]),
    ],
)
def test_rows_end_to_end_stay_within_the_budget(lengths, max_tokens, split):
    groups = split_end_to_end([example(length) for length in lengths], max_tokens=max_tokens)

    assert lengths_of(groups) == split


@pytest.mark.parametrize(
    "lengths, max_tokens, split",
    [
        ([], 10, []),
        ([5, 5], 10, [[5, 5]]),
        ([5, 5], 9, [[5], [5]]),
        ([3, 5, 4], 15, [[3, 4, 5]]),
        ([3, 5, 4], 14, [[3], [4, 5]]),
        ([11, 2], 10, [[2], [11]]),
        ([10, 10 + A_PASS_COSTS - 1], 10**6, [[10, 10 + A_PASS_COSTS - 1]]),
        ([10, 10 + A_PASS_COSTS + 1], 10**6, [[10], [10 + A_PASS_COSTS + 1]]),
    ],
)
def test_padded_rows_stay_within_the_budget_and_are_parted_where_that_saves_more_than_a_pass(
    lengths, max_tokens, split
):
    groups = split_padded([example(length) for length in lengths], max_tokens=max_tokens)

    assert lengths_of(groups) == split


@pytest.mark.parametrize("split", [split_end_to_end, split_padded])
def test_rows_of_one_length_keep_their_order(split):
    examples = [example(3, first_token=start) for start in (30, 10, 20)]

    [group] = split(examples, max_tokens=100)

    assert group == examples


def test_rows_end_to_end_have_positions_of_their_own_and_no_padding():
    batch = end_to_end([example(2), example(3, first_token=11)], CPU)

    assert batch.token_ids.tolist() == [[1, 2, 11, 12, 13]]
    assert batch.positions.tolist() == [[0, 1, 0, 1, 2]]
    assert (batch.predicting.tolist(), batch.targets.tolist()) == ([0, 2, 3], [2, 12, 13])
    assert batch.rows
    assert (batch.rows.lengths, batch.rows.offsets.tolist()) == ((2, 3), [0, 2, 5])


def test_what_rows_end_to_end_leave_is_a_row_in_which_nothing_is_predicted():
    batch = end_to_end([example(2), example(3, first_token=11)], CPU, num_tokens=8)

    assert batch.token_ids.tolist() == [[1, 2, 11, 12, 13, 0, 0, 0]]
    assert batch.positions.tolist() == [[0, 1, 0, 1, 2, 0, 1, 2]]
    assert (batch.predicting.tolist(), batch.targets.tolist()) == ([0, 2, 3], [2, 12, 13])
    assert batch.rows
    assert (batch.rows.lengths, batch.rows.offsets.tolist()) == ((2, 3, 3), [0, 2, 5, 8])


def test_numbers_of_tokens_are_filled_up_by_little_to_one_of_few():
    numbers = range(1, 8_193)

    filled_up = [of_few(number) for number in numbers]

    assert all(0 <= more - n < max(32, n / 16 + 1) for n, more in zip(numbers, filled_up, strict=True))
    assert len(set(filled_up)) == 1_024 / 32 + 16 * 3  # for each doubling from 1,024 on
    assert [of_few(number) for number in filled_up] == filled_up


def test_shorter_rows_are_padded_on_the_right_where_nothing_is_learned():
    batch = padded([example(2), example(4)], CPU)

    assert batch.token_ids.tolist() == [[1, 2, 0, 0], [1, 2, 3, 4]]
    assert (batch.predicting.tolist(), batch.targets.tolist()) == ([0, 4, 5, 6], [2, 2, 3, 4])
    assert batch.rows is None


def test_the_first_token_of_a_row_is_never_predicted():
    learned = Example([5, 6], [5, 6], 1, is_truncated=False)

    batch = end_to_end([learned, learned], CPU)

    assert (batch.predicting.tolist(), batch.targets.tolist()) == ([0, 2], [6, 6])
