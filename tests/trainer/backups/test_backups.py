"""A backup has all it takes to continue, sends nothing twice, and is restored as it was."""

import errno
import json
import os
import shutil
import sqlite3

import pytest

from tests.health import damage, merge_into, publish
from tests.support import rows, write_jsonl
from tests.trainer.backups.backup_rig import LOGITS, contents_of, note_job
from trainer.backups import contents
from trainer.backups.contents import NothingToBackUp
from trainer.backups.creation import ChangedMeanwhile
from trainer.backups.restoring import CannotRestore
from trainer.protocol.checkpoints import verify
from trainer.protocol.files import file_sha256
from trainer.protocol.job import Cursor, JobRecord, Outcome, Priority
from trainer.protocol.layout import Layout
from trainer.protocol.manifest import Progress
from trainer.versions.record import DamagedVersion
from trainer.versions.registry import Versions


def test_what_is_restored_is_what_was_backed_up(site, tmp_path):
    site.back_up()

    done = site.restore(tmp_path / "again")

    again = Layout(tmp_path / "again")
    assert (done.global_step, done.moved_aside) == (9, None)
    assert verify((again.models / "current_model").resolve()).progress.global_step == 9
    before, after = contents_of(site.layout.base), contents_of(again.base)
    for path in ("config.json", "queue/high/waits.jsonl", "queue/processing/started.jsonl"):
        assert after[path] == before[path]
    assert {path for path in before if path.startswith("models/data/")} <= after.keys()
    assert "models/versions/journal.jsonl" in after
    assert (again.base / ".restore-unfinished").exists() is False
    assert all(folder.is_dir() for folder in again.folders())


def test_a_file_that_waits_keeps_its_age(site, tmp_path):
    site.back_up()

    site.restore(tmp_path / "again")

    restored = tmp_path / "again/queue/processing/started.jsonl"
    assert restored.stat().st_mtime_ns == 1_234_567_890_123_456_789
    assert restored.stat().st_nlink == 1  # a second name would be taken for a move that was not finished
    assert restored.stat().st_mode & 0o777 == 0o600


def test_the_ledger_is_a_snapshot_with_what_its_log_has(site, tmp_path):
    writer = sqlite3.connect(site.layout.ledger_file)
    writer.execute("UPDATE jobs SET rows = 77")
    writer.commit()  # and stays open: it is in the log alone

    site.back_up()
    site.restore(tmp_path / "again")
    writer.close()

    found = sqlite3.connect(tmp_path / "again/status/ledger.sqlite3").execute("SELECT rows FROM jobs")
    assert found.fetchall() == [(77,)]


def test_a_full_disk_is_not_taken_for_a_damaged_ledger(site, monkeypatch):
    class FullDisk(sqlite3.Connection):
        def backup(self, *args, **options):
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error

    connect = sqlite3.connect
    monkeypatch.setattr(
        sqlite3, "connect", lambda *args, **options: connect(*args, **options, factory=FullDisk)
    )

    with pytest.raises(OSError, match=r"No space left on device: '.*/models/.backup/ledger.sqlite3'"):
        site.back_up()


@pytest.mark.parametrize("is_left_open", [True, False])
def test_a_daemon_that_starts_while_a_ledger_at_rest_is_copied_is_not_half_in_it(
    site, tmp_path, monkeypatch, is_left_open
):
    real, copied, writers = contents._copy_ledger, [], []

    def copy(ledger, target, options):
        copied.append(options)
        real(ledger, target, options)
        if len(copied) == 1:
            writers.append(sqlite3.connect(ledger))
            writers[0].execute("UPDATE jobs SET rows = 78")
            writers[0].commit()
            if not is_left_open:
                writers[0].close()

    monkeypatch.setattr(contents, "_copy_ledger", copy)

    contents.copy_ledger(site.layout.ledger_file, tmp_path / "copy")
    writers[0].close()

    assert copied == ["mode=ro&immutable=1", "mode=ro"]
    [found] = sqlite3.connect(tmp_path / "copy").execute("SELECT rows FROM jobs")
    assert found == (78,)


def test_versions_are_restored_with_their_marks_and_without_other_weights(site, tmp_path):
    newest = site.versions.create(
        site.layout.models / "checkpoints/step-000000009-2", made_by="hand", trained=lambda parent: ()
    )
    site.back_up()

    site.restore(tmp_path / "again")

    older, newer = Versions(tmp_path / "again/models", clock=site.clock).all()
    assert older.aliases == ("deployed",)
    assert (older.has_optimizer_state, newer.id, newer.has_optimizer_state) == (False, newest.id, True)
    checkpoint = tmp_path / "again/models/checkpoints/step-000000009-2"
    assert (newer.path / "model.safetensors").samefile(checkpoint / "model.safetensors")


