"""Ids of jobs sort by arrival, whatever the clock does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.jobs.job_ids import JobIds
from tests.support import FakeClock

DAY_S = 86400


def test_an_id_says_when_a_file_came():
    ids = JobIds(clock=FakeClock(1_000_000_000.000123))

    assert ids.next() == "20010909-014640-000123"


@pytest.mark.parametrize("step_s", [0.0, -0.001, -DAY_S, -365 * DAY_S])
def test_ids_rise_even_when_the_clock_stands_still_or_is_set_back(step_s):
    clock = FakeClock(1_000_000_000.0)
    ids = JobIds(clock=clock)
    first = ids.next()

    clock.now += step_s
    second = ids.next()

    assert second > first


def test_ids_rise_over_a_restart_with_a_clock_that_was_set_back():
    newest = JobIds(clock=FakeClock(1_000_000_000.0)).next()

    after = JobIds(newest, clock=FakeClock(1_000_000_000.0 - DAY_S)).next()

    assert after > newest


def test_the_last_microsecond_of_a_second_is_followed_by_the_next_second():
    ids = JobIds("20010909-014640-999999", clock=FakeClock(0.0))

    assert ids.next() == "20010909-014641-000000"


@given(st.lists(st.floats(0, 4_000_000_000), min_size=2, max_size=20))
def test_ids_are_strictly_rising_for_any_clock(times):
    clock = FakeClock()
    ids = JobIds(clock=clock)
    given_out = []

    for clock.now in times:
        given_out.append(ids.next())

    assert given_out == sorted(set(given_out))
