"""The order of rows: computed, complete, and the same in every release."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.data.plan import Plan, Replay, permutation, replay_of

PLAN = Plan(sha256="ab" * 32, num_rows=10, rows_per_step=4, epochs=2, seed=42)
REPLAY = Replay(files=(("cd" * 32, 5), ("ef" * 32, 3)), rows_per_step=1)
EDGE_SIZES = sorted({size for power in range(13) for size in (2**power - 1, 2**power, 2**power + 1)} - {0})


def order(size: int, key: str) -> list[int]:
    shuffle = permutation(size, key=key)
    return [shuffle(index) for index in range(size)]


def epoch_order(plan: Plan, epoch: int = 0) -> list[int]:
    steps = range(epoch * plan.steps_per_epoch, (epoch + 1) * plan.steps_per_epoch)
    return [position for step in steps for position in plan.positions(step)]


# ---- the permutation


@pytest.mark.parametrize("size", EDGE_SIZES)
def test_every_index_comes_exactly_once_at_sizes_around_powers_of_two(size):
    assert sorted(order(size, "key")) == list(range(size))


@given(size=st.integers(1, 400), key=st.text(max_size=8))
def test_every_index_comes_exactly_once_at_any_size_with_any_key(size, key):
    assert sorted(order(size, key)) == list(range(size))


@given(size=st.integers(1, 10**15), fraction=st.floats(0, 1, exclude_max=True))
def test_a_position_of_an_enormous_file_is_found_without_a_list(size, fraction):
    index = int(fraction * size)

    assert 0 <= permutation(size, key="key")(index) < size


@pytest.mark.parametrize("size, number", [(1, 1), (2, 2), (3, 6), (4, 24)])
def test_every_order_of_a_few_rows_comes_up(size, number):
    assert len({tuple(order(size, str(key))) for key in range(300)}) == number


def test_rows_are_mixed_thoroughly():
    mixed = order(1000, "key")

    steps = [abs(after - before) for before, after in pairwise(mixed)]
    assert 300 < sum(steps) / len(steps) < 370  # a third of the size, as for a uniform shuffle
    assert sum(position == index for index, position in enumerate(mixed)) < 8


# ---- the order of a plan


def test_the_order_never_changes_between_releases():
    """These values may never be edited: cursors of running jobs rely on them."""
    assert order(10, "golden") == [6, 2, 8, 1, 4, 3, 0, 9, 5, 7]
    assert permutation(10**12, key="golden")(0) == 336035026697
    assert PLAN.fingerprint == "a0cee35006eea0c3"
    assert [PLAN.positions(step) for step in range(PLAN.num_steps)] == [
        [4, 5, 7, 8],
        [0, 3, 9, 2],
        [1, 6],
        [5, 2, 4, 0],
        [7, 3, 9, 1],
        [8, 6],
    ]


@given(st.integers(1, 60), st.integers(1, 70), st.integers(1, 3), st.integers(0, 2**40))
def test_the_steps_cover_every_row_exactly_once_per_epoch(num_rows, rows_per_step, epochs, seed):
    plan = Plan(sha256="a", num_rows=num_rows, rows_per_step=rows_per_step, epochs=epochs, seed=seed)

    for epoch in range(epochs):
        assert sorted(epoch_order(plan, epoch)) == list(range(num_rows))
    assert plan.num_steps == epochs * plan.steps_per_epoch


@pytest.mark.parametrize(
    "num_rows, sizes",
    [(1, [1]), (3, [3]), (4, [4]), (5, [4, 1]), (8, [4, 4]), (10, [4, 4, 2])],
)
def test_only_the_last_step_of_an_epoch_is_smaller(num_rows, sizes):
    plan = replace(PLAN, num_rows=num_rows)

    assert [len(plan.positions(step)) for step in range(plan.num_steps)] == sizes * 2


def test_each_epoch_has_an_order_of_its_own():
    plan = replace(PLAN, num_rows=50, epochs=3)

    assert len({tuple(epoch_order(plan, epoch)) for epoch in range(3)}) == 3


@pytest.mark.parametrize("change", [{"seed": 43}, {"sha256": "ac" * 32}])
def test_another_seed_or_file_has_another_order(change):
    plan = replace(PLAN, num_rows=50)

    assert epoch_order(replace(plan, **change)) != epoch_order(plan)


@pytest.mark.parametrize("change", [{"rows_per_step": 7}, {"epochs": 5}])
def test_the_order_does_not_depend_on_grouping_or_number_of_epochs(change):
    plan = replace(PLAN, num_rows=50)

    assert epoch_order(replace(plan, **change)) == epoch_order(plan)


@pytest.mark.parametrize(
    "change",
    [
        {"sha256": "ac" * 32},
        {"num_rows": 11},
        {"rows_per_step": 5},
        {"epochs": 3},
        {"seed": 43},
        {"replay": REPLAY},
    ],
)
def test_the_fingerprint_changes_with_each_fact(change):
    assert replace(PLAN, **change).fingerprint != PLAN.fingerprint
    assert set(change) <= set(Plan.__dataclass_fields__)


def test_the_fingerprint_looks_at_every_field():
    fields = {"sha256", "num_rows", "rows_per_step", "epochs", "seed", "replay"}

    assert set(Plan.__dataclass_fields__) == fields
    assert set(Replay.__dataclass_fields__) == {"files", "rows_per_step"}


def test_equal_plans_have_equal_fingerprints():
    assert replace(PLAN).fingerprint == PLAN.fingerprint


# ---- rows of earlier files


MIXED = replace(PLAN, replay=REPLAY)
FILES = st.lists(st.tuples(st.text(min_size=1, max_size=4), st.integers(1, 20)), min_size=1, max_size=4)


@given(
    num_rows=st.integers(1, 60),
    rows_per_step=st.integers(2, 40),
    fraction=st.floats(0.01, 0.9),
    files=FILES,
    seed=st.integers(0, 2**40),
)
def test_every_own_row_is_still_trained_exactly_once_an_epoch_beside_replayed_ones(
    num_rows, rows_per_step, fraction, files, seed
):
    replay = replay_of(files, rows_per_step=rows_per_step, fraction=fraction)
    plan = Plan(
        sha256="a", num_rows=num_rows, rows_per_step=rows_per_step, epochs=2, seed=seed, replay=replay
    )

    own = [len(plan.positions(step)) for step in range(plan.num_steps)]
    replayed = [len(plan.replayed(step)) for step in range(plan.num_steps)]

    assert [sorted(epoch_order(plan, epoch)) for epoch in (0, 1)] == [list(range(num_rows))] * 2
    assert set(replayed) == {replay.rows_per_step}
    in_all = [sum(of_step) for of_step in zip(own, replayed, strict=True)]
    last = plan.steps_per_epoch - 1
    assert all(rows == rows_per_step for step, rows in enumerate(in_all) if step % (last + 1) != last)
    assert all(replay.rows_per_step < rows <= rows_per_step for rows in in_all)


@given(files=FILES, rows_per_step=st.integers(1, 5), seed=st.integers(0, 2**40))
def test_no_replayed_row_comes_again_before_all_have_come(files, rows_per_step, seed):
    plan = replace(PLAN, rows_per_step=6, seed=seed, replay=Replay(files=files, rows_per_step=rows_per_step))
    every_row = [(file, row) for file, (_, num_rows) in enumerate(files) for row in range(num_rows)]

    drawn = [row for step in range(2 * len(every_row)) for row in plan.replayed(step)]

    first, second = drawn[: len(every_row)], drawn[len(every_row) : 2 * len(every_row)]
    assert sorted(first) == sorted(second) == every_row


@pytest.mark.parametrize(
    "rows_per_step, fraction, replayed",
    [(16, 0.25, 4), (16, 0.01, 1), (16, 0.9, 14), (2, 0.9, 1), (4, 0.3, 1), (4, 0.4, 2), (10, 0.34, 3)],
)
def test_the_share_is_rounded_and_leaves_a_row_for_either_side(rows_per_step, fraction, replayed):
    found = replay_of([("cd", 5)], rows_per_step=rows_per_step, fraction=fraction)

    assert found == Replay(files=(("cd", 5),), rows_per_step=replayed)


@pytest.mark.parametrize("files, fraction", [([("cd", 5)], 0.0), ([], 0.5), ([("cd", 0)], 0.5)])
def test_nothing_is_replayed_without_a_share_or_without_rows(files, fraction):
    assert replay_of(files, rows_per_step=4, fraction=fraction) is None
    assert PLAN.replayed(3) == []


def test_the_order_of_replayed_rows_never_changes_between_releases():
    """These values may never be edited: cursors of running jobs rely on them."""
    assert MIXED.fingerprint == "32f0a43fd5906e04"
    assert [MIXED.positions(step) for step in range(4)] == [[4, 5, 7], [8, 0, 3], [9, 2, 1], [6]]
    drawn = [row for step in range(10) for row in MIXED.replayed(step)]
    assert drawn == [
        (1, 2),
        (0, 1),
        (1, 0),
        (0, 3),
        (1, 1),
        (0, 0),
        (0, 4),
        (0, 2),
        (0, 1),
        (0, 2),
    ]


@pytest.mark.parametrize(
    "change",
    [{"files": (("cd" * 32, 5), ("ef" * 32, 4))}, {"files": REPLAY.files[::-1]}, {"rows_per_step": 2}],
)
def test_the_fingerprint_changes_with_what_is_replayed(change):
    changed = replace(MIXED, replay=replace(REPLAY, **change))

    assert changed.fingerprint not in (MIXED.fingerprint, PLAN.fingerprint)


def test_replayed_rows_do_not_follow_the_order_of_another_file_or_seed():
    others = [replace(MIXED, seed=43), replace(MIXED, sha256="ac" * 32)]
    orders = {tuple(row for step in range(8) for row in plan.replayed(step)) for plan in [MIXED, *others]}

    assert len(orders) == 3
