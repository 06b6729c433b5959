"""What a shell is offered where a version, or a file that made one, is meant."""

import os

import pytest

from daemon.client import Client
from daemon.client.offered_versions import (
    alias_names,
    checkpoint_names,
    deleted_names,
    trained_names,
    version_names,
)
from tests.daemon.client.eventful import Life
from tests.daemon.client.test_offered_names import EVIL, completed_in_a_shell


@pytest.fixture
def versions(layout):
    """v001 with the alias deployed, v002, and v003 in the trash."""
    life = Life(layout)
    for number, name in enumerate(("chat.jsonl", "more.jsonl", "last.jsonl"), start=1):
        life.train(name, 2)
        life.publish(number)
        life.ledger.commit()
        Client(layout.base).models.create()
    life.close()
    models = Client(layout.base).models
    for name in ("deployed", "removed"):
        models.alias(name, models.find("v001"))
    models.unalias("removed")
    models.delete(models.find("v003"))
    return layout


def test_versions_are_offered_by_id_and_name(versions):
    assert version_names(versions, "") == ["v002", "v001", "deployed", "current", "latest"]
    assert version_names(versions, "v0") == ["v002", "v001"]
    assert version_names(versions, "de") == ["deployed"]
    assert alias_names(versions, "") == ["deployed"]


def test_deleted_ones_are_offered_to_bring_them_back_alone(versions):
    assert deleted_names(versions, "") == ["v003"]


def test_files_are_offered_those_of_the_newest_version_first(versions):
    assert trained_names(versions, "") == ["more.jsonl", "chat.jsonl"]
    assert trained_names(versions, "ch") == ["chat.jsonl"]


def test_checkpoints_are_offered_the_newest_first(versions):
    assert checkpoint_names(versions, "") == [
        "step-000000006-3", "step-000000004-2", "step-000000002-1", "current",
    ]  # fmt: skip


def test_where_there_is_nothing_nothing_is_offered(layout):
    for offered in (version_names, alias_names, deleted_names, trained_names, checkpoint_names):
        assert offered(layout, "") == []


def test_what_means_something_to_a_shell_is_left_out(layout):
    life = Life(layout)
    life.train("chat.jsonl", 1)
    for number, name in enumerate(EVIL):
        life.ledger.rename_job(life.train(f"{number}.jsonl", 1).id, os.fsdecode(name))
    life.publish(1)
    life.close()
    version, _ = Client(layout.base).models.create()

    assert len(version.record.trained) == 1 + len(EVIL)
    assert trained_names(layout, "") == ["chat.jsonl"]


def test_a_damaged_record_or_journal_offers_what_is_left(versions):
    (versions.models / "versions" / "v002" / "VERSION.json").write_text("[")
    with (versions.models / "versions" / "journal.jsonl").open("a") as journal:
        journal.write('nonsense\n{"kind": "alias"}\n[]\n')

    assert trained_names(versions, "") == ["chat.jsonl"]
    assert alias_names(versions, "") == ["deployed"]


def test_a_pipe_in_the_place_of_a_record_or_the_journal_keeps_no_shell_waiting(versions):
    for file in ("v002/VERSION.json", "journal.jsonl"):
        (versions.models / "versions" / file).unlink()
        os.mkfifo(versions.models / "versions" / file)

    assert trained_names(versions, "") == ["chat.jsonl"]
    assert alias_names(versions, "") == []


@pytest.mark.parametrize(
    "typed, offered",
    [
        ("training_models show v", ["v002", "v001"]),
        ("training_models rollback --to dep", ["deployed"]),
        ("training_models rollback --file mo", ["more.jsonl"]),
        ("training_models lineage ch", ["chat.jsonl"]),
        ("training_models undelete v", ["v003"]),
        ("training_models create step-000000004", ["step-000000004-2"]),
        ("training_models report --since 2", ["24h"]),
        ("training_models report --since v00", ["v002", "v001"]),
    ],
)
def test_the_commands_offer_them_in_a_shell(versions, typed, offered):
    assert completed_in_a_shell(versions, "training_models", typed) == offered


def test_so_does_the_command_for_all(versions):
    assert completed_in_a_shell(versions, "training", "training models show dep") == ["deployed"]
