"""Intervals that widen with what evaluation costs, and come back when it is cheap."""

import pytest

from trainer.evaluation.cadence import MOST_DOUBLINGS, stretched


def test_what_costs_nothing_comes_as_often_as_wanted():
    wanted = {"validation": 10, "previews": 20}

    assert stretched(wanted, {}, step_s=1.0, max_share=0.05) == wanted
    assert stretched(wanted, {"previews": 0.0}, step_s=0.0, max_share=0.05) == wanted


@pytest.mark.parametrize(
    "cost_s, interval",
    # 20 steps of a second: a twentieth of all the time is 20 / 19 seconds
    [(1.0, 20), (20 / 19, 20), (1.06, 40), (2.1, 40), (2.2, 80), (40.0, 1280)],
)
def test_an_interval_is_doubled_until_its_share_is_kept(cost_s, interval):
    found = stretched({"previews": 20}, {"previews": cost_s}, step_s=1.0, max_share=0.05)

    assert found == {"previews": interval}


def test_the_dearest_is_widened_first():
    costs = {"validation": 0.1, "suites": 3.0}

    found = stretched({"validation": 10, "suites": 10}, costs, step_s=1.0, max_share=0.05)

    assert found == {"validation": 10, "suites": 80}


def test_a_cheap_measurement_brings_the_interval_back():
    wanted = {"suites": 10}
    widened = stretched(wanted, {"suites": 30.0}, step_s=1.0, max_share=0.05)

    assert widened["suites"] > 10
    assert stretched(wanted, {"suites": 0.1}, step_s=1.0, max_share=0.05) == wanted


def test_all_of_the_time_leaves_every_interval_alone():
    assert stretched({"suites": 1}, {"suites": 1e6}, step_s=0.001, max_share=1.0) == {"suites": 1}


def test_where_steps_take_no_time_widening_ends_somewhere():
    found = stretched({"suites": 3}, {"suites": 1.0}, step_s=0.0, max_share=0.05)

    assert found == {"suites": 3 << MOST_DOUBLINGS}
