"""Versions are made whole or not at all, outlive their checkpoints, and are found by every name they have."""

import fcntl
import os
import re
import shutil
import time
from pathlib import Path

import pytest

from tests.support import FakeClock, PowerCut, every_case
from tests.trainer.checkpoint_rig import EVERY_DAMAGE, FILES, publish, steps_in, store_in
from trainer.checkpoints.retention import Retention
from trainer.protocol.checkpoints import DamagedCheckpoint, verify
from trainer.versions import registry
from trainer.versions.marks import BadMark, UnusableJournal
from trainer.versions.record import RECORD_NAME, DamagedVersion, TrainedFile
from trainer.versions.registry import NoSuchVersion, Versions
from trainer.versions.removal import bytes_of_its_own
from trainer.versions.version import VersionInUse

FAILPOINTS = sorted(set(re.findall(r'failpoint\("(.+?)"\)', Path(registry.__file__).read_text())))


@pytest.fixture
def models(tmp_path):
    folder = tmp_path / "models"
    folder.mkdir()
    return folder


@pytest.fixture
def clock():
    return FakeClock(1_700_000_000.0)


@pytest.fixture
def versions(models, clock):
    return Versions(models, clock=clock)


def nothing(parent):
    return ()


def make(versions, models, step=10):
    checkpoint = publish(store_in(models), step)
    return versions.create(checkpoint.path, made_by="hand", trained=nothing)


# ---- make


def test_a_version_has_the_files_of_its_checkpoint_without_taking_their_room(versions, models):
    version = make(versions, models)

    [checkpoint] = (models / "checkpoints").glob("step-*")
    assert version.path == models / "versions" / "v001"
    for name in FILES:
        assert (version.path / name).samefile(checkpoint / name)
    assert bytes_of_its_own(version.path) < 8_192  # the record alone


def test_a_version_outlives_its_checkpoint(versions, models):
    version = make(versions, models)
    for step in (20, 30, 40):
        publish(store_in(models), step, rules=Retention(keep_last=2))

    assert "step-000000010" not in steps_in(models)
    assert verify(version.path).progress.global_step == 10


def test_the_record_says_where_the_version_came_from(versions, models):
    file = TrainedFile(
        job_id="1", name="a.jsonl", sha256="0" * 64, first_step=11, last_step=20, rows=3, outcome="completed"
    )
    store = store_in(models)
    publish(store, 10)
    versions.create(models / "checkpoints" / "step-000000010", made_by="file", trained=nothing)
    checkpoint = publish(store, 20, validation_loss=0.5, validated_step=20)

    version = versions.create(
        checkpoint.path,
        made_by="hand",
        trained=lambda parent: (file,) if parent.global_step == 10 else (),
    )

    record = version.record
    assert (record.id, record.parent, record.global_step) == ("v002", "v001", 20)
    assert (record.trained, record.validation_loss, record.base_model) == ((file,), 0.5, "tiny")


def test_a_loss_that_is_not_of_this_step_is_left_out_with_whose_it_is(versions, models):
    checkpoint = publish(
        store_in(models), 20, validation_loss=0.5, validated_step=10, validation_weights="average"
    )

    record = versions.create(checkpoint.path, made_by="hand", trained=nothing).record

    assert (record.validation_loss, record.validation_weights) == (None, None)


def test_damage_to_the_checkpoint_makes_no_version(versions, models):
    checkpoint = publish(store_in(models), 10).path
    (checkpoint / "config.json").write_bytes(b'{"a": 2}')

    with pytest.raises(DamagedCheckpoint, match="different SHA-256"):
        versions.create(checkpoint, made_by="hand", trained=nothing)

    assert versions.all() == []


def test_whoever_writes_the_card_gets_the_folder_and_the_record(versions, models):
    checkpoint = publish(store_in(models), 10).path

    version = versions.create(
        checkpoint,
        made_by="hand",
        trained=nothing,
        write_card=lambda folder, record: (folder / "README.md").write_text(record.id),
    )

    assert (version.path / "README.md").read_text() == "v001"


def test_the_card_is_durable_before_the_version_is_visible(versions, models, monkeypatch):
    from trainer.versions.model_card import CARD_NAME, write_card

    checkpoint = publish(store_in(models), 10).path
    real, synced = os.fsync, set()
    monkeypatch.setattr(os, "fsync", lambda file: (synced.add(os.fstat(file).st_ino), real(file)))

    version = versions.create(checkpoint, made_by="hand", trained=nothing, write_card=write_card)

    assert {(version.path / name).stat().st_ino for name in (CARD_NAME, RECORD_NAME)} <= synced


def test_every_failpoint_is_known():
    assert FAILPOINTS == ["version.record_kept", "version.renamed", "version.staged", "version.trashed"]