def test_a_version_can_be_backed_up_whole(site, tmp_path):
    site.back_up(versions=("v001",), saw=("a" * 64,))

    site.restore(tmp_path / "again")

    [version] = Versions(tmp_path / "again/models", clock=site.clock).all()
    assert verify(version.path).progress.global_step == 3
    [manifest] = site.manifests()
    assert (manifest.versions, manifest.saw) == (("v001",), ("a" * 64,))


def test_a_version_without_its_weights_cannot_be_backed_up_whole(site):
    (site.layout.models / "versions/v001/model.safetensors").unlink()

    with pytest.raises(
        DamagedVersion, match=r"v001 cannot be backed up whole: model\.safetensors is missing"
    ):
        site.back_up(versions=("v001",))

    assert site.manifests() == []


def test_a_version_whose_optimizer_state_was_removed_to_save_room_is_backed_up_without(site, tmp_path):
    site.versions.unalias("deployed")
    site.versions.free_state("v001")

    made = site.back_up(versions=("v001",))
    site.restore(tmp_path / "again")

    assert made.notes == ("v001 is in it without its optimizer state, which was removed before",)
    restored = tmp_path / "again/models/versions/v001"
    weights = (site.layout.models / "versions/v001/model.safetensors").read_bytes()
    assert (restored / "model.safetensors").read_bytes() == weights


def test_a_damaged_version_is_not_backed_up_as_if_it_were_whole(site):
    damage(site.layout.models / "versions/v001")

    with pytest.raises(ChangedMeanwhile, match=r"v001/model\.safetensors is not what its record says"):
        site.back_up(versions=("v001",))

    assert site.manifests() == []


def test_the_base_model_that_an_adapter_was_merged_into_is_in_it(site, tmp_path):
    consolidated(site, 3, "new")
    needed, other = (site.layout.models / "bases" / name for name in ("new", "old"))
    for folder in (needed, other):
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(folder.name.encode())

    site.back_up()
    done = site.restore(tmp_path / "again")

    bases = tmp_path / "again/models/bases"
    assert [path.relative_to(bases).as_posix() for path in bases.rglob("*") if path.is_file()] == [
        "new/model.safetensors"
    ]
    assert (bases / "new/model.safetensors").read_bytes() == b"new"
    assert done.needs_base_model is None
    site.assert_whole()


def test_a_version_that_is_in_it_whole_brings_its_base_model(site, tmp_path):
    folder = site.layout.models / "bases" / "new"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"new")
    version = site.versions.create(consolidated(site, 3, "new"), made_by="hand", trained=lambda parent: ())
    publish(site.layout, 4, step=15, method="lora", base_model="org/model")

    site.back_up(versions=(version.id,))
    done = site.restore(tmp_path / "again")

    assert (tmp_path / "again/models/bases/new/model.safetensors").read_bytes() == b"new"
    assert done.needs_base_model == "org/model"  # of the checkpoint, which is from before


def test_a_base_model_that_is_gone_is_said_and_the_rest_is_backed_up(site, tmp_path):
    consolidated(site, 3, "new")

    made = site.back_up()

    assert made.notes == (
        "models/bases/new is not there, so step-000000012-3 cannot be loaded: the adapter is in it, "
        "its base model is not",
    )
    assert site.restore(tmp_path / "again").needs_base_model == "org/model"


def consolidated(site, sequence, base):
    """Publish a checkpoint with an adapter beside a base model that another one was merged into."""
    step = merge_into(base, step=9, merged="step-000000009-2")
    facts = {"method": "lora", "base_model": "org/model", "consolidations": (step,)}
    return publish(site.layout, sequence, step=12, **facts)


def test_nothing_is_sent_twice(site):
    first = site.back_up()
    again = site.back_up()
    site.layout.config_file.write_text("{}")
    third = site.back_up()

    assert first.sent_bytes == sum(len(content) for content in contents_of(site.to / "objects").values()) - 2
    assert (again.sent_bytes, third.sent_bytes) == (0, 2)
    assert len(site.manifests()) == 3
    site.assert_whole()


