"""Checkpoints: nothing is visible before it is durable, and the last good one stays."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support import PowerCut
from tests.trainer.checkpoint_rig import (
    FILES,
    KEEP_ALL,
    ORIGIN,
    names_in,
    publish,
    steps_in,
    store_in,
    write_files,
)
from trainer.checkpoints import publishing
from trainer.protocol.checkpoints import DamagedCheckpoint, verify
from trainer.protocol.job import Cursor, JobRecord, Outcome
from trainer.protocol.manifest import Progress


def test_published_checkpoint_holds_files_and_progress_and_is_the_current_model(models):
    cursor = Cursor(job_id="j", sha256="00", plan="p", step=3, rows_trained=12, settings={"seed": 2e-05})
    record = JobRecord(job_id="i", sha256="11", outcome=Outcome.COMPLETED, rows_trained=4, steps=1)
    progress = Progress(
        global_step=12, tokens_seen=345, samples_seen=48, cursors={"j": cursor}, finished=[record]
    )
    store = store_in(models)

    published = store.save(write_files, origin=ORIGIN, progress=progress, rules=KEEP_ALL).result()

    assert published.path == models / "checkpoints" / "step-000000012"
    assert {name: (published.path / name).read_bytes() for name in FILES} == FILES
    assert verify(published.path).progress == progress
    assert os.readlink(models / "current_model") == "checkpoints/step-000000012"
    assert names_in(models) == ["checkpoints", "current_model"]


def test_newest_verified_is_what_was_published_last_and_numbering_goes_on_from_it(models):
    store = store_in(models)
    publish(store, 4)
    last = publish(store, 8)

    later_store = store_in(models)
    found = later_store.newest_verified()
    following = publish(later_store, 12)

    assert found == last
    assert (found.manifest.sequence, found.manifest.parent) == (2, "step-000000004")
    assert (following.manifest.sequence, following.manifest.parent) == (3, "step-000000008")


def test_a_folder_without_checkpoints_has_no_newest_and_no_notices(models):
    store = store_in(models)

    assert store.newest_verified() is None
    assert store.notices == []


def test_two_checkpoints_of_the_same_step_are_kept_apart_and_the_later_one_counts(models):
    store = store_in(models)
    first = publish(store, 4)

    second = publish(store, 4, tokens_seen=1)

    assert (first.path.name, second.path.name) == ("step-000000004", "step-000000004-2")
    assert store_in(models).newest_verified() == second


def test_files_in_subfolders_are_part_of_the_checkpoint(models):
    def write(folder: Path) -> None:
        write_files(folder)
        (folder / "adapter").mkdir()
        (folder / "adapter" / "adapter.safetensors").write_bytes(b"adapter")

    published = publish(store_in(models), 1, write=write)
    (published.path / "adapter" / "adapter.safetensors").write_bytes(b"adaptor")

    with pytest.raises(DamagedCheckpoint, match=r"adapter/adapter\.safetensors has a different SHA-256"):
        verify(published.path)


def test_a_writer_that_fails_leaves_the_previous_checkpoint_current(models):
    store = store_in(models)
    before = publish(store, 4)

    def fail(folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(b"half of")
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space left"):
        publish(store, 8, write=fail)

    assert os.readlink(models / "current_model") == f"checkpoints/{before.path.name}"
    assert steps_in(models) == [before.path.name]
    assert publish(store, 8).manifest.sequence == 2


@pytest.mark.parametrize("place", ["checkpoint.renamed", "checkpoint.durable", "pointer.linked"])
def test_a_save_that_fails_late_leaves_no_checkpoint_behind(models, monkeypatch, place):
    store = store_in(models)
    publish(store, 4)

    def fail(name: str) -> None:
        if name == place:
            raise OSError("the disk went away")

    with monkeypatch.context() as patch:
        patch.setattr(publishing, "failpoint", fail)
        with pytest.raises(OSError, match="went away"):
            publish(store, 4, tokens_seen=1)
    last = publish(store, 4, tokens_seen=2)

    assert last.manifest.sequence == 2
    assert len(steps_in(models)) == 2
    assert store_in(models).newest_verified() == last


def test_a_folder_in_the_place_of_the_pointer_is_moved_aside(models):
    (models / "current_model").mkdir()
    (models / "current_model" / "mine").touch()

    published = publish(store_in(models), 4)

    assert (models / "current_model").resolve() == published.path
    assert (models / "current_model-2" / "mine").exists()


def test_a_checkpoint_counts_although_old_ones_cannot_be_removed(models, monkeypatch):
    store = store_in(models)
    for step in (4, 8, 12):
        publish(store, step)

    def refuse(*arguments: Any) -> None:
        raise OSError("a sector cannot be read")

    monkeypatch.setattr(publishing, "retain", refuse)
    last = publish(store, 16)

    assert store_in(models).newest_verified() == last
    assert store.notices == ["old checkpoints could not be removed: a sector cannot be read"]


@dataclass
class Disk:
    """Records what os is asked to make durable and visible; goes dark before call number `dark_before`."""

    models: Path
    dark_before: int | None = None
    calls: list[str] = field(default_factory=list)
    synced: dict[int, Any] = field(default_factory=dict)
    """inode -> content (of a file) or names (of a folder) at the last sync."""
    not_durable_when_published: list[str] = field(default_factory=list)

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("rename", "replace", "fsync"):
            monkeypatch.setattr(os, name, self._recording(name, getattr(os, name)))

    def _recording(self, name: str, real: Callable[..., None]) -> Callable[..., None]:
        def call(*arguments: Any) -> None:
            if len(self.calls) == self.dark_before:
                raise PowerCut
            if name == "fsync":
                target = Path(os.readlink(f"/proc/self/fd/{arguments[0]}"))
                self.synced[os.fstat(arguments[0]).st_ino] = _content(target)
            else:
                target = Path(arguments[1])
                if target.name.startswith("step-"):
                    self._check_durable(Path(arguments[0]))
            self.calls.append(f"{name} {target.relative_to(self.models)}")
            real(*arguments)

        return call

    def _check_durable(self, staging: Path) -> None:
        for path in (staging, *staging.rglob("*")):
            if self.synced.get(path.stat().st_ino) != _content(path):
                self.not_durable_when_published.append(path.name)


def _content(path: Path) -> Any:
    return names_in(path) if path.is_dir() else path.read_bytes()


def test_every_file_and_folder_is_durable_before_the_rename_that_makes_it_visible(models, monkeypatch):
    disk = Disk(models)
    disk.install(monkeypatch)

    publish(store_in(models), 4)

    assert disk.not_durable_when_published == []
    published = disk.calls.index("rename checkpoints/step-000000004")
    assert disk.calls[published:] == [
        "rename checkpoints/step-000000004",
        "fsync checkpoints",
        "replace current_model",
        "fsync .",
    ]


@pytest.mark.parametrize("dark_before", range(13))
def test_a_power_cut_at_any_point_leaves_the_old_checkpoint_or_the_new_one(models, monkeypatch, dark_before):
    store = store_in(models)
    old = publish(store, 4)
    with monkeypatch.context() as patch:
        disk = Disk(models, dark_before=dark_before)
        disk.install(patch)
        try:
            publish(store, 8)
        except PowerCut:
            was_published = "rename checkpoints/step-000000008" in disk.calls
        else:
            was_published = True

    found = store_in(models).newest_verified()

    assert found is not None
    assert found.manifest.progress.global_step == (8 if was_published else 4)
    assert old.path.is_dir()
    assert os.readlink(models / "current_model") == f"checkpoints/{found.path.name}"
    assert not (models / ".staging").exists()


def test_the_power_cuts_above_cover_the_whole_of_publishing(models, monkeypatch):
    store = store_in(models)
    publish(store, 4)
    disk = Disk(models)
    disk.install(monkeypatch)

    publish(store, 8)

    assert len(disk.calls) == 12  # so that the last value of `dark_before` is a publication without a cut


def test_what_an_interrupted_save_left_is_removed_at_the_start_and_before_the_next_save(models):
    staging = models / ".staging"
    staging.mkdir()
    (staging / "model.safetensors").write_bytes(b"half of")

    assert store_in(models).newest_verified() is None
    assert not staging.exists()

    staging.mkdir()
    (staging / "foreign.bin").write_bytes(b"left over")
    published = publish(store_in(models), 1)

    assert "foreign.bin" not in names_in(published.path)
