"""The statistics are those of the books."""

import random

import pytest

from daemon.diagnosis.robust import (
    block_medians,
    median_error,
    noise,
    parts_of,
    rank_trend,
    slope,
    smoothed,
    spread,
)

NORMAL = random.Random(1)
SAMPLE = [NORMAL.gauss(5.0, 2.0) for _ in range(4000)]


def test_spread_and_noise_are_the_standard_deviation_of_normal_values():
    assert spread(SAMPLE) == pytest.approx(2.0, rel=0.05)
    assert noise(SAMPLE) == pytest.approx(2.0, rel=0.05)


def test_a_trend_is_no_noise_and_a_few_odd_values_move_neither():
    trend = [0.1 * number + value for number, value in enumerate(SAMPLE)]
    trend[100] = trend[200] = 1e9

    assert noise(trend) == pytest.approx(2.0, rel=0.05)
    assert slope(trend[:300:10]) == pytest.approx(1.0, rel=0.1)


def test_the_error_of_a_median_is_how_far_medians_differ():
    medians = block_medians(SAMPLE, 100)

    assert spread(medians) == pytest.approx(median_error(2.0, 40), rel=0.2)


@pytest.mark.parametrize(
    "values, tau", [([1, 2, 3, 4], 1.0), ([4, 3, 2, 1], -1.0), ([1, 2, 4, 3], 2 / 3), ([1, 1, 1], 0.0)]
)
def test_the_rank_trend_counts_pairs(values, tau):
    assert rank_trend(values) == pytest.approx(tau)


def test_parts_are_of_about_the_same_size_and_lose_nothing():
    parts = parts_of(list(range(11)), 4)

    assert sum(map(list, parts), []) == list(range(11))  # noqa: RUF017  so few
    assert {len(part) for part in parts} == {2, 3}


def test_smoothing_takes_the_median_of_neighbours():
    assert smoothed([1.0, 9.0, 2.0, 3.0]) == [5.0, 2.0, 3.0, 2.5]
