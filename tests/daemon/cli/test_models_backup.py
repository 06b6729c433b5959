"""The command training_models backup: it asks before it changes something, and its exit code tells."""

import json

import pytest

from daemon.cli.training_models import app
from daemon.client import Client
from daemon.client.backups import BackupRefused
from tests.daemon.cli.backup_answers import DAMAGED, DRILLED, ID, LISTED, MADE, PRUNED, RESTORED, VERIFIED
from tests.daemon.cli.runner import runner_of
from tests.health import publish
from trainer.protocol.backups import BackupList, PrunedBackups
from trainer.protocol.disk import Act, CleaningPlan
from trainer.protocol.job import FaultKind
from trainer.protocol.one_shot import Refused

run = runner_of(app)
TO = ("--to", "/mnt/backup")


def refused(text):
    return Refused(message=text, fault=FaultKind.REQUEST).model_dump_json()


def test_without_a_destination_a_person_hears_where_one_is_set(layout):
    result = run(layout, "backup", "list")

    assert result.exit_code == 1
    assert str(result.exception) == (
        "backup.to is null, so there is no place for backups; set it in config.json, or give one "
        "with --to, such as --to /mnt/backup or --to sftp://user@host/folder"
    )


def test_the_destination_of_the_settings_is_taken(layout, answering):
    layout.config_file.write_text('{"backup": {"to": "sftp://me:hunter2@host/b", "keep_last": 2}}')
    answering.prepare(PRUNED.model_dump_json())

    run(layout, "backup", "prune", "--dry-run")

    assert answering.order["to"] == "sftp://me:hunter2@host/b"
    assert answering.order["task"]["keep"] == {"last": 2, "daily": 7, "weekly": 4, "monthly": 12}


def test_what_was_backed_up_is_said_with_a_warning_about_the_device(layout, answering):
    answering.prepare(MADE.model_dump_json())

    result = run(layout, "backup", "create", *TO)

    assert result.stdout.splitlines() == [
        f"{ID}: step 1,200 of the model is in /mnt/backup (13 files, 4 MB sent, 9 MB were there; 7 s)",
        "note: there is no \\x1b[31mfingerprint",
        "note: the backups are on the same device as the working directory, so one broken disk takes both; "
        "choose a folder on another disk, or another machine",
    ]
    assert answering.order["task"]["is_saw_complete"] is True


def test_the_list_has_the_damaged_ones_too(layout, answering):
    answering.prepare(LISTED.model_dump_json())

    lines = run(layout, "backup", "list", *TO).stdout.splitlines()

    assert lines[1:] == [
        f"{ID}  2026-11-22 06:06      1,200      14 MB  every 24 h 00 min, with v001",
        "manifests/20261121-060644-0265ac.json: damaged: it is no JSON",
        "15 MB are stored in /mnt/backup",
    ]


def test_an_empty_destination_says_how_a_backup_is_made(layout, answering):
    empty = BackupList(to="/mnt/backup", backups=(), damaged={}, stored_bytes=0, shares_device=True)
    answering.prepare(empty.model_dump_json())

    shown = run(layout, "backup", "list", *TO).stdout

    assert shown == (
        "/mnt/backup has no backup (if a disk belongs there, see that it is mounted); to make one: "
        "training_models backup create --to /mnt/backup\n"
    )


def test_an_empty_destination_is_not_called_whole(layout, answering):
    empty = VERIFIED.model_copy(update={"backups": 0, "objects": 0, "hashed_bytes": 0})
    answering.prepare(empty.model_dump_json())

    result = run(layout, "backup", "verify", *TO)

    assert (result.exit_code, "whole" in result.stdout) == (1, False)
    assert result.stdout.startswith("/mnt/backup has no backup to be verified")


def test_nobody_is_asked_whether_nothing_is_to_be_removed(layout, answering):
    nothing = PrunedBackups(to="/mnt/backup", removed=(), kept=(ID,), freed_objects=0, freed_bytes=0)
    answering.prepare(nothing.model_dump_json())

    result = run(layout, "backup", "prune", *TO)

    assert result.stdout.splitlines() == [
        "no backup was removed",
        "1 backup stays; 0 objects (0 bytes) freed",
    ]


@pytest.mark.parametrize("found, code", [(VERIFIED, 0), (DAMAGED, 1)])
def test_damage_is_an_exit_code(layout, answering, found, code):
    answering.prepare(found.model_dump_json())

    text = run(layout, "backup", "verify", *TO)
    as_json = run(layout, "backup", "verify", "latest", "--json", *TO)

    assert (text.exit_code, as_json.exit_code) == (code, code)
    assert ("  objects/ab/abc: it is missing\n" in text.stdout) == bool(code)
    assert json.loads(as_json.stdout)["damaged"] == found.damaged
    assert answering.order["task"]["backup"] == "latest"


@pytest.mark.parametrize("passed", [True, False])
def test_so_is_a_drill_that_fails(layout, answering, passed):
    answering.prepare(DRILLED.model_copy(update={"passed": passed}).model_dump_json())

    result = run(layout, "backup", "drill", *TO)

    assert result.exit_code == (0 if passed else 1)
    assert ("passed" if passed else "FAILED") in result.stdout


def test_a_restore_shows_its_plan_and_asks(layout, answering):
    answering.prepare(RESTORED.model_dump_json())

    refused = run(layout, "backup", "restore", "--into", "/srv/again", *TO, input="n\n")
    assert answering.order["task"]["dry_run"] is True
    done = run(layout, "backup", "restore", "--into", "/srv/again", *TO, input="y\n")

    assert "(step 1,200, 13 files, 14 MB) will be restored in /srv/again" in refused.stdout
    assert "to continue there: training_daemon start --base-dir /srv/again" in done.stdout
    # The one that was shown, though `latest` may mean another by now
    assert answering.order["task"] == {
        "kind": "restore",
        "backup": ID,
        "into": "/srv/again",
        "force": False,
        "dry_run": False,
    }


