"""Space is freed beginning with what is missed least; what is needed never goes, wherever it is killed."""

import fcntl
import os
import re
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest
from filelock import FileLock

from tests.support import PowerCut
from tests.trainer.checkpoint_rig import damage, steps_in, with_one_bit_flipped
from tests.trainer.disk.conftest import BIG, FREE, NOW, STATE, WEIGHTS, kinds, why
from trainer.checkpoints import publishing
from trainer.disk import cleaning
from trainer.disk.cleaning import CleanedElsewhere
from trainer.protocol.checkpoints import find_newest, verify
from trainer.protocol.disk import SpineRules
from trainer.protocol.manifest import MANIFEST_NAME
from trainer.protocol.pins import pin
from trainer.versions import registry, removal

MODULES = (cleaning, publishing, registry, removal)
FAILPOINTS = [
    "cleaning.base_renamed",
    "cleaning.removed",
    "cleaning.renamed",
    "retention.renamed",
    "version.out_of_sight",
    "version.record_kept",
    "version.removed",
    "version.removing",
]


@pytest.fixture
def full(site):
    """Something of everything: five checkpoints, versions of the oldest two and the newest, one deleted."""
    paths = [site.checkpoint(step) for step in (10, 20, 30, 40, 50)]
    for path in (paths[0], paths[1], paths[2], paths[4]):
        site.version(path)
    site.versions.delete(site.versions.find("v003"))
    site.cache("a", used_at=NOW - 100)
    site.cache("b", used_at=NOW - 200)
    site.base("step-000000001-aa")
    site.cleared()
    return site


@contextmanager
def held(file: Path):
    with file.open() as open_file:
        fcntl.flock(open_file, fcntl.LOCK_SH)
        yield


def test_trash_goes_first_then_caches_then_optimizer_states_and_checkpoints(full):
    plan = full.clean(queue_trash_kept_s=0.0)

    assert kinds(plan) == [
        ("version_trash", "v003"),
        ("queue_trash", "failed-20230101-000000"),
        ("token_cache", "b.tokens"),
        ("token_cache", "a.tokens"),
        ("base_model", "step-000000001-aa"),
        ("checkpoint", "step-000000010"),
        ("optimizer_state", "v001"),
        ("checkpoint", "step-000000020"),
        ("optimizer_state", "v002"),
        ("checkpoint", "step-000000030"),
    ]
    assert not plan.is_done
    assert steps_in(full.models)[0] == "step-000000010"


def test_the_plan_says_exactly_what_becomes_free(full):
    plan = full.clean(queue_trash_kept_s=0.0)
    before = full.free_bytes()

    done = full.clean(queue_trash_kept_s=0.0, carry_out=True)

    assert [act.path for act in done.acts] == [act.path for act in plan.acts]
    assert done.frees_bytes == plan.frees_bytes
    # The folders for records and for what is on its way out, and the marks, take less than a file
    assert abs(full.free_bytes() - before - plan.frees_bytes) < BIG
    assert plan.frees_bytes > 6 * BIG


def test_a_version_without_its_optimizer_state_is_whole_but_for_that(full):
    full.clean(carry_out=True)

    version = full.versions.find("v001")
    assert not version.has_optimizer_state
    assert (version.path / WEIGHTS).stat().st_size == BIG
    assert not (version.path / STATE).exists()
    assert full.versions.find("v004").has_optimizer_state


def test_a_checkpoint_whose_files_a_version_keeps_is_not_removed_for_nothing(site):
    paths = [site.checkpoint(step) for step in (10, 20, 30)]
    site.versions.alias("deployed", site.version(paths[0]))

    plan = site.clean()

    assert kinds(plan) == []
    assert why(plan, "v001") == "is what deployed means"


def test_a_file_that_something_outside_links_frees_nothing(site, tmp_path):
    cache = site.cache("a")
    (tmp_path / "outside").hardlink_to(cache)

    assert kinds(site.clean()) == []


def test_no_more_goes_than_is_wanted(full):
    plan = full.clean(wanted_bytes=FREE + 1)

    assert kinds(plan) == [("version_trash", "v003"), ("token_cache", "b.tokens")]
    assert plan.is_enough


