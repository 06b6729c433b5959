"""Points of a picture: what is in each, how little is read again, and what was trained anew."""

from contextlib import contextmanager
from math import inf

import pytest

from daemon.ledger import curve_buckets
from daemon.ledger.curve_buckets import CurveBuckets, cumulated, step_window, width_for
from daemon.ledger.reader import open_read_only
from tests.daemon.ledger.entries import step


@pytest.fixture
def buckets(layout):
    return CurveBuckets(layout.ledger_file)


@pytest.fixture
def sums(monkeypatch):
    """The queries that sum up steps, as they are made."""
    made = []

    @contextmanager
    def traced(path):
        with open_read_only(path) as database:
            database.set_trace_callback(lambda query: made.append(query) if "count(*)" in query else None)
            yield database

    monkeypatch.setattr(curve_buckets, "open_read_only", traced)
    return made


def take(ledger, first, last, **fields):
    ledger.add_steps([step(number, **{"loss": float(number), **fields}) for number in range(first, last + 1)])
    ledger.commit()


def read(buckets, first, last, *, max_points=4, column="loss", job_id=None):
    return buckets.read(column, job_id=job_id, first=first, last=last, max_points=max_points)[1]


@pytest.mark.parametrize(
    "first, last, max_points, width",
    [
        (1, 4, 4, 1),
        (1, 5, 4, 2),
        (1, 8, 4, 2),
        (1, 9, 4, 4),
        (2, 9, 4, 4),
        (8, 9, 1, 16),
        (1, 10**6, 1000, 1024),
    ],
)
def test_a_point_has_a_power_of_two_of_steps(first, last, max_points, width):
    assert width_for(first, last, max_points) == width


def test_each_point_has_its_steps_and_their_values(ledger, buckets):
    take(ledger, 1, 7)

    found = read(buckets, 1, 7)

    assert [(one.first_step, one.last_step, one.low, one.mean, one.high) for one in found] == [
        (1, 2, 1.0, 1.5, 2.0), (3, 4, 3.0, 3.5, 4.0), (5, 6, 5.0, 5.5, 6.0), (7, 7, 7.0, 7.0, 7.0)
    ]  # fmt: skip


def test_values_that_are_no_finite_numbers_are_counted(ledger, buckets):
    take(ledger, 1, 3)
    ledger._database.write("UPDATE steps SET loss = ? WHERE global_step = 1", (inf,))
    take(ledger, 4, 4, loss=None)

    [one] = read(buckets, 1, 4, max_points=1)

    assert (one.steps, one.finite, one.low, one.mean, one.high) == (4, 2, 2.0, 2.5, 3.0)


def test_new_steps_have_only_the_last_point_read_again(ledger, buckets, sums):
    take(ledger, 1, 2000)
    read(buckets, 1, 2000, max_points=1000)
    assert len(sums) == 1000

    take(ledger, 2001, 2001)
    sums.clear()
    found = read(buckets, 3, 2001, max_points=1000)

    assert found[-1].last_step == 2001
    assert len(sums) == 1  # the finished ones were kept


def test_what_is_zoomed_into_reads_only_what_is_in_sight(ledger, buckets, sums):
    take(ledger, 1, 2000)

    found = read(buckets, 1001, 1100, max_points=50)

    assert (found[0].first_step, found[-1].last_step) == (1001, 1100)
    assert len(sums) == 50
    assert all("BETWEEN 10" in query or "BETWEEN 1100" in query for query in sums)


@pytest.mark.parametrize("newest", [6, 8, 12])
def test_steps_that_were_taken_anew_replace_what_was_kept(ledger, buckets, newest):
    take(ledger, 1, 8)
    read(buckets, 1, 8)

    ledger.rewind(5)
    take(ledger, 6, newest, loss=100.0)

    assert [one.high for one in read(buckets, 1, newest, max_points=12)][5:] == [100.0] * (newest - 5)
    assert max(one.high for one in read(buckets, 1, 8)) == 100.0


def test_no_more_points_are_kept_than_there_is_room_for(ledger, layout, sums):
    buckets = CurveBuckets(layout.ledger_file, most=10)
    take(ledger, 1, 8)
    for column in ("loss", "learning_rate"):
        read(buckets, 1, 8, max_points=8, column=column)
    sums.clear()

    read(buckets, 1, 8, max_points=8, column="learning_rate")
    assert sums == []
    read(buckets, 1, 8, max_points=8, column="loss")
    assert len(sums) == 8


def test_a_file_has_its_own_steps_only(ledger, buckets, layout):
    take(ledger, 1, 4, job_id="a")
    take(ledger, 5, 6, job_id="b", loss=50.0)
    ledger.add_steps([step(7, job_id="a", file_step=5, loss=7.0)])
    ledger.commit()

    found = read(buckets, 1, 7, max_points=2, job_id="a")

    assert step_window(layout.ledger_file, job_id="a") == (1, 7)
    assert [(one.first_step, one.last_step, one.last_count, one.high) for one in found] == [
        (1, 4, 4, 4.0), (7, 7, 5, 7.0)
    ]  # fmt: skip


def test_a_step_stands_for_those_before_it_that_are_thinned_out(ledger, buckets):
    ledger.add_steps([step(100), step(200), *(step(number) for number in range(201, 205))])
    ledger.commit()

    found = cumulated(read(buckets, 1, 204, max_points=100, column="tokens_per_s"))

    assert found[-1] == (204, 1050.0, 52.5)  # of the first hundred, only the last is known to have been taken


def test_speed_is_that_of_all_steps_together(ledger, buckets):
    take(ledger, 1, 2, tokens=100)
    ledger._database.write("UPDATE steps SET seconds = ? WHERE global_step = ?", (1.0, 1), (0.25, 2))
    ledger.commit()

    [one] = read(buckets, 1, 2, max_points=1, column="tokens_per_s")

    assert (one.low, one.mean, one.high) == (100.0, 160.0, 400.0)


def test_where_nothing_was_trained_there_is_nothing(layout, buckets):
    assert step_window(layout.ledger_file, job_id=None) is None
    assert read(buckets, 1, 0) == []