def test_without_a_folder_it_is_restored_beside_the_working_directory(layout, answering):
    answering.prepare(RESTORED.model_dump_json())

    run(layout, "backup", "restore", "--dry-run", *TO)

    assert answering.order["task"]["into"] == f"{layout.base}-restored"


@pytest.mark.parametrize("words", [("restore",), ("prune",)])
def test_json_does_not_ask(layout, answering, words):
    answering.prepare((RESTORED if words == ("restore",) else PRUNED).model_dump_json())

    result = run(layout, "backup", *words, "--json", *TO)

    assert str(result.exception) == ("--json does not ask; add --yes or --dry-run; nothing was changed")
    assert answering.order["task"]["dry_run"] is True


def test_pruning_says_what_it_removes(layout, answering):
    answering.prepare(PRUNED.model_dump_json())

    plan = run(layout, "backup", "prune", "--dry-run", *TO).stdout
    done = run(layout, "backup", "prune", "--yes", *TO).stdout

    assert plan == f"{ID} will be removed\n1 backup stays; 3 objects (9 KB) will be freed\n"
    assert done == f"{plan}{ID} is removed\n1 backup stays; 3 objects (9 KB) freed\n"


def test_why_it_cannot_be_done_is_all_that_is_said(layout, answering):
    answering.prepare(refused("sftp://me:***@host/b cannot be reached: \x1b[31mno"), code=1)

    result = run(layout, "backup", "list", *TO)

    assert str(result.exception) == "sftp://me:***@host/b cannot be reached: \\x1b[31mno"


# ---- before something is removed


def test_before_something_is_removed_a_backup_is_made_if_one_is_wanted(layout, answering):
    publish(layout, 1, step=3)
    answering.prepare(MADE.model_dump_json())
    before = Client(layout.base).backups().before

    assert before("delete") is None
    layout.config_file.write_text('{"backup": {"to": "/mnt/backup", "before": ["gc"]}}')
    assert before("delete") is None
    assert answering.module is None
    assert before("gc") == MADE

    assert answering.order["task"]["why"] == "before disk space is freed"


def test_a_version_is_backed_up_whole_before_it_is_deleted(layout, answering):
    publish(layout, 1, step=3)
    run(layout, "create")
    layout.config_file.write_text('{"backup": {"to": "/mnt/backup"}}')
    answering.prepare(refused("no route to host"), code=1)

    kept = run(layout, "delete", "v001", "--yes")
    answering.prepare(MADE.model_dump_json())
    gone = run(layout, "delete", "v001", "--yes")

    assert str(kept.exception).startswith("no backup could be made before this: no route to host; ")
    assert (gone.exit_code, answering.order["task"]["versions"]) == (0, ["v001"])
    assert (layout.models / "versions/.trash/v001").is_dir()


def test_a_version_whose_record_is_damaged_is_deleted_after_a_backup_without_its_weights(layout, answering):
    publish(layout, 1, step=3)
    run(layout, "create")
    (layout.models / "versions/v001/VERSION.json").write_text("[")
    layout.config_file.write_text('{"backup": {"to": "/mnt/backup"}}')
    answering.prepare(MADE.model_dump_json())

    gone = run(layout, "delete", "v001", "--yes")

    assert (gone.exit_code, answering.order["task"]["versions"]) == (0, [])
    assert (layout.models / "versions/.trash/v001").is_dir()


@pytest.mark.parametrize("act", ["delete", "gc", "consolidate"])
def test_a_program_that_removes_or_replaces_something_makes_a_backup_first_too(layout, answering, act):
    publish(layout, 1, step=3, method="lora")
    run(layout, "create")
    layout.config_file.write_text('{"backup": {"to": "/mnt/backup"}, "training": {"method": "lora"}}')
    answering.prepare(refused("no route to host"), code=1)
    client = Client(layout.base)
    gone = Act(path="models/checkpoints/step-000000003-1", kind="checkpoint", frees_bytes=1)
    plan = CleaningPlan(wanted_bytes=None, free_bytes=0, acts=(gone,), left=(), is_done=False)
    acts = {
        "delete": lambda: client.models.delete(client.models.find("v001")),
        "gc": lambda: client.disk.carry_out(plan),
        "consolidate": client.consolidations.carry_out,
    }

    way_out = rf'no route to host; mend that, or take "{act}" out of backup\.before'
    with pytest.raises(BackupRefused, match=way_out):
        acts[act]()

    assert (layout.models / "versions/v001").is_dir()


def test_a_backup_that_fails_forbids_what_was_to_be_done(layout, answering):
    publish(layout, 1, step=3)
    layout.config_file.write_text('{"backup": {"to": "/mnt/backup"}}')
    answering.prepare(refused("no route to host"), code=1)

    way_out = r'no route to host; mend that, or take "delete" out of backup\.before'
    with pytest.raises(BackupRefused, match=way_out):
        Client(layout.base).backups().before("delete")


def test_without_a_checkpoint_there_is_nothing_to_lose(layout, answering):
    layout.config_file.write_text('{"backup": {"to": "/mnt/backup"}}')

    assert Client(layout.base).backups().before("delete") is None


def test_forgetting_without_a_destination_has_nothing_to_do(layout):
    assert Client(layout.base).backups().forget(["a" * 64]) is None