def test_what_was_deleted_goes_even_if_enough_is_free(full):
    assert kinds(full.clean(wanted_bytes=0)) == [("version_trash", "v003")]


def test_what_cannot_be_rebuilt_stays_where_it_would_not_suffice(full):
    plan = full.clean(wanted_bytes=2**62, enough_bytes=2**62)

    assert {kind for kind, _ in kinds(plan)} == {"version_trash", "token_cache", "base_model"}
    assert not plan.is_enough


def test_what_cannot_be_rebuilt_goes_if_that_suffices_though_not_for_the_margin(full):
    plan = full.clean(wanted_bytes=2**62, enough_bytes=FREE + 6 * BIG)

    assert {"optimizer_state", "checkpoint"} < {kind for kind, _ in kinds(plan)}


def test_what_was_thrown_away_recently_stays_and_says_so(full):
    full.now += 99
    plan = full.clean(version_trash_kept_s=100.0, queue_trash_kept_s=10**9)

    assert "v003" not in [name for _, name in kinds(plan)]
    assert why(plan, ".trash/v003") == "was deleted too recently (disk.version_trash_kept_s)"
    assert "too recently" in why(plan, "failed-20230101-000000")
    full.now += 1
    assert ("version_trash", "v003") in kinds(full.clean(version_trash_kept_s=100.0))


def test_files_of_a_person_go_only_where_they_have_said_so(full):
    plan = full.clean()

    assert "holds files of yours" in why(plan, "failed-20230101-000000")


# ---- what never goes


def test_the_newest_two_the_pinned_and_the_held_stay(site):
    paths = [site.checkpoint(step) for step in (10, 20, 30, 40, 50)]
    pin(paths[0])

    with held(paths[1] / MANIFEST_NAME):
        done = site.clean(carry_out=True)

    assert kinds(done) == [("checkpoint", "step-000000030")]
    assert why(done, "step-000000010") == "is pinned (training_health unpin)"
    assert why(done, "step-000000020") == "is used by a program"
    assert why(done, "step-000000040") == "is one of the newest two"
    assert len(steps_in(site.models)) == 4


SPINE = SpineRules(keep_last=2, spine_max_bytes=1 << 40)


def kept_after(site, **order):
    site.clean(carry_out=True, **order)
    return [int(name.removeprefix("step-")) for name in steps_in(site.models)]


def test_the_spine_stays_though_all_else_goes(site):
    for number in range(1, 18):
        site.checkpoint(number, ended_files=number)

    plan = site.clean(spine=SPINE)
    kept = kept_after(site, spine=SPINE)

    assert kept == [
        1,
        4,
        8,
        10,
        12,
        14,
        15,
        16,
        17,
    ]  # from each, what came later is trained again at little cost
    assert why(plan, "step-000000008").startswith("is on the spine, from which a file is forgotten")
    assert kept_after(site) == [16, 17]


def test_of_the_spine_stays_what_its_setting_affords(site):
    for number in range(1, 18):
        site.checkpoint(number, ended_files=number)
    size = verify(site.models / "checkpoints" / "step-000000001").total_bytes

    rules = SpineRules(keep_last=2, spine_max_bytes=2 * size)

    assert kept_after(site, spine=rules) == [14, 15, 16, 17]


def test_a_version_of_a_checkpoint_on_the_spine_keeps_its_optimizer_state(site):
    paths = [site.checkpoint(number, ended_files=number) for number in range(1, 6)]
    site.version(paths[0])

    done = site.clean(spine=SPINE, carry_out=True)

    assert "belongs to step-000000001, which is on the spine" in why(done, "v001")
    assert site.versions.find("v001").has_optimizer_state


def test_what_comes_to_the_spine_after_the_plan_stays(site, monkeypatch):
    for number in range(1, 5):
        site.checkpoint(number)
    find = cleaning.find

    def find_then_train(*arguments, **keywords):
        found = find(*arguments, **keywords)
        site.checkpoint(5, gate_checkpoints=("step-000000002",))
        return found

    monkeypatch.setattr(cleaning, "find", find_then_train)

    assert kept_after(site) == [2, 3, 4, 5]


