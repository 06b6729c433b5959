"""Checkpoints: nothing is visible before it is durable, no damage goes unnoticed, the last good one stays."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from trainer.core.checkpoints import Checkpoint, CheckpointStore, DamagedCheckpoint, read_manifest, verify
from trainer.core.faults import NoUsableCheckpoint
from trainer.protocol.job import Cursor, JobRecord, Outcome
from trainer.protocol.manifest import CHECKSUM, FORMAT, MANIFEST_NAME, Progress, checksum

FILES = {"model.safetensors": b"weights " * 50, "optimizer.pt": b"moments " * 50, "config.json": b'{"a": 1}'}
EVERY_FILE = [*FILES, MANIFEST_NAME]


class PowerCut(Exception):
    """The machine went dark."""


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    folder.mkdir()
    return folder


def store_in(models: Path) -> CheckpointStore:
    return CheckpointStore(models, clock=lambda: 1_700_000_000.0)


def write_files(folder: Path) -> None:
    for name, content in FILES.items():
        (folder / name).write_bytes(content)


def publish(
    store: CheckpointStore, step: int, *, write: Callable[[Path], None] = write_files, **progress: Any
) -> Checkpoint:
    return store.publish(
        write,
        progress=Progress(global_step=step, **progress),
        base_model="tiny",
        method="full",
        versions={"torch": "2.10"},
    )


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def steps_in(models: Path) -> list[str]:
    return sorted(path.name for path in (models / "checkpoints").glob("step-*"))


# ---- publishing


def test_published_checkpoint_holds_files_and_progress_and_is_the_current_model(models):
    cursor = Cursor(job_id="j", sha256="00", plan="p", step=3, rows_trained=12, settings={"seed": 2e-05})
    record = JobRecord(job_id="i", sha256="11", outcome=Outcome.COMPLETED, rows_trained=4, steps=1)
    progress = Progress(
        global_step=12, tokens_seen=345, samples_seen=48, cursors={"j": cursor}, finished=[record]
    )
    store = store_in(models)

    published = store.publish(
        write_files, progress=progress, base_model="tiny", method="full", versions={"torch": "2.10"}
    )

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

    with pytest.raises(DamagedCheckpoint, match=r"adapter/adapter\.safetensors has another SHA-256"):
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


@pytest.mark.parametrize("dark_before", range(12))
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

    assert len(disk.calls) == 11  # so that the last value of `dark_before` is a publication without a cut


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


# ---- damage


def truncated(content: bytes) -> bytes:
    return content[: len(content) // 2]


def zeroed(content: bytes) -> bytes:
    return bytes(len(content))


def with_one_bit_flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def damage(path: Path, how: Callable[[bytes], bytes] | None) -> None:
    """Change a file, or remove it if `how` is None."""
    if how is None:
        path.unlink()
    else:
        path.write_bytes(how(path.read_bytes()))


every_damage = pytest.mark.parametrize("how", [None, truncated, zeroed, with_one_bit_flipped])


@every_damage
@pytest.mark.parametrize("name", EVERY_FILE)
def test_a_damaged_file_is_noticed_and_the_checkpoint_before_is_used(models, name, how):
    store = store_in(models)
    good = publish(store, 4)
    bad = publish(store, 8)
    damage(bad.path / name, how)

    store = store_in(models)
    found = store.newest_verified()

    assert found == good
    assert names_in(models / "checkpoints") == ["corrupt-step-000000008", "step-000000004"]
    assert os.readlink(models / "current_model") == "checkpoints/step-000000004"
    [notice] = store.notices
    assert notice.startswith(
        f"checkpoint step-000000008 is damaged and was renamed corrupt-step-000000008: {name}"
    )


def test_no_flipped_bit_of_a_manifest_changes_what_it_says(models):
    cursor = Cursor(job_id="j", sha256="00", plan="p", step=3, rows_trained=12, settings={"rate": 2e-05})
    published = publish(store_in(models), 12, tokens_seen=345, cursors={"j": cursor})
    manifest = published.path / MANIFEST_NAME
    content = manifest.read_bytes()
    unnoticed = []

    for i in range(0, len(content), 3):
        manifest.write_bytes(content[:i] + bytes([content[i] ^ (1 << i % 7)]) + content[i + 1 :])
        try:
            if read_manifest(published.path) != published.manifest:
                unnoticed.append(i)
        except DamagedCheckpoint:
            pass

    assert unnoticed == []


@every_damage
def test_when_no_checkpoint_verifies_none_is_invented(models, how):
    store = store_in(models)
    for step in (4, 8):
        damage(publish(store, step).path / "model.safetensors", how)

    with pytest.raises(NoUsableCheckpoint, match=r"step-000000008 is damaged.*step-000000004 is damaged"):
        store_in(models).newest_verified()

    with pytest.raises(NoUsableCheckpoint, match="all are damaged"):
        store_in(models).newest_verified()  # also when they were set aside by an earlier start
    assert names_in(models / "checkpoints") == ["corrupt-step-000000004", "corrupt-step-000000008"]


def test_damaged_checkpoints_of_one_name_are_set_aside_side_by_side(models):
    store = store_in(models)
    publish(store, 4)
    for _ in range(2):
        damage(publish(store, 8).path / "model.safetensors", truncated)
        store.newest_verified()

    assert names_in(models / "checkpoints") == [
        "corrupt-step-000000008",
        "corrupt-step-000000008-2",
        "step-000000004",
    ]


def test_a_manifest_of_a_future_format_is_refused_and_not_set_aside(models):
    store = store_in(models)
    publish(store, 4)
    newer = publish(store, 8)
    content = {"format": FORMAT + 1, "shards": ["nothing", "that", "is", "known", "today"]}
    (newer.path / MANIFEST_NAME).write_text(json.dumps(content | {CHECKSUM: checksum(content)}))

    with pytest.raises(NoUsableCheckpoint, match=r"format is 2; expected 1; use the release that wrote it"):
        store_in(models).newest_verified()

    assert steps_in(models) == ["step-000000004", "step-000000008"]


# ---- retention


@pytest.mark.parametrize(
    "keep_last, left",
    [(1, [4, 5]), (2, [4, 5]), (3, [3, 4, 5]), (5, [1, 2, 3, 4, 5]), (6, [1, 2, 3, 4, 5])],
)
def test_retention_keeps_the_newest_and_never_fewer_than_two(models, keep_last, left):
    store = store_in(models)
    for step in range(1, 6):
        publish(store, step)

    store.retain(keep_last)

    assert names_in(models / "checkpoints") == [f"step-{step:09d}" for step in left]
    assert (models / "current_model" / "config.json").is_file()


def test_retention_goes_by_sequence_and_not_by_file_times_or_names(models):
    store = store_in(models)
    for _ in range(11):  # the names end in -2 … -11, which sort differently
        publish(store, 7)
    for path in (models / "checkpoints").iterdir():
        age_s = read_manifest(path).sequence
        os.utime(path, (2_000_000_000 - age_s, 2_000_000_000 - age_s))

    store.retain(2)

    assert steps_in(models) == ["step-000000007-10", "step-000000007-11"]


def test_checkpoints_with_unreadable_manifests_do_not_push_good_ones_out(models):
    store = store_in(models)
    for step in range(1, 6):
        publish(store, step)
    for step in (1, 2):
        damage(models / "checkpoints" / f"step-{step:09d}" / MANIFEST_NAME, zeroed)

    store.retain(2)

    assert steps_in(models) == [f"step-{step:09d}" for step in (1, 2, 4, 5)]
    assert store_in(models).newest_verified().manifest.progress.global_step == 5


def test_a_removal_that_was_interrupted_is_finished_by_the_next_one(models):
    store = store_in(models)
    publish(store, 1)
    trash = models / "checkpoints" / ".trash-step-000000000"
    trash.mkdir()
    (trash / "model.safetensors").write_bytes(b"half gone")

    store.retain(3)

    assert names_in(models / "checkpoints") == ["step-000000001"]