def test_an_object_of_another_size_is_sent_again(site):
    site.back_up()
    sha256 = file_sha256(site.layout.config_file)
    object_file = site.to / f"objects/{sha256[:2]}/{sha256}"
    object_file.write_bytes(b"{")

    site.back_up()

    assert object_file.read_bytes() == site.layout.config_file.read_bytes()


def test_the_newest_checkpoint_that_is_whole_is_backed_up(site):
    damage(publish(site.layout, 3, step=12))

    assert site.back_up().global_step == 9


def test_without_a_checkpoint_there_is_nothing_to_back_up(site):
    for path in (site.layout.models / "checkpoints").iterdir():
        damage(path)

    with pytest.raises(NothingToBackUp, match="no checkpoint that is whole; training_health verify"):
        site.back_up()


def while_the_ledger_is_copied(monkeypatch, act):
    """Have something happen once, before the copy ends; return what was copied."""
    real, copied, acts = contents.copy_ledger, [], [act]

    def copy(ledger, target):
        copied.append(target)
        if acts:
            acts.pop()()
        real(ledger, target)

    monkeypatch.setattr(contents, "copy_ledger", copy)
    return copied


def test_a_checkpoint_that_is_published_while_the_ledger_is_copied_is_the_one(site, monkeypatch):
    copied = while_the_ledger_is_copied(monkeypatch, lambda: publish(site.layout, 3, step=12))

    made = site.back_up()

    assert (made.global_step, len(copied)) == (12, 2)


def test_a_file_that_is_accepted_while_the_ledger_is_copied_is_in_the_backup(site, monkeypatch):
    def accept():
        write_jsonl(site.layout.waiting(Priority.LOW) / "late.jsonl", rows(2))
        note_job(site.layout, "late.jsonl")

    while_the_ledger_is_copied(monkeypatch, accept)

    site.back_up()

    [manifest] = site.manifests()
    assert "queue/low/late.jsonl" in [file.path for file in manifest.files]


def test_a_file_that_is_completed_while_the_ledger_is_copied_does_not_wait_in_the_backup(site, monkeypatch):
    started, completed = site.layout.processing / "started.jsonl", site.layout.finished(Outcome.COMPLETED)
    while_the_ledger_is_copied(monkeypatch, lambda: started.rename(completed / started.name))

    site.back_up()

    [manifest] = site.manifests()
    assert [file.path for file in manifest.files if "started" in file.path] == []


def test_a_file_that_is_moved_on_meanwhile_is_in_the_backup_once(site, monkeypatch):
    waiting = site.layout.waiting(Priority.HIGH) / "waits.jsonl"
    real, moved = contents.link_or_copy, []

    def link(source, target):
        if not moved:
            moved.append(waiting.rename(site.layout.processing / "waits.jsonl"))
        real(source, target)

    monkeypatch.setattr(contents, "link_or_copy", link)

    site.back_up()

    [manifest] = site.manifests()
    assert [file.path for file in manifest.files if "waits" in file.path] == ["queue/processing/waits.jsonl"]


def test_a_backup_knows_what_its_weights_were_trained_on(site):
    cursor = Cursor(job_id="2", sha256="2" * 64, plan="p", step=1, rows_trained=1, settings={})
    record = JobRecord(job_id="1", sha256="1" * 64, outcome=Outcome.COMPLETED, rows_trained=3, steps=3)
    refused = JobRecord(job_id="0", sha256="0" * 64, outcome=Outcome.FAILED, rows_trained=0, steps=0)
    progress = Progress(global_step=12, cursors={"2": cursor}, finished=[record, refused])
    publish(site.layout, 3, progress=progress)

    site.back_up(saw=("3" * 64,))

    [manifest] = site.manifests()
    assert manifest.saw == ("1" * 64, "2" * 64, "3" * 64)


def test_the_fingerprint_of_an_unchanged_model_is_computed_once(site):
    site.back_up()
    site.back_up()
    publish(site.layout, 3, step=12)
    site.back_up()

    assert site.logits_asked == 2
    assert [manifest.logits for manifest in site.manifests()] == [LOGITS] * 3


def test_another_checkpoint_under_the_same_name_and_number_gets_a_fingerprint_of_its_own(site):
    site.back_up()
    shutil.rmtree(site.layout.models / "checkpoints/step-000000009-2")  # it was damaged
    publish(site.layout, 2, step=9, method="lora")

    site.back_up()

    assert site.logits_asked == 2