def test_where_the_gate_may_have_to_go_back_to_stays(site):
    for step in (10, 20, 30, 40):
        site.checkpoint(step, gate_checkpoints=("step-000000010",))

    done = site.clean(carry_out=True)

    assert kinds(done) == [("checkpoint", "step-000000020")]
    assert why(done, "step-000000010") == "is what the model goes back to if the gate refuses a file"


def test_nothing_goes_before_two_newer_ones_are_known_to_be_whole(site):
    paths = [site.checkpoint(step) for step in (10, 20, 30)]
    damage(paths[2] / WEIGHTS, with_one_bit_flipped)

    done = site.clean(carry_out=True)

    assert done.acts == ()
    assert "fewer of the others are whole" in why(done, "step-000000010")
    assert verify(paths[0])


def test_tag_alias_and_program_keep_the_optimizer_state(site):
    paths = [site.checkpoint(step) for step in (10, 20, 30, 40, 50, 60)]
    tagged, named, used, free = [site.version(path) for path in paths[:4]]
    site.versions.tag(tagged, "pinned")
    site.versions.alias("best", named)
    for path in paths[:4]:  # as retention does, so that the versions alone keep the files
        publishing.remove_unused(path)

    with held(used.path / MANIFEST_NAME):
        done = site.clean(carry_out=True)

    assert [kind for kind in kinds(done) if kind[0] != "leftover"] == [("optimizer_state", free.id)]
    assert why(done, tagged.id) == "has the tag pinned"
    assert why(done, used.id) == "v003 is used by another program; stop it and try again"
    assert all(site.versions.find(item.id).has_optimizer_state for item in (tagged, named, used))


def test_a_version_that_gets_a_name_after_the_plan_stays(site, monkeypatch):
    version = site.version(site.checkpoint(10))
    for step in (20, 30):
        site.checkpoint(step)
    find = cleaning.find

    def find_then_name(*arguments, **keywords):
        found = find(*arguments, **keywords)
        site.versions.alias("deployed", site.versions.find(version.id))
        return found

    monkeypatch.setattr(cleaning, "find", find_then_name)
    done = site.clean(carry_out=True)

    assert "v001 is what deployed means" in why(done, "v001")
    assert site.versions.find("v001").has_optimizer_state


def test_a_cache_that_is_in_use_stays(site):
    with site.cache("a").open():
        plan = site.clean()

    assert kinds(plan) == []
    assert why(plan, "a.tokens") == "is in use by the worker"


def test_what_a_person_has_linked_elsewhere_stays(full, tmp_path):
    moved = []
    for path in (
        full.models / "checkpoints" / "step-000000010",
        full.models / "versions" / ".trash" / "v003",
        full.layout.trash / "failed-20230101-000000",
    ):
        target = path.rename(tmp_path / path.name)
        path.symlink_to(target)
        moved.append((path, target))

    done = full.clean(queue_trash_kept_s=0.0, carry_out=True)

    for path, target in moved:
        assert path.is_symlink()
        assert list(target.iterdir())
        assert why(done, path.name).startswith("is a link")


# ---- beside others


def test_a_worker_keeps_its_checkpoints_and_the_states_that_would_free_nothing_without(full):
    with FileLock(full.layout.worker_lock_file):
        plan = full.clean()
        done = full.clean(carry_out=True, worker_obeys=True)

    assert {kind for kind, _ in kinds(plan)} == {"version_trash", "token_cache"}
    assert why(plan, "step-000000010").startswith("is left to the worker that runs")
    assert why(plan, "v001") == cleaning.FREES_NOTHING
    assert done.is_for_worker
    assert {kind for kind, _ in kinds(done)} == {"version_trash", "token_cache"}
    assert full.versions.find("v001").has_optimizer_state
    assert len(steps_in(full.models)) == 5


def test_two_do_not_free_at_once(site):
    with FileLock(site.models / cleaning.LOCK), pytest.raises(CleanedElsewhere, match="already"):
        site.clean(carry_out=True)


