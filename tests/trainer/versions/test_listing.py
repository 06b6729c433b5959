"""A list of a thousand versions reads a few files, and shows nothing that a record no longer says."""

import json
import shutil

import pytest

from tests.trainer.checkpoint_rig import EVERY_DAMAGE, publish, store_in
from trainer.versions import listing
from trainer.versions.listing import LIST_NAME, READ_AGAIN, has_all_files
from trainer.versions.record import RECORD_NAME, write_record
from trainer.versions.registry import Versions

MANY = 100


@pytest.fixture
def versions(tmp_path, monkeypatch):
    """A hundred versions, and a note of each record that is read."""
    models = tmp_path / "models"
    models.mkdir()
    versions = Versions(models, clock=lambda: 0.0)
    checkpoint = publish(store_in(models), 10)
    record = versions.create(checkpoint.path, made_by="hand", trained=lambda parent: ()).record
    for number in range(2, MANY + 1):
        folder = models / "versions" / f"v{number:03d}"
        folder.mkdir()
        write_record(folder, record.model_copy(update={"id": folder.name, "sequence": number}))
    return versions


@pytest.fixture
def reads(monkeypatch):
    found = []
    read_record = listing.read_record

    def read(file):
        found.append(file)
        return read_record(file)

    monkeypatch.setattr(listing, "read_record", read)
    return found


def ids(versions):
    return [summary.id for summary in versions.listing().summaries.values()]


def test_each_record_is_read_once(versions, reads):
    expected = [version.id for version in versions.all()]

    assert ids(versions) == expected
    assert len(reads) == MANY
    assert ids(versions) == expected
    assert len(reads) == MANY


def test_new_versions_are_read_and_known_before_they_are_many(versions, reads):
    ids(versions)
    folder = versions.find("v100").path
    record = versions.find("v100").record
    for number in range(1, READ_AGAIN + 2):
        new = folder.with_name(f"v{MANY + number}")
        new.mkdir()
        write_record(new, record.model_copy(update={"id": new.name}))
        ids(versions)

    reads.clear()
    assert len(ids(versions)) == MANY + READ_AGAIN + 1
    assert reads == []


def test_a_version_that_is_gone_is_not_shown(versions):
    ids(versions)

    versions.delete(versions.find("v050"))

    assert "v050" not in ids(versions)


def test_a_record_that_was_damaged_is_read_and_named(versions):
    ids(versions)
    record = versions.find("v007").path / RECORD_NAME
    content = record.read_bytes()

    for damage in EVERY_DAMAGE:
        record.unlink() if damage is None else record.write_bytes(damage(content))

        found = versions.listing()
        assert list(found.damaged) == ["v007"]
        assert len(found.summaries) == MANY - 1


@pytest.mark.parametrize("content", [b"", b"[]", b'{"v001": {}}', b"\xff"])
def test_a_list_that_makes_no_sense_is_read_anew(versions, content):
    expected = ids(versions)
    (versions.find("v001").path.parent / LIST_NAME).write_bytes(content)

    assert ids(versions) == expected


def test_a_list_that_does_not_say_whose_the_losses_are_is_read_anew(versions, reads):
    ids(versions)
    file = versions.find("v001").path.parent / LIST_NAME
    content = json.loads(file.read_bytes())
    for summary in content.values():
        del summary["validation_weights"]
    file.write_text(json.dumps(content))
    reads.clear()

    ids(versions)

    assert len(reads) == MANY


def test_a_list_is_shown_where_nothing_can_be_written(versions, monkeypatch):
    def refuse(*arguments, **keywords):
        raise PermissionError("read-only")

    monkeypatch.setattr(listing, "write_atomically", refuse)

    assert len(ids(versions)) == MANY


def test_a_list_is_written_as_json(versions):
    ids(versions)

    content = json.loads((versions.find("v001").path.parent / LIST_NAME).read_bytes())

    assert content["v001"]["global_step"] == 10


def test_files_that_are_missing_are_noticed(tmp_path):
    (tmp_path / "sub").mkdir()
    for name in ("a", "sub/b"):
        (tmp_path / name).touch()

    assert has_all_files(tmp_path, ["a", "sub/b"])
    assert not has_all_files(tmp_path, ["a", "sub/c"])
    assert not has_all_files(tmp_path, ["a", "c"])
    shutil.rmtree(tmp_path / "sub")
    assert not has_all_files(tmp_path / "sub", ["b"])
