"""The model goes back by a new checkpoint: whole or not at all, and nothing that was there is changed."""

import re
import shutil
from pathlib import Path

import pytest

from tests.support import FakeClock, PowerCut
from tests.trainer.checkpoint_rig import FILES, names_in, publish, store_in, with_one_bit_flipped
from trainer.checkpoints import going_back, publishing
from trainer.checkpoints.going_back import NotBehind, go_back
from trainer.protocol.checkpoints import DamagedCheckpoint, find_newest, verify
from trainer.protocol.going_back import GoBackOrder
from trainer.protocol.job import Cursor
from trainer.protocol.manifest import JobFate

FAILPOINTS = [
    name
    for module in (going_back, publishing)
    for name in re.findall(
        r'failpoint\("((?:going_back|checkpoint|pointer)\..+?)"\)', Path(module.__file__).read_text()
    )
]


@pytest.fixture
def models(tmp_path):
    """Three checkpoints, at the steps 10, 20 and 30."""
    folder = tmp_path / "models"
    folder.mkdir()
    for step in (10, 20, 30):
        publish(store_in(folder), step, cursors={"1": cursor("1", step), "2": cursor("2", step)})
    return folder


def cursor(job_id, step):
    return Cursor(job_id=job_id, sha256="0" * 64, plan="p", step=step, rows_trained=step, settings={})


def to(models, step, *jobs):
    return GoBackOrder(
        base_dir=models.parent,
        target=models / "checkpoints" / f"step-{step:09d}",
        why="rollback",
        reason="worse",
        jobs=jobs,
    )


def newest(models):
    return find_newest(models / "checkpoints").newest


def test_the_earlier_state_is_the_newest_checkpoint_and_knows_its_branch(models):
    before = names_in(models / "checkpoints")

    checkpoint = go_back(models, to(models, 10), clock=FakeClock(1_700_000_000.0))

    manifest = newest(models).manifest
    assert newest(models).path == checkpoint.path == (models / "current_model").resolve()
    assert (manifest.sequence, manifest.parent, manifest.branch) == (4, "step-000000010", 1)
    assert manifest.progress.global_step == 10
    [branch] = manifest.branches
    assert (branch.from_branch, branch.from_step, branch.left_step) == (0, 10, 30)
    assert set(before) < set(names_in(models / "checkpoints"))
    assert verify(checkpoint.path)


def test_it_takes_no_room_for_the_files(models):
    checkpoint = go_back(models, to(models, 10), clock=FakeClock())

    for name in FILES:
        assert (checkpoint.path / name).samefile(models / "checkpoints" / "step-000000010" / name)


def test_an_open_job_that_is_not_trained_again_has_no_cursor_any_more(models):
    kept, dropped = JobFate(job_id="1", fate="requeued"), JobFate(job_id="2", fate="undone")

    go_back(models, to(models, 20, kept, dropped), clock=FakeClock())

    assert list(newest(models).manifest.progress.cursors) == ["1"]


def test_it_can_go_back_again_and_again(models):
    go_back(models, to(models, 10), clock=FakeClock())
    publish(store_in_at(models), 15, origin=newest(models).manifest)

    go_back(models, to(models, 20), clock=FakeClock())

    first, second = newest(models).manifest.branches
    assert (first.number, second.number) == (1, 2)
    assert (second.from_branch, second.from_step, second.left_step) == (0, 20, 15)


def store_in_at(models):
    """Return a store that knows the newest checkpoint, as a worker's does."""
    store = store_in(models)
    store.newest_verified()
    return store


def test_it_cannot_go_to_where_it_is(models):
    with pytest.raises(NotBehind, match="the model is in this state already; expected an earlier one"):
        go_back(models, to(models, 30), clock=FakeClock())


def test_what_is_ahead_of_all_that_is_whole_is_said_to_be(models):
    order = to(models, 30)
    versions = models / "versions" / "v001"
    versions.parent.mkdir()
    order.target.rename(versions)  # the checkpoint is gone, its version is there

    with pytest.raises(NotBehind, match="newer than the newest checkpoint that is whole, step-000000020"):
        go_back(models, order.model_copy(update={"target": versions}), clock=FakeClock())


def test_without_a_checkpoint_there_is_nothing_to_go_back_from(models):
    order = to(models, 10)
    kept = order.target.rename(models / "v001")
    shutil.rmtree(models / "checkpoints")

    with pytest.raises(NotBehind, match="no checkpoint is whole"):
        go_back(models, order.model_copy(update={"target": kept}), clock=FakeClock())


def test_damage_to_the_target_changes_nothing(models):
    file = models / "checkpoints" / "step-000000010" / "model.safetensors"
    file.write_bytes(with_one_bit_flipped(file.read_bytes()))

    with pytest.raises(DamagedCheckpoint, match="different SHA-256"):
        go_back(models, to(models, 10), clock=FakeClock())

    assert newest(models).manifest.progress.global_step == 30


@pytest.mark.parametrize("name", FAILPOINTS)
def test_the_model_is_where_it_was_or_back_wherever_the_power_is_cut(models, monkeypatch, name):
    def fall_dark(place):
        if place == name:
            raise PowerCut

    with monkeypatch.context() as patch:
        for module in (going_back, publishing):
            patch.setattr(module, "failpoint", fall_dark)
        with pytest.raises(PowerCut):
            go_back(models, to(models, 10), clock=FakeClock())

    found = newest(models).manifest
    assert (found.progress.global_step, found.branch) in ((30, 0), (10, 1))
    if found.branch == 0:
        go_back(models, to(models, 10), clock=FakeClock())
    assert newest(models).manifest.progress.global_step == 10
    assert len(newest(models).manifest.branches) == 1