def test_a_large_model_gets_no_fingerprint_and_a_note(site):
    made = site.back_up(fingerprint_max_bytes=10)

    assert (made.has_fingerprint, site.logits_asked) == (False, 0)
    assert made.notes == (
        "the model has 2 KB, so there is no fingerprint of its logits "
        "(backup.fingerprint_max_bytes is 10 bytes)",
    )


def test_a_name_that_is_not_utf_8_is_restored_as_it_was(site, tmp_path):
    name = os.fsdecode(b"caf\xe9.jsonl")
    write_jsonl(site.layout.waiting(Priority.LOW) / name, rows(2))

    site.back_up()
    site.restore(tmp_path / "again")

    assert (tmp_path / "again/queue/low" / name).is_file()


def test_an_existing_working_directory_is_moved_aside_and_only_if_forced(site):
    site.back_up()
    before = contents_of(site.layout.base)

    with pytest.raises(CannotRestore, match=r"is a working directory; .*--force"):
        site.restore(site.layout.base)
    done = site.restore(site.layout.base, force=True)

    aside = site.layout.base.with_name("work.before-restore-1")
    assert done.moved_aside == str(aside)
    assert contents_of(aside) == before
    assert verify((site.layout.models / "current_model").resolve())


def test_a_folder_that_is_no_working_directory_is_never_touched(site, tmp_path):
    site.back_up()
    (tmp_path / "home").mkdir()
    (tmp_path / "home/letter.txt").write_text("dear")

    with pytest.raises(CannotRestore, match="is not empty, and no working directory"):
        site.restore(tmp_path / "home", force=True)

    assert [path.name for path in (tmp_path / "home").iterdir()] == ["letter.txt"]


def test_an_empty_folder_can_be_filled(site, tmp_path):
    site.back_up()
    (tmp_path / "empty").mkdir()

    site.restore(tmp_path / "empty")

    assert (tmp_path / "empty/queue").is_dir()


def test_nothing_is_restored_over_a_daemon_that_runs(site):
    site.back_up()
    from filelock import FileLock

    with (
        FileLock(site.layout.lock_file),
        pytest.raises(CannotRestore, match=r"a daemon runs in .*; stop it first: training_controller stop"),
    ):
        site.restore(site.layout.base, force=True)

    assert not list(site.layout.base.parent.glob(".work.restoring"))


def test_no_manifest_has_a_password(site):
    from trainer.config.schema import Settings

    settings = Settings.model_validate({"backup": {"to": "sftp://me:hunter2@host/b"}})

    dumped = json.dumps(settings.model_dump(mode="json"))

    assert "hunter2" not in dumped
    assert settings.backup.to == "sftp://me:hunter2@host/b"


@pytest.mark.parametrize("place", ["work/queue/normal/again", "work/models/versions/v009", "work/again"])
def test_nothing_is_restored_inside_of_a_working_directory(site, tmp_path, place):
    site.back_up()

    with pytest.raises(CannotRestore, match=f"{place} is in .*work, which is a working directory; choose"):
        site.restore(tmp_path / place, force=True)

    assert not (tmp_path / place).exists()


def test_nothing_is_restored_among_the_backups(site, tmp_path):
    site.back_up()

    with pytest.raises(CannotRestore, match=r"is among the backups in .*backups; choose another folder"):
        site.restore(tmp_path / "backups/objects/ab")

    site.restore(tmp_path / "backups/again")  # beside them, it is in nobody's way
    site.assert_whole()


def test_a_link_to_an_empty_folder_is_no_place_to_restore_to(site, tmp_path):
    site.back_up()
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("empty")

    with pytest.raises(CannotRestore, match="link is a symbolic link; expected a folder, or nothing there"):
        site.restore(tmp_path / "link")

    assert sorted(path.name for path in tmp_path.iterdir()) == ["backups", "empty", "link", "work"]


def test_a_restore_that_cannot_be_put_in_place_leaves_nothing_that_is_in_the_way(site, tmp_path, monkeypatch):
    site.back_up()
    rename = os.rename

    def refuse(source, target):
        if os.fspath(source).endswith(".restoring"):
            raise OSError(errno.EACCES, "permission denied", os.fspath(target))
        rename(source, target)

    monkeypatch.setattr(os, "rename", refuse)
    with pytest.raises(PermissionError):
        site.restore(tmp_path / "again")
    monkeypatch.undo()

    site.restore(tmp_path / "again")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again", "backups", "work"]
