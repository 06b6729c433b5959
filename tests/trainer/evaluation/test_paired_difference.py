"""The difference of two models on the same rows, and how sure it is: compared with hand-made numbers."""

import math
import random

import pytest

from trainer.evaluation.paired_difference import RowLoss, paired_difference, t_quantile


def of_one_token(*losses):
    return [RowLoss(loss, 1) for loss in losses]


def test_with_rows_of_equal_length_it_is_the_paired_t_test():
    before, after = of_one_token(2.0, 3.0, 4.0, 5.0), of_one_token(1.0, 2.5, 3.0, 4.5)

    found = paired_difference(before, after)

    # Differences -1, -0.5, -1, -0.5: mean -0.75, standard deviation sqrt(1/12), standard error 0.1443
    assert (found.before, found.after, found.difference) == (3.5, 2.75, -0.75)
    assert found.t == pytest.approx(-0.75 / math.sqrt(1 / 12 / 4))
    assert (found.low, found.high) == pytest.approx((-1.2087, -0.2913), abs=1e-3)


def test_the_mean_is_over_tokens_as_the_validation_loss_is():
    found = paired_difference([RowLoss(2.0, 1), RowLoss(9.0, 9)], [RowLoss(2.0, 1), RowLoss(18.0, 9)])

    assert (found.before, found.after) == (1.1, 2.0)


def test_a_model_does_not_differ_from_itself():
    losses = of_one_token(1.0, 2.0, 3.0)

    found = paired_difference(losses, losses)

    assert (found.difference, found.low, found.high, found.t) == (0.0, 0.0, 0.0, None)


def test_a_single_row_says_nothing_about_chance():
    found = paired_difference(of_one_token(2.0), of_one_token(1.0))

    assert (found.difference, found.low, found.high, found.t) == (-1.0, None, None, None)


@pytest.mark.parametrize(
    "freedom, expected", [(1, 12.706), (2, 4.303), (3, 3.182), (5, 2.571), (30, 2.042), (199, 1.972)]
)
def test_quantiles_are_those_of_the_tables(freedom, expected):
    assert t_quantile(freedom) == pytest.approx(expected, rel=2e-3)


def test_the_interval_holds_the_true_difference_in_95_of_100_cases():
    dice, hits = random.Random(7), 0
    for _ in range(1000):
        lengths = [dice.randint(1, 40) for _ in range(50)]
        before = [RowLoss(sum(dice.gauss(2, 1) for _ in range(length)), length) for length in lengths]
        shifts = [dice.gauss(0.1, 0.3) for _ in lengths]
        after = [
            RowLoss(row.summed + row.tokens * shift, row.tokens)
            for row, shift in zip(before, shifts, strict=True)
        ]
        found = paired_difference(before, after)
        hits += found.low <= 0.1 <= found.high

    assert 925 <= hits <= 970