@pytest.mark.parametrize("name, there", [("version.staged", []), ("version.renamed", ["v001"])])
def test_a_version_is_there_or_not_wherever_the_power_is_cut(versions, models, monkeypatch, name, there):
    checkpoint = publish(store_in(models), 10).path

    def fall_dark(place):
        if place == name:
            raise PowerCut

    with monkeypatch.context() as patch:
        patch.setattr(registry, "failpoint", fall_dark)
        with pytest.raises(PowerCut):
            versions.create(checkpoint, made_by="hand", trained=nothing)

    assert [version.id for version in versions.all()] == there
    again = versions.create(checkpoint, made_by="hand", trained=nothing)
    assert verify(again.path)
    assert again.id == "v001"  # made twice is one


def test_damage_to_a_record_is_found_and_said_and_the_others_are_listed(versions, models):
    first, second = make(versions, models, 10), make(versions, models, 20)
    record = first.path / RECORD_NAME
    content = record.read_bytes()

    for damage in EVERY_DAMAGE:
        record.unlink() if damage is None else record.write_bytes(damage(content))

        assert [version.id for version in versions.all()] == [second.id]
        assert list(versions.damaged()) == [first.id]
        with pytest.raises(DamagedVersion):
            versions.find(first.id)


def test_a_thousand_versions_are_listed_at_once(versions, models):
    make(versions, models)
    template = (models / "versions" / "v001" / RECORD_NAME).read_bytes()
    for number in range(2, 1001):
        folder = models / "versions" / f"v{number:03d}"
        folder.mkdir()
        (folder / RECORD_NAME).write_bytes(template)

    started = time.thread_time()
    found = versions.all()

    assert len(found) == 1000
    assert time.thread_time() - started < 1.5  # 0.15 s on an idle machine


# ---- names


def test_a_version_is_found_by_its_id_its_aliases_and_as_the_latest(versions, models):
    first, second = make(versions, models, 10), make(versions, models, 20)
    versions.alias("deployed", first)

    assert versions.find("v001").id == versions.find("deployed").id == first.id
    assert versions.find("latest").id == second.id
    with pytest.raises(
        NoSuchVersion, match=r"no version is named 'v009'; expected one of: v001, v002, deployed"
    ):
        versions.find("v009")


def test_an_alias_moves_and_what_it_meant_at_a_time_is_known(versions, models, clock):
    first, second = make(versions, models, 10), make(versions, models, 20)
    versions.alias("deployed", first)
    clock.now += 60
    assert versions.alias("deployed", second) == first.id
    clock.now += 60
    versions.unalias("deployed")

    assert versions.marks(until="2023-11-14T22:13:50.000Z").aliases == {"deployed": first.id}
    assert versions.marks(until="2023-11-14T22:14:30.000Z").aliases == {"deployed": second.id}
    assert versions.marks().aliases == {}


@pytest.mark.parametrize(
    "name", ["", "v7", "step-000000010", "latest", "current", "a b", "../x", "A", "x" * 65]
)
def test_a_name_that_could_mean_something_else_is_refused(versions, models, name):
    version = make(versions, models)

    with pytest.raises(BadMark, match="expected a letter"):
        versions.alias(name, version)
    with pytest.raises(BadMark, match="expected a letter"):
        versions.tag(version, name)


@pytest.mark.parametrize(
    "text, problem",
    [
        (" \n", r"the note has 2 characters; expected 1 to 2000, not all blank"),
        ("x" * 2001, r"the note has 2001 characters; expected 1 to 2000"),
        (os.fsdecode(b"caf\xe9"), r"the note is 'caf\\udce9'; expected text in UTF-8"),
    ],
)
def test_a_note_that_cannot_be_kept_is_refused(versions, models, text, problem):
    version = make(versions, models)

    with pytest.raises(BadMark, match=problem):
        versions.note(version, text)


def test_a_new_version_does_not_get_what_was_said_of_one_that_was_removed_by_hand(versions, models):
    first, second = make(versions, models, 10), make(versions, models, 20)
    versions.alias("deployed", second)
    shutil.rmtree(second.path)

    third = make(versions, models, 30)

    assert (first.id, third.id, third.aliases) == ("v001", "v003", ())
    with pytest.raises(NoSuchVersion, match="deployed means v002, but that is gone"):
        versions.find("deployed")


def test_notes_and_tags_are_kept_with_the_version(versions, models):
    version = make(versions, models)

    versions.note(version, "before the holidays")
    versions.tag(version, "good")
    versions.tag(version, "bad")
    versions.tag(version, "bad", is_set=False)

    again = versions.find(version.id)
    assert (again.notes, again.tags) == (("before the holidays",), ("good",))


def test_a_mark_that_was_torn_costs_no_other(versions, models):
    version = make(versions, models)
    versions.tag(version, "first")
    with (models / "versions" / "journal.jsonl").open("ab") as file:
        file.write(b'{"at": "2023-11-14T22:1')

    versions.tag(version, "second")

    assert versions.find(version.id).tags == ("first", "second")


