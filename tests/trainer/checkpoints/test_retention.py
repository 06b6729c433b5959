"""What may go: never the newest two that are whole, never what somebody holds; else what the rules say."""

import fcntl
import os
from dataclasses import replace
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.trainer.checkpoint_rig import damage, names_in, publish, steps_in, store_in, zeroed
from trainer.checkpoints.publishing import removable, retain
from trainer.checkpoints.retention import Retention, RetentionCandidate, choose_removals, least_bytes, spine
from trainer.protocol.checkpoints import read_manifest, verify
from trainer.protocol.manifest import MANIFEST_NAME


def candidates(number, **of_sequence):
    """Return candidates 1 to `number` of 10 bytes each; `of_sequence` names those that have a property."""
    held, unverified = of_sequence.get("held", ()), of_sequence.get("unverified", ())
    losses = of_sequence.get("losses", {})
    return [
        RetentionCandidate(
            name=str(sequence),
            sequence=sequence,
            num_bytes=10,
            is_verified=sequence not in unverified,
            is_held=sequence in held,
            validation_loss=losses.get(sequence),
        )
        for sequence in range(1, number + 1)
    ]


def left(found, rules):
    removed = choose_removals(found, rules)
    return [item.sequence for item in found if item.name not in removed]


@pytest.mark.parametrize(
    "keep_last, stay",
    [(1, [4, 5]), (2, [4, 5]), (3, [3, 4, 5]), (5, [1, 2, 3, 4, 5]), (6, [1, 2, 3, 4, 5])],
)
def test_the_newest_stay_and_never_fewer_than_two(keep_last, stay):
    assert left(candidates(5), Retention(keep_last=keep_last)) == stay


@pytest.mark.parametrize(
    "keep_every, stay",
    [(None, [7, 8]), (1, [1, 2, 3, 4, 5, 6, 7, 8]), (3, [3, 6, 7, 8]), (8, [7, 8]), (9, [7, 8])],
)
def test_every_nth_stays_for_ever(keep_every, stay):
    assert left(candidates(8), Retention(keep_last=2, keep_every=keep_every)) == stay


@pytest.mark.parametrize(
    "keep_best, stay", [(0, [5, 6]), (1, [2, 5, 6]), (2, [2, 4, 5, 6]), (9, [1, 2, 4, 5, 6])]
)
def test_those_with_the_lowest_validation_loss_stay_and_of_equal_ones_the_newest(keep_best, stay):
    judged = candidates(6, losses={1: 0.7, 2: 0.0, 4: 0.7})  # 0 is a loss like any other, not none

    assert left(judged, Retention(keep_last=2, keep_best=keep_best)) == stay


@pytest.mark.parametrize(
    "max_bytes, stay",
    [(50, [1, 2, 3, 4, 5]), (49, [2, 3, 4, 5]), (30, [3, 4, 5]), (29, [4, 5]), (20, [4, 5]), (1, [4, 5])],
)
def test_beyond_the_limit_the_oldest_go_but_never_the_newest_two(max_bytes, stay):
    assert left(candidates(5), Retention(keep_last=9, max_bytes=max_bytes)) == stay


def test_the_limit_goes_before_the_best_and_the_every_nth_but_not_before_the_held():
    found = candidates(6, held={1}, losses={2: 0.1})

    stay = left(found, Retention(keep_last=3, keep_every=3, keep_best=1, max_bytes=30))

    assert stay == [1, 5, 6]


def test_what_is_not_verified_protects_nobody_and_nothing_goes_before_two_are():
    rules = Retention(keep_last=2)

    assert left(candidates(5, unverified={4, 5}), rules) == [2, 3, 4, 5]
    assert left(candidates(5, unverified={2, 3, 4, 5}), rules) == [1, 2, 3, 4, 5]
    assert left(candidates(5, unverified={2, 3, 4}), rules) == [1, 4, 5]


@pytest.mark.parametrize("held, needed", [((), 10), ((5,), 10), ((1,), 20), ((1, 2, 5), 30)])
def test_the_least_that_stays_beside_the_next_one_is_the_newest_and_what_is_held(held, needed):
    assert least_bytes(candidates(5, held=held)) == needed


def test_nothing_needs_no_room():
    assert least_bytes([]) == 0
    assert choose_removals([], Retention()) == []


CANDIDATES = st.lists(
    st.builds(
        RetentionCandidate,
        name=st.just(""),
        sequence=st.just(0),
        num_bytes=st.integers(0, 100),
        is_verified=st.booleans(),
        is_held=st.booleans(),
        validation_loss=st.none() | st.floats(0, 10),
    ),
    max_size=12,
).flatmap(
    lambda found: st.permutations(range(1, len(found) + 1)).map(
        lambda order: [
            RetentionCandidate(**{**vars(item), "name": f"step-{number}", "sequence": number})
            for item, number in zip(found, order, strict=True)
        ]
    )
)
RULES = st.builds(
    Retention,
    keep_last=st.integers(0, 6),
    keep_every=st.none() | st.integers(1, 5),
    keep_best=st.integers(0, 4),
    max_bytes=st.none() | st.integers(1, 500),
)


