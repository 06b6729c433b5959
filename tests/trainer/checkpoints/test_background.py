"""A checkpoint written by another process is like one written here, and a failure there changes nothing."""

import errno
import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest

from tests.support import eventually
from tests.trainer.checkpoint_rig import (
    FILES,
    ORIGIN,
    TOTAL_BYTES,
    names_in,
    publish,
    save,
    steps_in,
    store_in,
    write_files,
)
from trainer.checkpoints import ram_folder
from trainer.checkpoints import store as checkpoints
from trainer.checkpoints.background import WriteOrder, Writer
from trainer.checkpoints.retention import Retention
from trainer.protocol.checkpoints import verify
from trainer.protocol.manifest import Manifest, Progress

pytestmark = pytest.mark.long


@pytest.fixture(autouse=True)
def memory(tmp_path, monkeypatch):
    """Let an ordinary folder stand in for the memory, so that what is left there can be seen."""
    folder = tmp_path / "memory"
    folder.mkdir()
    monkeypatch.setattr(ram_folder, "MEMORY", folder)
    return folder


def write_nested(folder):
    write_files(folder)
    (folder / "adapter").mkdir()
    (folder / "adapter" / "weights.safetensors").write_bytes(b"adapter")


def order_for(models, source, **changes):
    facts = {
        "models": models,
        "source": source,
        "draft": Manifest(
            **ORIGIN.model_dump(),
            sequence=2,
            parent="step-000000001",
            written_at="now",
            progress=Progress(global_step=2),
            files={},
        ),
        "rules": Retention(),
        "verified": [],
    }
    return WriteOrder(**(facts | changes))


def beside(store, step, **arguments):
    return save(store, step, background="always", **arguments)


# ---- written beside training


def test_it_is_the_same_checkpoint_as_one_written_here(models, tmp_path, memory):
    store = store_in(models)
    publish(store, 1, write=write_nested)
    (tmp_path / "other").mkdir()
    other = store_in(tmp_path / "other")
    publish(other, 1, write=write_nested)

    saving = beside(store, 2, write=write_nested)
    while_written = names_in(memory)
    written = saving.result()
    here = publish(other, 2, write=write_nested)

    assert len(while_written) == 1
    assert written.manifest == here.manifest == verify(written.path)
    assert {name: (written.path / name).read_bytes() for name in FILES} == FILES
    assert os.readlink(models / "current_model") == "checkpoints/step-000000002"
    assert names_in(memory) == []
    assert store_in(models).newest_verified() == written


def test_it_is_done_without_being_waited_for_and_gives_its_result_twice(models):
    store = store_in(models)
    publish(store, 1)

    saving = beside(store, 2)

    eventually(saving.is_done, what="the writer ends")
    assert saving.result() == saving.result()
    assert publish(store, 3).manifest.parent == "step-000000002"


def test_it_removes_what_the_rules_do_not_keep(models):
    store = store_in(models)
    for step in (1, 2, 3):
        publish(store, step)

    beside(store, 4, rules=Retention(keep_last=2)).result()

    assert steps_in(models) == ["step-000000003", "step-000000004"]


@pytest.mark.parametrize(
    "background, seconds, num_processes", [("never", 9, 0), ("auto", 1, 0), ("auto", 1.1, 1)]
)
def test_a_process_is_used_only_where_saving_takes_long(
    models, monkeypatch, background, seconds, num_processes
):
    times = iter([0.0, seconds, 100.0, 100.0])
    monkeypatch.setattr(checkpoints, "time", SimpleNamespace(monotonic=lambda: next(times)))
    started = []
    monkeypatch.setattr(checkpoints, "Writer", lambda order: started.append(order) or Writer(order))
    store = store_in(models)
    publish(store, 1)

    save(store, 2, background=background).result()

    assert len(started) == num_processes
    assert steps_in(models) == ["step-000000001", "step-000000002"]


# ---- what can go wrong


