"""What the client says of versions, and what that costs where there are many."""

import shutil

import pytest

from daemon.client import Client, models
from daemon.client.models import NotATime, UnusableVersion
from tests.daemon.client.eventful import Life
from tests.health import publish
from trainer.versions import registry

MANY = 8


def test_which_versions_have_a_file_is_said_without_reading_each_record_for_each_version(layout, monkeypatch):
    life = Life(layout)
    for number in range(1, MANY + 1):
        life.train(f"{number}.jsonl", 1)
        life.publish(number)
        life.ledger.commit()
        Client(layout.base).models.create()
    life.close()
    real, reads = registry.read_record, []
    monkeypatch.setattr(registry, "read_record", lambda file: (reads.append(file), real(file))[1])

    found = Client(layout.base).models.versions_with("2.jsonl")

    assert found.versions == tuple(f"v{number:03d}" for number in range(2, MANY + 1))
    assert len(reads) <= 2 * MANY


def test_no_version_is_made_with_a_note_that_cannot_be_kept(layout):
    life = Life(layout)
    life.train("a.jsonl", 1)
    life.publish(1)
    life.ledger.commit()
    life.close()

    with pytest.raises(UnusableVersion, match="expected 1 to 2000"):
        Client(layout.base).models.create(note=" ")

    assert Client(layout.base).models.versions() == ()


@pytest.mark.parametrize("step", ["read_manifest", "Versions.of_checkpoint", "verify"])
def test_a_checkpoint_that_retention_removes_while_a_version_is_made_is_named_in_words(
    layout, monkeypatch, step
):
    path = publish(layout, 1, step=2)
    publish(layout, 2, step=4)
    owner, name = (registry.Versions, "of_checkpoint") if "." in step else (models, step)
    real = getattr(owner, name)

    def just_too_late(*args):
        shutil.rmtree(path)
        return real(*args)

    monkeypatch.setattr(owner, name, just_too_late)

    with pytest.raises(UnusableVersion) as caught:
        Client(layout.base).models.create(path.name)

    assert str(caught.value).startswith(path.name)
    assert "Errno" not in str(caught.value)
    assert "training_health verify" in str(caught.value)


@pytest.mark.parametrize("at", ["yesterday", "2026-11-20T25:00:00Z", "0001-01-01T00:00:00+23:59"])
def test_what_an_alias_meant_is_asked_for_a_time_that_there_is(layout, at):
    with pytest.raises(NotATime, match="is no time; expected a time such as 2026-11-20T14:03:00Z"):
        Client(layout.base).models.alias_at("deployed", at)