@given(CANDIDATES, RULES)
def test_the_newest_two_verified_and_the_held_never_go(found, rules):
    removed = choose_removals(found, rules)

    verified = sorted((item for item in found if item.is_verified), key=lambda item: -item.sequence)
    holy = {item.name for item in verified[:2]} | {item.name for item in found if item.is_held}
    assert holy.isdisjoint(removed)
    assert len(verified) >= 2 or removed == []


@given(CANDIDATES, RULES)
def test_what_goes_makes_room_when_it_can_and_goes_oldest_first(found, rules):
    removed = choose_removals(found, rules)

    sequence = {item.name: item.sequence for item in found}
    assert removed == sorted(removed, key=sequence.__getitem__)
    stay = [item for item in found if item.name not in removed]
    if rules.max_bytes is not None and sum(item.num_bytes for item in stay) > rules.max_bytes:
        assert choose_removals(stay, Retention(keep_last=0, max_bytes=1)) == []


@given(CANDIDATES, RULES)
def test_removing_twice_removes_no_more(found, rules):
    removed = choose_removals(found, rules)

    stay = [item for item in found if item.name not in removed]
    assert choose_removals(stay, rules) == []


@given(CANDIDATES, RULES, st.randoms())
def test_the_order_in_which_they_were_found_does_not_matter(found, rules, random):
    shuffled = random.sample(found, len(found))

    assert choose_removals(shuffled, rules) == choose_removals(found, rules)


# ---- on disk


def test_a_save_removes_what_the_rules_do_not_keep(models):
    store = store_in(models)
    for step in range(1, 6):
        publish(store, step, rules=Retention(keep_last=2), validation_loss=0.1 if step == 3 else 0.2)

    assert names_in(models / "checkpoints") == ["step-000000004", "step-000000005"]
    assert (models / "current_model" / "config.json").is_file()


def test_order_is_by_sequence_number_and_no_clock_is_looked_at(models):
    store = store_in(models)
    for _ in range(10):  # all of one step: names -2 … -10, which sort differently
        publish(store, 7)
    for path in (models / "checkpoints").iterdir():
        age_s = read_manifest(path).sequence
        os.utime(path, (2_000_000_000 - age_s, 2_000_000_000 - age_s))

    publish(store, 7, rules=Retention(keep_last=2))

    assert steps_in(models) == ["step-000000007-10", "step-000000007-11"]


def test_a_pinned_one_and_one_in_use_stay_until_they_are_let_go(models):
    store = store_in(models)
    for step in (1, 2, 3, 4):
        publish(store, step)
    pin = models / "checkpoints" / "step-000000001.pin"
    pin.touch()

    with (models / "checkpoints" / "step-000000002" / MANIFEST_NAME).open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        publish(store, 5, rules=Retention(keep_last=2))
        while_held = steps_in(models)
    pin.unlink()
    publish(store, 6, rules=Retention(keep_last=2))

    assert while_held == [f"step-{step:09d}" for step in (1, 2, 4, 5)]
    assert steps_in(models) == [f"step-{step:09d}" for step in (5, 6)]


def test_nothing_goes_before_the_one_that_takes_its_place_was_read_back(models):
    store = store_in(models)
    for step in (1, 2, 3):
        publish(store, step)
    damage(models / "checkpoints" / "step-000000003" / "optimizer.pt", zeroed)
    newest = publish(store, 4)

    retain(models, Retention(keep_last=2), {newest.path.name})

    assert steps_in(models) == [f"step-{step:09d}" for step in (2, 3, 4)]
    assert verify(models / "checkpoints" / "step-000000002").progress.global_step == 2


def test_checkpoints_with_unreadable_manifests_do_not_push_good_ones_out(models):
    store = store_in(models)
    for step in range(1, 5):
        publish(store, step)
    for step in (1, 2):
        damage(models / "checkpoints" / f"step-{step:09d}" / MANIFEST_NAME, zeroed)

    publish(store, 5, rules=Retention(keep_last=2))

    assert steps_in(models) == [f"step-{step:09d}" for step in (1, 2, 4, 5)]
    assert store_in(models).newest_verified().manifest.progress.global_step == 5


def test_a_removal_that_was_interrupted_is_finished_by_the_next_one(models):
    store = store_in(models)
    publish(store, 1)
    trash = models / "checkpoints" / ".trash-step-000000000"
    trash.mkdir()
    (trash / "model.safetensors").write_bytes(b"half gone")

    publish(store, 2)

    assert names_in(models / "checkpoints") == ["step-000000001", "step-000000002"]


