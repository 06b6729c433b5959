"""What time was spent on."""

import pytest

from tests.support import FakeClock
from trainer.protocol.costs import CostBook, cost_of


def test_shares_are_of_all_that_was_spent_and_of_the_last_hour():
    clock = FakeClock()
    book = CostBook(clock)
    book.add("training", 60.0)
    book.add("previews", 40.0)
    clock.now += 3600.0
    book.add("training", 90.0)
    book.add("previews", 10.0)

    cost = cost_of(book, "previews", 500)

    assert cost.seconds == 50.0
    assert cost.share_since_start == 0.25
    assert cost.share_of_last_hour == 0.1
    assert cost.interval_steps == 500


def test_shares_are_unknown_before_anything_was_spent():
    cost = cost_of(CostBook(FakeClock()), "saving")

    assert (cost.seconds, cost.share_since_start, cost.share_of_last_hour) == (0.0, None, None)


@pytest.mark.parametrize("passed_s, left", [(0, 5.0), (3539, 5.0), (3600, 0)])
def test_the_last_hour_is_an_hour(passed_s, left):
    clock = FakeClock(0.0)
    book = CostBook(clock)
    book.add("suites", 5.0)

    clock.now += passed_s

    assert book.last_hour("suites") == left
    assert book.total("suites") == 5.0