def test_only_what_somebody_agreed_to_goes(full):
    path = next(act.path for act in full.clean().acts if act.kind == "token_cache")

    assert [act.path for act in full.clean(carry_out=True, only=(path,)).acts] == [path]


# ---- the power is cut


@pytest.mark.parametrize(
    "name, where",
    [
        ("version.removing", "models/versions/.removing"),
        ("cleaning.renamed", "queue/.removing"),
        ("retention.renamed", "models/checkpoints/.trash-step-000000010"),
    ],
)
def test_what_was_on_its_way_out_is_planned_and_counted_like_everything_else(full, monkeypatch, name, where):
    def fall_dark(place):
        if place == name:
            raise PowerCut

    with monkeypatch.context() as patch:
        for module in MODULES:
            patch.setattr(module, "failpoint", fall_dark)
        with pytest.raises(PowerCut):
            full.clean(queue_trash_kept_s=0.0, carry_out=True)

    assert full.clean(wanted_bytes=0).acts[0].path == where
    [done] = full.clean(wanted_bytes=0, carry_out=True).acts[:1]
    assert done.kind == "leftover"
    assert not (full.layout.base / where).exists()


def test_what_a_drill_has_left_that_was_killed_goes_and_one_that_runs_is_left_alone(site):
    gone = subprocess.Popen(["true"])
    gone.wait()
    abandoned, at_work = (site.models / f".drill-{pid}-abc" for pid in (gone.pid, os.getpid()))
    for folder in (abandoned, at_work):
        (folder / "work").mkdir(parents=True)
        (folder / "work" / WEIGHTS).write_bytes(bytes(BIG))

    with FileLock(site.layout.worker_lock_file):  # no worker has anything to do with it
        done = site.clean(wanted_bytes=0, carry_out=True)

    assert [(act.kind, act.path, act.frees_bytes >= BIG) for act in done.acts] == [
        ("leftover", f"models/{abandoned.name}", True)
    ]
    assert (abandoned.exists(), at_work.exists()) == (False, True)


def test_every_failpoint_is_known():
    found = {
        name
        for module in MODULES
        for name in re.findall(
            r'failpoint\("((?:cleaning|retention\.renamed|version\.(?:rec|rem|out)).*?)"\)',
            Path(module.__file__).read_text(),
        )
    }
    assert sorted(found) == FAILPOINTS


@pytest.mark.parametrize("name", FAILPOINTS)
@pytest.mark.parametrize("count", [1, 2])
def test_wherever_the_power_is_cut_each_thing_is_there_or_gone_and_the_rest_is_freed_next_time(
    full, monkeypatch, name, count
):
    expected = full.clean(queue_trash_kept_s=0.0)
    visits = 0

    def fall_dark(place):
        nonlocal visits
        visits += place == name
        if place == name and visits == count:
            raise PowerCut

    with monkeypatch.context() as patch:
        for module in MODULES:
            patch.setattr(module, "failpoint", fall_dark)
        try:
            full.clean(queue_trash_kept_s=0.0, carry_out=True)
        except PowerCut:
            pass
        else:
            assert (name, count) in {
                *(("cleaning.renamed", 2), ("version.record_kept", 2), ("cleaning.base_renamed", 2))
            }  # reached once

    newest = find_newest(full.models / "checkpoints")
    assert newest.newest.path.name == "step-000000050"
    for path in (full.models / "checkpoints").glob("step-*"):
        assert verify(path)
    assert full.versions.damaged() == {}
    for version in full.versions.all():
        assert (version.path / WEIGHTS).stat().st_size == BIG
    for record in full.versions.deleted():
        assert (full.models / "versions" / ".trash" / record.id / WEIGHTS).exists()

    full.clean(queue_trash_kept_s=0.0, carry_out=True)
    assert full.clean(queue_trash_kept_s=0.0).acts == ()
    assert steps_in(full.models) == ["step-000000040", "step-000000050"]
    leftovers = [*full.layout.base.rglob(".removing/*"), *full.layout.base.rglob(".trash-*")]
    assert leftovers == []
    assert full.versions.record_of("v003")
    assert expected.frees_bytes > 0