def test_a_disk_that_cannot_be_written_is_an_error_here_and_leaves_everything(models, memory):
    store = store_in(models)
    before = publish(store, 1)
    for name in ("step-000000002", "step-000000002-2"):
        (models / "checkpoints" / name).touch()  # a folder cannot be renamed onto a file

    saving = beside(store, 2)
    with pytest.raises(OSError, match="not a directory") as failed:
        saving.result()

    assert failed.value.errno == errno.ENOTDIR
    assert store_in(models).newest_verified() == before
    assert (names_in(memory), (models / ".staging").exists()) == ([], False)
    assert beside(store, 3).result().manifest.sequence == 2


def test_a_writer_that_is_killed_is_an_error_here_and_leaves_everything(models, memory, monkeypatch):
    monkeypatch.setenv("TRAINING_FAILPOINT", "checkpoint.synced")
    store = store_in(models)
    before = publish(store, 1)

    saving = beside(store, 2)
    with pytest.raises(OSError, match="the process that writes the checkpoint ended with code -9"):
        saving.result()

    assert steps_in(models) == [before.path.name]
    assert (names_in(memory), (models / ".staging").exists()) == ([], False)
    monkeypatch.delenv("TRAINING_FAILPOINT")
    assert beside(store, 2).result().manifest.sequence == 2


def test_a_copy_to_memory_that_fails_leaves_nothing_there(models, memory):
    store = store_in(models)
    publish(store, 1)

    def fail(folder):
        (folder / "model.safetensors").write_bytes(b"half of")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        beside(store, 2, write=fail)

    assert names_in(memory) == []


def test_a_writer_whose_worker_is_gone_writes_nothing(models, tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    write_files(source)
    gone = subprocess.Popen([sys.executable, "-S", "-c", ""])
    gone.wait()

    writer = Writer(order_for(models, source, parent_pid=gone.pid))

    with pytest.raises(OSError, match=f"ended with code {-signal.SIGKILL}"):
        writer.result()
    assert names_in(models) == []


def test_the_writer_is_another_process_and_loads_no_torch():
    loaded = subprocess.run(
        [sys.executable, "-c", "import sys, trainer.mains.write_checkpoint; print('torch' in sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )

    assert loaded.stdout.strip() == "False"


# ---- the folder in memory


def test_what_a_crash_left_in_memory_is_removed_at_the_start(models, memory):
    folder = ram_folder.create(models, room_bytes=1)
    (folder / "model.safetensors").write_bytes(b"left over")

    store_in(models).newest_verified()

    assert names_in(memory) == []


def test_two_models_folders_do_not_share_their_memory(models, tmp_path, memory):
    other = tmp_path / "other"

    folders = {ram_folder.create(models, room_bytes=1), ram_folder.create(other, room_bytes=1)}
    ram_folder.remove(models)

    assert len(folders) == 2
    assert len(names_in(memory)) == 1


def test_a_link_in_its_place_is_neither_followed_nor_used(models, tmp_path, memory):
    mine = ram_folder.create(models, room_bytes=1)
    mine.rmdir()
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").touch()
    mine.symlink_to(tmp_path / "precious")

    assert ram_folder.create(models, room_bytes=1) is None
    assert (tmp_path / "precious" / "file").exists()


@pytest.mark.parametrize("free, fits", [(120, True), (119, False), (0, False)])
def test_the_copy_must_fit_with_some_room_to_spare(models, monkeypatch, free, fits):
    monkeypatch.setattr(os, "statvfs", lambda path: SimpleNamespace(f_bavail=free, f_frsize=1))

    assert (ram_folder.create(models, room_bytes=100) is not None) == fits


@pytest.mark.parametrize("cause", ["no such file system", "full"])
def test_without_room_in_memory_the_checkpoint_is_written_here(models, monkeypatch, memory, cause):
    store = store_in(models)
    publish(store, 1)
    if cause == "full":
        monkeypatch.setattr(ram_folder, "_free_bytes", lambda: TOTAL_BYTES)
    else:
        memory.rmdir()
    monkeypatch.setattr(checkpoints, "Writer", lambda order: pytest.fail("a process was started"))

    saving = beside(store, 2)

    assert saving.is_done()
    assert saving.result() == store_in(models).newest_verified()