def test_a_mark_that_a_full_disk_cuts_off_is_an_error_and_not_half_believed(versions, models, monkeypatch):
    version = make(versions, models)
    with monkeypatch.context() as patch:
        real = os.write
        patch.setattr(os, "write", lambda descriptor, content: real(descriptor, content[:20]))
        with pytest.raises(OSError, match="No space left"):
            versions.alias("deployed", version)

    versions.tag(version, "later")

    found = versions.find(version.id)
    assert (found.aliases, found.tags) == ((), ("later",))


@pytest.mark.parametrize("put", [os.mkfifo, os.mkdir])
def test_a_journal_that_is_no_file_is_one_clear_error_and_nothing_is_done(versions, models, put):
    version, gone = make(versions, models), make(versions, models, step=20)
    versions.delete(gone)
    journal = models / "versions" / "journal.jsonl"
    journal.unlink()
    put(journal)
    acts = {
        "list": versions.all,
        "find": lambda: versions.find("v001"),
        "create": lambda: make(versions, models, step=30),
        "note": lambda: versions.note(version, "x"),
        "tag": lambda: versions.tag(version, "x"),
        "alias": lambda: versions.alias("x", version),
        "delete": lambda: versions.delete(version),
        "undelete": lambda: versions.undelete(gone.id),
        "free": lambda: versions.free(gone.id),
    }

    with every_case() as cases:
        for name, act in acts.items():
            with (
                cases.case(name),
                pytest.raises(UnusableJournal, match="is a folder, a pipe or a device; expected the file"),
            ):
                act()

    assert version.path.is_dir()
    assert [record.id for record in versions.deleted()] == [gone.id]
    journal.rmdir() if journal.is_dir() else journal.unlink()
    assert versions.find("v001").record == version.record


# ---- delete


def test_a_version_whose_record_is_damaged_is_deleted_and_freed_and_its_number_is_never_given_again(
    versions, models
):
    path = make(versions, models).path
    (path / RECORD_NAME).write_text("[")

    versions.delete(versions.locate("v001"))
    found = versions.deleted()
    versions.free("v001")

    assert found == []
    assert not (models / "versions/.trash/v001").exists()
    assert make(versions, models, step=20).id == "v002"


def test_a_deleted_version_can_be_brought_back_until_it_is_freed(versions, models):
    version = make(versions, models)

    versions.delete(version)
    assert versions.all() == []
    assert [record.id for record in versions.deleted()] == ["v001"]
    assert versions.undelete("v001").id == "v001"

    versions.delete(version)
    versions.free("v001")
    assert versions.deleted() == []
    with pytest.raises(NoSuchVersion, match="there is: nothing"):
        versions.undelete("v001")
    assert versions.record_of("v001") == version.record
    assert make(versions, models, 20).id == "v002"  # a number is never given twice


def test_freeing_returns_the_bytes_that_nothing_else_links(versions, models):
    kept = make(versions, models, 10)
    lost = make(versions, models, 20)
    for step in (30, 40, 50):
        publish(store_in(models), step, rules=Retention(keep_last=2))
    del kept

    versions.delete(lost)
    freed = versions.free("v002")

    assert freed >= 3 * 512  # three files, each with a block of its own
    assert not (models / "versions" / ".trash" / "v002").exists()


def test_what_an_alias_means_or_a_program_holds_is_not_deleted(versions, models):
    version = make(versions, models)
    versions.alias("deployed", version)

    with pytest.raises(VersionInUse, match="v001 is what deployed means"):
        versions.delete(versions.find("v001"))

    versions.unalias("deployed")
    with (version.path / RECORD_NAME).open() as held:
        fcntl.flock(held, fcntl.LOCK_SH)
        with pytest.raises(VersionInUse, match="used by another program"):
            versions.delete(versions.find("v001"))
    assert versions.find("v001").path.is_dir()


def test_what_an_alias_means_by_now_is_not_deleted(versions, models):
    seen = make(versions, models)
    versions.alias("deployed", seen)  # by somebody else, who was faster

    with pytest.raises(VersionInUse, match="v001 is what deployed means"):
        versions.delete(seen)

    assert versions.find("deployed").id == "v001"


@pytest.mark.parametrize("act", ["tag", "alias", "delete"])
def test_a_version_that_was_deleted_meanwhile_is_said_to_be(versions, models, act):
    seen = make(versions, models)
    versions.delete(seen)
    acts = {
        "tag": lambda: versions.tag(seen, "pinned"),
        "alias": lambda: versions.alias("deployed", seen),
        "delete": lambda: versions.delete(seen),
    }

    with pytest.raises(NoSuchVersion, match="v001 was deleted meanwhile; bring it back: training_models und"):
        acts[act]()

    assert (versions.marks().aliases, versions.marks().tags) == ({}, {})
