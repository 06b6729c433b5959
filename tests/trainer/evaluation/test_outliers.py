"""Which rows do not fit among the others."""

import random

import pytest

from trainer.evaluation.outliers import outliers, robust_scores, rows_to_inspect, usual_limit


def test_scores_count_deviations_as_they_are_usual_in_the_middle():
    assert robust_scores([1, 2, 3, 4, 5]) == pytest.approx([-1.349, -0.6745, 0.0, 0.6745, 1.349])


def test_rows_that_are_all_alike_make_any_other_an_outlier():
    assert robust_scores([1.0, 1.0, 1.0, 2.0]) == [0.0, 0.0, 0.0, float("inf")]


def test_noise_is_named_and_other_rows_are_not():
    rng = random.Random(1)
    losses = {line: rng.gauss(1.0, 0.2) for line in range(1, 301)}
    noise = sorted(rng.sample(sorted(losses), 60))
    losses |= {line: rng.gauss(6.0, 1.0) for line in noise}

    found = outliers(losses, usual=[rng.gauss(1.0, 0.2) for _ in range(300)], min_score=3.5)

    assert list(found) == noise


def test_what_is_usual_elsewhere_is_no_outlier():
    losses = dict(enumerate([0.10, 0.11, 0.12, 0.10, 0.11, 0.9]))

    assert list(outliers(losses, usual=[0.5] * 10, min_score=3.5)) == [5]
    assert outliers(losses, usual=[1.0] * 10, min_score=3.5) == {}


def test_nothing_is_found_where_nothing_was_looked_at():
    assert outliers({}, usual=[1.0], min_score=3.5) == {}


def test_the_usual_limit_is_exceeded_by_one_row_of_a_hundred():
    assert usual_limit([float(number) for number in range(1, 101)]) == 99.0


@pytest.mark.parametrize(
    "rows, epochs, percent, looked_at",
    [
        (300, 1, 5.0, 300),
        (500, 1, 5.0, 500),
        (2_000, 1, 5.0, 500),
        (10_000, 1, 5.0, 1_578),
        (10_000, 3, 5.0, 4_736),
        (10_000, 1, 100.0, 10_000),
    ],
)
def test_of_large_files_as_many_rows_are_looked_at_as_the_share_allows(rows, epochs, percent, looked_at):
    found = rows_to_inspect(rows, at_least=500, epochs=epochs, max_overhead_percent=percent)

    assert found == looked_at
