"""Whether the model has become worse, at the limits of the rules."""

import random

import pytest

from trainer.config.gate_settings import GateSettings
from trainer.evaluation.regression import (
    MOST_T,
    WORST,
    Measured,
    best_of,
    compare,
    compare_answers,
    compare_losses,
    group_limit,
    mcnemar_p,
    objections,
    paired_t,
    storable,
    verdict_of,
)

RULES = GateSettings(enabled=True, min_rows=4)


def measured(losses, *, step=0, answers=None, rows_id="rows"):
    return Measured(rows_id=rows_id, global_step=step, losses=tuple(losses), answers=answers or {})


def test_t_is_the_one_of_the_textbook():
    # Sleep gained with two drugs, in hours, by ten patients ("Student" 1908); R's sleep data set
    first = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
    second = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]

    assert paired_t(first, second) == pytest.approx(4.0621, abs=1e-4)
    assert paired_t(second, first) == pytest.approx(-4.0621, abs=1e-4)


@pytest.mark.parametrize(
    "before, after, t",
    [([1.0, 2.0], [2.0, 3.0], MOST_T), ([1.0, 2.0], [1.0, 2.0], 0), ([1.0], [9.0], 0)],
)
def test_t_is_a_number_where_the_formula_has_none(before, after, t):
    assert paired_t(before, after) == t


@pytest.mark.parametrize(
    "lost, gained, p",
    [(0, 0, 1.0), (1, 1, 1.0), (10, 0, 2 / 1024), (11, 0, 2 / 2048), (8, 2, 2 * (1 + 10 + 45) / 1024)],
)
def test_p_is_that_of_the_exact_test(lost, gained, p):
    assert mcnemar_p(lost, gained) == pytest.approx(p)
    assert mcnemar_p(gained, lost) == pytest.approx(p)


def test_p_of_thousands_of_questions_can_be_computed():
    assert 0 < mcnemar_p(2_000, 1_800) < 0.002


def noisy(mean, spread, number=200):
    rng = random.Random(1)
    return [mean + rng.uniform(-spread, spread) for _ in range(number)]


@pytest.mark.parametrize(
    "after, is_refused",
    [
        (noisy(2.31, 0.05), True),
        (noisy(2.28, 0.05), False),  # certain, but by less than 15 %
        ([2.0] * 199 + [202.0], False),  # by 50 %, but one row has done it
        (noisy(1.0, 0.05), False),
    ],
)
def test_a_rise_must_be_large_and_certain(after, is_refused):
    comparison = compare_losses(measured([2.0] * 200), measured(after, step=9))

    found = objections([comparison], [], RULES)

    assert bool(found) == is_refused
    assert verdict_of(found, is_admitted=False) == ("refused" if is_refused else "passed")


def test_too_few_rows_decide_nothing():
    comparison = compare_losses(measured([1.0, 1.1, 1.2]), measured([9.0, 9.2, 9.1]))

    assert objections([comparison], [], RULES) == []


def test_the_reason_has_the_numbers():
    comparison = compare_losses(
        measured([1.0, 1.0, 1.2, 1.2], step=3), measured([2.0, 2.2, 2.0, 2.2]), is_best=True
    )

    [reason] = objections([comparison], [], RULES)

    assert reason == (
        "the mean loss of 4 validation rows went from 1.1000 to 2.1000 (+90.9%, paired t 12.2) since step 3, "
        "the best of late; expected a rise below 15%"
    )


@pytest.mark.parametrize(
    "lost, gained, is_refused",
    [
        (11, 0, True),
        (10, 0, False),  # ten points, but p is 0.002
        (9, 0, False),  # nine points
        (30, 20, False),  # ten points, but half of the questions go either way
    ],
)
def test_a_drop_must_be_large_and_certain(lost, gained, is_refused):
    stay = 100 - lost - gained
    before = [True] * lost + [False] * gained + [True] * stay
    after = [False] * lost + [True] * gained + [True] * stay

    suites = compare_answers(measured([], answers={"sums": before}), measured([], answers={"sums": after}))

    assert bool(objections([], suites, RULES)) == is_refused


def test_what_somebody_wants_is_admitted_whatever_is_found():
    assert verdict_of(["worse"], is_admitted=True) == "admitted"
    assert verdict_of([], is_admitted=True) == "passed"


def test_the_best_is_looked_for_among_the_last_of_the_same_rows():
    states = [measured([loss], step=loss) for loss in (1, 4, 3, 5)]
    states.append(measured([0.1], rows_id="others"))

    def best(window):
        found = best_of(states, measured([9.0]), GateSettings(window=window))
        return found and found.global_step

    assert [best(window) for window in (0, 1, 2, 4, 5)] == [None, None, 5, 3, 1]
    assert best_of(states, measured([9.0]), GateSettings(), since=4).global_step == 4


def with_average(average, last):
    return average.model_copy(update={"rows_id": "rows:average", "last": last})


def test_each_kind_of_weights_is_compared_with_its_like():
    before = with_average(measured([4.0]), measured([2.0]))
    after = with_average(measured([5.0], step=9), measured([3.0], step=9))
    passed = [measured([1.0], step=3), with_average(measured([2.5], step=6), measured([1.5], step=6))]

    losses, _ = compare(before, after, passed, RULES)

    assert [(item.weights, item.against, item.global_step, item.loss_before) for item in losses] == [
        ("average", "before", 0, 4.0),
        ("average", "best", 6, 2.5),
        ("last", "before", 0, 2.0),
        ("last", "best", 3, 1.0),  # from before there was an average
    ]


def test_both_kinds_count_as_measured_rows():
    state = measured([1.0, 2.0], answers={"sums": [True]})

    assert with_average(state, state).num_rows == 2 * state.num_rows == 6


@pytest.mark.parametrize(
    "measured_rows, percent, limit",
    [(1000, 5.0, 6334), (300, 5.0, 1900), (300, 100.0, 1), (300, 50.0, 100)],
)
def test_small_files_are_judged_together_as_far_as_the_share_demands(measured_rows, percent, limit):
    assert group_limit(measured_rows, GateSettings(), max_overhead_percent=percent) == limit
    assert group_limit(measured_rows, GateSettings(group_rows=7), max_overhead_percent=percent) == 7


@pytest.mark.parametrize(
    "loss, kept", [(1.23456789, 1.234568), (float("nan"), WORST), (float("inf"), WORST), (1e9, WORST)]
)
def test_a_loss_is_kept_so_that_it_can_be_written_down(loss, kept):
    assert storable(loss) == kept