def test_where_the_gate_may_have_to_go_back_to_stays_as_long_as_the_newest_checkpoint_says_so(models):
    store = store_in(models)
    publish(store, 1)
    for step in (2, 3, 4):
        publish(store, step, rules=Retention(keep_last=2), gate_checkpoints=("step-000000001",))
    while_wanted = steps_in(models)

    publish(store, 5, rules=Retention(keep_last=2))

    assert while_wanted == [f"step-{step:09d}" for step in (1, 3, 4)]
    assert steps_in(models) == [f"step-{step:09d}" for step in (4, 5)]


# ---- the spine


def grown(num_files, *, rules, saves=lambda number: [number]):
    """Return what is left of the checkpoints after so many files, one removal after each.

    Args:
        saves: returns how many files had ended at each checkpoint that is saved while a file ends.
    """
    found, sequence = [], 0
    for number in range(1, num_files + 1):
        for ended in saves(number):
            sequence += 1
            found.append(
                RetentionCandidate(
                    name=str(sequence),
                    sequence=sequence,
                    num_bytes=10,
                    is_verified=True,
                    is_held=False,
                    ended_files=ended,
                )
            )
        removed = set(choose_removals(found, rules))
        found = [item for item in found if item.name not in removed]
    return [item.ended_files for item in found]


SPINE = Retention(keep_last=2, spine_max_bytes=1 << 40)


@pytest.mark.parametrize("num_files", [1, 2, 3, 7, 64, 65, 500, 999, 1000])
def test_any_file_is_forgotten_at_twice_the_least_cost(num_files):
    kept = grown(num_files, rules=SPINE)

    for file in range(2, num_files + 1):  # the first one begins with the base model
        trained_again = num_files - max((ended for ended in kept if ended < file), default=0) - 1
        assert trained_again <= 2 * (num_files - file), (file, kept)


def test_about_two_checkpoints_for_each_doubling_of_the_files_are_kept():
    sizes = [len(grown(number, rules=SPINE)) for number in (10, 100, 1000)]

    assert sizes == [7, 14, 20]


def test_checkpoints_within_a_file_and_for_several_files_cost_little():
    within = grown(200, rules=SPINE, saves=lambda number: [number - 1, number - 1, number])
    grouped = grown(200, rules=SPINE, saves=lambda number: [number] if number % 3 == 0 else [])

    assert len(within) <= 18
    assert len(grouped) <= 15
    for file in range(2, 200):
        best = 199 - 3 * ((file - 1) // 3)  # the newest that there ever was
        assert 199 - max((ended for ended in grouped if ended < file), default=0) <= 2 * best


def test_the_spine_is_off_without_a_budget_and_its_oldest_go_first_beyond_one():
    assert grown(100, rules=Retention(keep_last=2)) == [99, 100]
    assert grown(100, rules=Retention(keep_last=2, spine_max_bytes=25)) == [97, 98, 99, 100]


def test_what_is_no_earlier_state_is_no_part_of_the_spine():
    found = candidates(5)

    assert spine(found) == []
    assert left(found, Retention(keep_last=2, spine_max_bytes=1000)) == [4, 5]


def test_a_spine_without_room_does_not_grow_and_what_is_on_it_stays():
    before = grown(20, rules=SPINE)
    found = [
        RetentionCandidate(
            name=str(ended), sequence=ended, num_bytes=10, is_verified=True, is_held=False, ended_files=ended
        )
        for ended in (*before, 21)
    ]
    joining, on_it = before[-2], before[:-2]

    full = choose_removals(found, replace(SPINE, spine_room_bytes=0))
    as_before = choose_removals(found, replace(SPINE, spine_room_bytes=1 << 40))
    room = 10 * (len([ended for ended in on_it if str(ended) not in as_before]) + 1)

    assert set(full) - set(as_before) == {str(joining)}
    assert set(full) & {str(ended) for ended in on_it} == set(as_before)  # those that age takes off it
    assert choose_removals(found, replace(SPINE, spine_room_bytes=room)) == as_before
    assert choose_removals(found, replace(SPINE, spine_room_bytes=room - 1)) == full


def test_a_disk_that_fills_up_takes_nothing_off_the_spine(models, monkeypatch):
    rules, store = Retention(keep_last=2, spine_max_bytes=1 << 40), store_in(models)
    for ended in range(1, 7):
        publish(store, ended, rules=rules, ended_files=ended)
    publish(store, 7, ended_files=7)
    by_age = set(removable(models, rules))

    monkeypatch.setattr(os, "statvfs", lambda path: SimpleNamespace(f_bavail=0, f_frsize=1))
    retain(models, rules, set(steps_in(models)))

    gone = {f"step-{step:09d}" for step in range(1, 8)} - set(steps_in(models))
    assert gone - by_age == {"step-000000005"}  # which would have joined it
    assert by_age <= gone
