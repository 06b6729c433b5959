"""The command training_models: versions are made, named, explained and deleted as a person asks for it."""

import json

import pytest

from daemon.cli.training_models import app
from daemon.files.identity import Identity
from daemon.ledger.ledger import Ledger
from tests.daemon.cli.runner import runner_of
from tests.daemon.ledger.entries import step
from tests.health import damage, publish
from tests.support import FakeClock
from trainer.protocol.job import Job, Priority
from trainer.protocol.layout import Layout

run = runner_of(app)


@pytest.fixture
def layout(tmp_path):
    layout = Layout(tmp_path / "work")
    layout.create()
    return layout


@pytest.fixture
def trained(layout):
    """A model of two checkpoints: after chat.jsonl, and after urgent.jsonl, which interrupted it."""
    ledger = Ledger(layout.ledger_file, clock=FakeClock())
    for number, name in enumerate(("chat.jsonl", "urgent.jsonl"), start=1):
        job = Job(
            id=str(number), name=name, priority=Priority.LOW, sha256=str(number) * 64, rows=9, size_bytes=1
        )
        ledger.add_job(job, Identity(device=1, inode=number, size=1, mtime_ns=1), "processing")
    ledger.add_steps([step(number, job_id="1", file_step=number) for number in (1, 2, 3)])
    ledger.add_steps([step(4, job_id="2", file_step=1), step(5, job_id="1", file_step=4)])
    ledger.close()
    publish(layout, 1, step=3, settings={"training": {"learning_rate": 0.001}, "seed": 1})
    publish(layout, 2, step=5, settings={"training": {"learning_rate": 0.002}, "seed": 1})
    return layout


def test_without_a_version_the_list_says_how_one_is_made(layout):
    assert run(layout, "list").stdout == (
        "there are no versions; make one of the newest checkpoint: training_models create\n"
    )


def test_a_version_is_made_of_the_newest_checkpoint_and_listed(trained):
    made = run(trained, "create", "--note", "before the holidays")
    listed = json.loads(run(trained, "list", "--json").stdout)

    assert made.stdout == f"v001: step 5 of the model; load it from {trained.models / 'versions' / 'v001'}\n"
    [version] = listed["versions"]
    assert (version["id"], version["global_step"], version["is_current"]) == ("v001", 5, True)
    assert version["notes"] == ["before the holidays"]


def test_a_checkpoint_has_one_version(trained):
    run(trained, "create")

    again = run(trained, "create")

    assert again.stdout.startswith("v001: step 5 of the model (it was made before); load it from ")


def test_an_older_checkpoint_can_have_one_too(trained):
    run(trained, "create", "step-000000003-1")
    run(trained, "create")

    lines = run(trained, "list").stdout.splitlines()

    assert [line.split()[0] for line in lines] == ["VERSION", "v001", "v002"]
    assert "current" in lines[2]
    assert "current" not in lines[1]


def test_a_version_says_which_files_made_it(trained):
    run(trained, "create", "step-000000003-1")
    run(trained, "create")

    shown = run(trained, "show", "v002").stdout
    lineage = json.loads(run(trained, "lineage", "v002", "--json").stdout)

    assert "  2 files since v001:\n" in shown
    assert "    urgent.jsonl  steps 4 to 4, processing\n" in shown
    assert [(file["name"], file["first_step"], file["last_step"]) for file in lineage["files"]] == [
        ("chat.jsonl", 1, 5),
        ("urgent.jsonl", 4, 4),
    ]


@pytest.mark.parametrize("name", ["urgent.jsonl", "queue/recently_completed/urgent.jsonl", "2" * 12])
def test_a_file_says_which_versions_it_is_in(trained, name):
    run(trained, "create", "step-000000003-1")
    run(trained, "create")

    assert json.loads(run(trained, "lineage", name, "--json").stdout)["versions"] == ["v002"]


def test_what_is_neither_version_nor_file_is_an_error(trained):
    run(trained, "create")

    result = run(trained, "lineage", "never.jsonl")

    assert result.exit_code == 1
    assert "no version was trained on never.jsonl" in str(result.exception)


def test_settings_that_differ_are_shown_with_both_values(trained):
    run(trained, "create", "step-000000003-1")
    run(trained, "create")

    assert run(trained, "diff-config", "v001", "v002").stdout == "training.learning_rate: 0.001 -> 0.002\n"
    assert run(trained, "diff-config", "v001", "v001").stdout == "no setting differs\n"


def test_an_alias_means_a_version_until_it_moves(trained):
    run(trained, "create", "step-000000003-1")
    run(trained, "create")

    assert run(trained, "alias", "deployed", "v001").stdout == "deployed means v001\n"
    assert run(trained, "alias", "deployed", "current").stdout == "deployed means v002 (before: v001)\n"
    assert run(trained, "alias", "deployed").stdout == "deployed means v002\n"
    assert run(trained, "alias", "deployed", "--at", "2001-01-01T00:00:00Z").stdout == (
        "deployed meant nothing\n"
    )
    assert run(trained, "alias", "deployed", "--remove").stdout == (
        "deployed meant v002; it means nothing now\n"
    )


@pytest.mark.parametrize("at", ["yesterday", "14:03", "2026-13-01"])
def test_a_time_that_is_none_is_refused(trained, at):
    run(trained, "create")

    result = run(trained, "alias", "deployed", "--at", at)

    assert result.exit_code == 1
    assert "expected a time such as 2026-11-20T14:03:00Z" in str(result.exception)


def test_a_deleted_version_can_be_brought_back(trained):
    run(trained, "create")

    assert run(trained, "delete", "v001", "--dry-run").stdout == "v001 will be moved to the trash\n"
    assert run(trained, "delete", "v001", "--yes").exit_code == 0
    assert "there are no versions" in run(trained, "list").stdout
    assert run(trained, "undelete", "v001").exit_code == 0
    assert json.loads(run(trained, "list", "--json").stdout)["versions"][0]["id"] == "v001"


def test_nothing_is_deleted_that_an_alias_means_and_nobody_is_asked_in_vain(trained):
    run(trained, "create")
    run(trained, "alias", "deployed", "v001")

    result = run(trained, "delete", "v001")

    assert result.exit_code == 1
    assert "v001 is what deployed means; point the alias elsewhere or remove it first" in str(
        result.exception
    )
    assert "Go ahead" not in result.stdout


def test_damage_is_named_in_the_list_and_makes_no_version(trained):
    run(trained, "create")
    record = trained.models / "versions" / "v001" / "VERSION.json"
    record.write_text(record.read_text().replace('"v001"', '"v009"'))
    damage(trained.models / "checkpoints" / "step-000000003-1")

    listed = run(trained, "list").stdout
    refused = run(trained, "create", "step-000000003-1")

    assert "v001: damaged: " in listed
    assert refused.exit_code == 1
    assert (
        "step-000000003-1: model.safetensors has a different SHA-256 than when it was written; choose another"
        in str(refused.exception)
    )


def test_a_name_of_a_file_cannot_write_into_the_card(trained):
    ledger = Ledger(trained.ledger_file, clock=FakeClock())
    ledger.rename_job("1", "a`|<b>\x1b[2J\n# title.jsonl")
    ledger.close()

    run(trained, "create")

    card = (trained.models / "versions" / "v001" / "README.md").read_text()
    assert "`a'\\|<b>\\x1b[2J\\n# title.jsonl`" in card
    assert "\n# title" not in card
