"""A base model that an adapter was merged into goes once nothing is loaded beside it, and not before."""

import fcntl
from contextlib import suppress

import pytest
from filelock import FileLock

from tests.support import PowerCut
from tests.trainer.checkpoint_rig import damage, with_one_bit_flipped
from tests.trainer.disk.conftest import BIG, WEIGHTS, beside, kinds, why
from trainer.checkpoints import publishing
from trainer.disk import cleaning


@pytest.fixture
def based(site):
    """A base model for each of: a checkpoint, a version, a deleted version, one being made again, nothing."""
    names = ("checkpoint", "version", "deleted", "forgetting", "unused")
    bases = {name: site.base(f"step-000000001-{name}") for name in names}
    for step, name in ((1, "version"), (2, "deleted"), (3, "forgetting"), (4, "checkpoint")):
        site.checkpoint(step, **beside(bases[name]))
    folder = site.models / "checkpoints"
    site.version(folder / "step-000000001")
    site.versions.delete(site.version(folder / "step-000000002"))
    scratch = site.models / ".forget" / "models" / "checkpoints"
    scratch.mkdir(parents=True)
    (folder / "step-000000003").rename(scratch / "step-000000003")
    for step in (1, 2):
        publishing.remove_unused(folder / f"step-{step:09d}")
    return site


def bases_in(site):
    return sorted(path.name.rpartition("-")[2] for path in (site.models / "bases").iterdir())


def test_a_base_model_goes_only_if_nothing_is_loaded_beside_it(based):
    done = based.clean(carry_out=True, version_trash_kept_s=99.0)

    assert ("base_model", "step-000000001-unused") in kinds(done)
    assert bases_in(based) == ["checkpoint", "deleted", "forgetting", "version"]
    assert why(done, "-checkpoint") == "is the base model of step-000000004"
    assert why(done, "-deleted") == "is the base model of v002"


def test_the_base_model_of_a_version_that_is_gone_for_good_goes(based):
    based.clean(carry_out=True)

    based.clean(carry_out=True)

    assert bases_in(based) == ["checkpoint", "forgetting", "version"]


def test_all_base_models_stay_while_something_cannot_be_read_that_may_need_one(based):
    damage(based.models / "versions" / "v001" / "VERSION.json", with_one_bit_flipped)

    done = based.clean(carry_out=True, version_trash_kept_s=99.0)

    assert len(bases_in(based)) == 5
    assert why(done, "-unused").startswith("may be needed: ")


def test_a_base_model_is_left_while_a_worker_runs_that_may_have_just_made_it(based):
    with FileLock(based.layout.worker_lock_file):
        plan = based.clean()

    assert "base_model" not in dict(kinds(plan))
    assert why(plan, "-unused") == "is left because a worker runs: stop the daemon and try again"


def test_a_base_model_that_a_checkpoint_names_after_the_plan_stays(based, monkeypatch):
    find = cleaning.find

    def find_then_consolidate(*arguments, **keywords):
        found = find(*arguments, **keywords)
        based.checkpoint(5, **beside(based.models / "bases" / "step-000000001-unused"))
        return found

    monkeypatch.setattr(cleaning, "find", find_then_consolidate)

    based.clean(carry_out=True)

    assert "unused" in bases_in(based)


def test_nobody_deletes_a_version_while_it_is_asked_which_base_models_are_needed(based, monkeypatch):
    real, is_free = cleaning.needed_bases, []

    def ask(models):
        with (models / "versions" / ".lock").open() as file, suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_free.append(True)
        return real(models)

    monkeypatch.setattr(cleaning, "needed_bases", ask)

    done = based.clean(carry_out=True)

    assert ("base_model", "step-000000001-unused") in kinds(done)
    assert is_free == []


def test_a_base_model_that_a_program_has_open_stays(based):
    with (based.models / "bases" / "step-000000001-unused" / WEIGHTS).open("rb"):
        done = based.clean(carry_out=True)

    assert why(done, "-unused") == "is used by a program"


def test_a_base_model_that_was_being_written_or_was_on_its_way_out_is_a_leftover(based, monkeypatch):
    (based.models / ".staging-base").mkdir()
    (based.models / ".staging-base" / WEIGHTS).write_bytes(bytes(BIG))

    def fall_dark(place):
        if place == "cleaning.base_renamed":
            raise PowerCut

    with monkeypatch.context() as patch:
        patch.setattr(cleaning, "failpoint", fall_dark)
        with pytest.raises(PowerCut):
            based.clean(carry_out=True, version_trash_kept_s=99.0)
    assert not (based.models / ".staging-base").exists()
    assert ".trash-step-000000001-unused" in {path.name for path in (based.models / "bases").iterdir()}

    based.clean(carry_out=True, version_trash_kept_s=99.0)

    assert bases_in(based) == ["checkpoint", "deleted", "forgetting", "version"]
