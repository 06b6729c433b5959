"""The command training_models: versions are made, named, explained and deleted as a person asks for it."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest

from daemon.cli.models_view import list_lines, rollback_lines
from daemon.cli.training_models import app
from daemon.client import Client
from daemon.client.rollback import RollbackPlan, Rollbacks
from daemon.files.identity import Identity
from daemon.jobs.going_back import AffectedFile
from daemon.ledger.ledger import Ledger
from daemon.status.board import StatusBoard
from tests.daemon.cli.runner import runner_of
from tests.daemon.ledger.entries import step
from tests.health import damage, publish
from tests.support import FakeClock
from trainer.protocol.job import Job, Priority
from trainer.protocol.layout import Layout
from trainer.protocol.manifest import Progress

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


def measured(loss, weights, *, step):
    return Progress(global_step=step, validation_loss=loss, validation_weights=weights, validated_step=step)


def test_a_version_says_whose_validation_loss_it_has(layout):
    publish(layout, 1, progress=measured(2.5, "last", step=3))
    run(layout, "create")
    publish(layout, 2, progress=measured(1.25, "average", step=5))
    run(layout, "create")

    titles, first, second = run(layout, "list", env={"COLUMNS": "80"}).stdout.splitlines()

    assert titles.endswith("  NEW FILES  VALIDATION       NAMES AND NOTE")
    assert first.endswith("          0  2.5000")
    assert second.endswith("          0  1.2500 averaged  current")
    assert "  validation  1.2500 averaged\n" in run(layout, "show", "v002").stdout
    assert "  validation  2.5000\n" in run(layout, "show", "v001").stdout
    report = run(layout, "report").stdout
    assert "v001  step 3, validation 2.5000, by hand" in report
    assert "v002  step 5, validation 1.2500 averaged, by hand" in report
    [_, last] = json.loads(run(layout, "list", "--json").stdout)["versions"]
    assert (last["validation_loss"], last["validation_weights"]) == (1.25, "average")


def test_where_no_average_was_kept_the_list_is_narrow(layout):
    publish(layout, 1, progress=measured(2.5, "last", step=3))
    run(layout, "create")

    titles, line = run(layout, "list").stdout.splitlines()

    assert titles.endswith("  NEW FILES  VALIDATION  NAMES AND NOTE")
    assert line.endswith("          0      2.5000  current")


def test_names_that_find_no_room_stand_whole_below_their_version(trained):
    note = "before the holidays, with the letters of March and April"
    run(trained, "create", "--note", note)

    lines = list(list_lines(Client(trained.base).models.versions(), {}, columns=80))

    assert [line.strip() for line in lines[2:]] == [f"current, {note}"]
    assert all(len(line) <= 80 for line in lines)


@pytest.mark.parametrize(
    "is_running, said",
    [
        (True, "the daemon goes back all the same; training_controller status shows when it has\n"),
        (
            False,
            "the model has gone back or is as it was; training_controller status shows its step\n",
        ),
    ],
)
def test_after_ctrl_c_it_says_whether_the_model_goes_back(trained, monkeypatch, is_running, said):
    run(trained, "create", "step-000000003-1")
    if is_running:
        StatusBoard(trained.status_file, daemon_pid=os.getpid()).publish()

    def interrupt(*arguments, **named):
        raise KeyboardInterrupt

    monkeypatch.setattr(Rollbacks, "carry_out", interrupt)

    result = run(trained, "rollback", "--to", "v001", "--yes")

    assert result.exit_code == 130
    assert result.stderr.endswith(said)


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
    assert "    urgent.jsonl  step 4, processing\n" in shown
    assert [(file["name"], file["first_step"], file["last_step"]) for file in lineage["files"]] == [
        ("chat.jsonl", 1, 5),
        ("urgent.jsonl", 4, 4),
    ]


def test_a_lineage_says_of_each_file_how_it_ended_and_how_many_rows_it_has_in_all(trained):
    run(trained, "create")

    heading, *files = run(trained, "lineage", "v001").stdout.splitlines()

    assert heading.split() == ["FILE", "STEPS", "ALL", "ROWS", "OUTCOME", "SHA-256"]
    assert [line.split()[:-1] for line in files] == [
        ["chat.jsonl", "some", "of", "1", "to", "5", "9", "processing"],
        ["urgent.jsonl", "4", "to", "4", "9", "processing"],
    ]


def test_a_version_says_that_steps_between_those_of_a_file_are_those_of_another(trained):
    run(trained, "create")

    shown = run(trained, "show", "v001").stdout

    assert "  2 files from the base model on:\n    chat.jsonl  some of steps 1 to 5, processing\n" in shown


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


def test_a_setting_that_had_no_entries_is_not_said_to_have_become_null(layout):
    publish(layout, 1, step=3, settings={"validation": {"suites": {}}})
    publish(layout, 2, step=5, settings={"validation": {"suites": {"sums": "sums.jsonl"}}})
    run(layout, "create", "step-000000003-1")
    run(layout, "create")

    forward, back = run(layout, "diff-config", "v001", "v002"), run(layout, "diff-config", "v002", "v001")

    assert forward.stdout == 'validation.suites.sums: null -> "sums.jsonl"\n'
    assert back.stdout == 'validation.suites.sums: "sums.jsonl" -> null\n'


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
    assert str(result.exception) == (
        "v001 is what deployed means; let that mean another version, or nothing, first: "
        "training_models alias deployed --remove"
    )
    assert "Go ahead" not in result.stdout


def test_a_version_that_is_not_there_is_said_to_be_deleted_or_unknown(trained):
    before = run(trained, "show", "v001")
    run(trained, "create")
    run(trained, "delete", "v001", "--yes")
    deleted = run(trained, "lineage", "v001")
    run(trained, "create", "step-000000003-1")
    unknown = run(trained, "show", "v009")

    assert [str(result.exception) for result in (before, deleted, unknown)] == [
        "no version is named 'v001'; there are none; to make one of the newest checkpoint: "
        "training_models create",
        "v001 is deleted; to bring it back: training_models undelete v001",
        "no version is named 'v009'; expected one of: v002",
    ]


def test_a_name_that_means_nothing_says_what_does(trained, layout):
    run(trained, "create")
    run(trained, "alias", "best", "v001")

    meaning, removed, then = (
        run(trained, "alias", "deployed"),
        run(trained, "alias", "deployed", "--remove"),
        run(trained, "alias", "current", "--at", "2026-11-20"),
    )

    assert [str(result.exception) for result in (meaning, removed, then)] == [
        "no alias is named 'deployed'; there are: best; to let it mean a version: training_models alias "
        "deployed VERSION",
        "no alias is named 'deployed'; there are: best",
        "current is no alias: nobody sets it, so what it meant then is not known; expected a name of your "
        "own, such as deployed",
    ]


def test_before_there_is_a_checkpoint_nothing_else_is_said(layout):
    shown, made = run(layout, "show", "current"), run(layout, "create")

    assert [str(result.exception) for result in (shown, made)] == [
        "there is no checkpoint yet, so no version is current; the first is saved when something is trained",
        f"{layout.models / 'checkpoints'} has no checkpoint yet; the first file that is trained brings one",
    ]


def test_a_file_name_of_several_contents_is_refused_with_all_of_them(trained):
    ledger = Ledger(trained.ledger_file, clock=FakeClock())
    job = Job(id="3", name="chat.jsonl", priority=Priority.LOW, sha256="3" * 64, rows=9, size_bytes=1)
    ledger.add_job(job, Identity(device=1, inode=3, size=1, mtime_ns=1), "processing")
    ledger.add_steps([step(6, job_id="3", file_step=1)])
    ledger.close()
    run(trained, "create")
    publish(trained, 3, step=6)
    run(trained, "create")

    by_name = run(trained, "lineage", "chat.jsonl")
    by_content = run(trained, "lineage", "33333333")

    assert str(by_name.exception) == (
        "chat.jsonl means 2 different contents; say which by its SHA-256: 111111111111 is in v001, v002; "
        "333333333333 is in v002"
    )
    assert by_content.stdout == "chat.jsonl (333333333333) is in v002\n"


def test_a_version_without_weights_is_not_said_to_load(trained):
    run(trained, "create")
    (trained.models / "versions" / "v001" / "model.safetensors").unlink()

    shown = run(trained, "show", "v001")
    compared = run(trained, "compare", "v001", "v001")
    returned = run(trained, "rollback", "--to", "v001")

    assert "  weights     not here: of a backup without them, only the record was restored\n" in shown.stdout
    assert json.loads(run(trained, "show", "v001", "--json").stdout)["has_weights"] is False
    for refused in (compared, returned):
        assert str(refused.exception).startswith("the weights of v001 are not here: ")


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


@pytest.mark.parametrize("kind", ["changed", "missing", "pipe"])
def test_a_version_whose_record_is_damaged_goes_through_the_trash_like_any_other(trained, kind):
    run(trained, "create")
    run(trained, "alias", "deployed", "v001")
    folder = trained.models / "versions/v001"
    record = folder / "VERSION.json"
    if kind == "changed":
        record.write_text("[")
    else:
        record.unlink()
    if kind == "pipe":
        os.mkfifo(record)

    meant = run(trained, "delete", "deployed", "--yes")
    run(trained, "alias", "deployed", "--remove")
    plan = run(trained, "delete", "v001", "--dry-run").stdout
    assert folder.is_dir()
    deleted = run(trained, "delete", "latest", "--yes")
    is_gone = not folder.exists()
    back = run(trained, "undelete", "v001")

    assert str(meant.exception).startswith("v001 is what deployed means; ")
    assert plan.startswith("v001 will be moved to the trash; its record is damaged: ")
    assert deleted.stdout.startswith(plan)
    assert "\nv001: moved to the trash; " in deleted.stdout
    assert is_gone
    assert back.stdout == f"v001: back in {folder}\n"
    assert (folder / "model.safetensors").is_file()


def test_a_name_of_a_file_cannot_write_into_the_card(trained):
    ledger = Ledger(trained.ledger_file, clock=FakeClock())
    ledger.rename_job("1", "a`|<b>\x1b[2J\n# title.jsonl")
    ledger.close()

    run(trained, "create")

    card = (trained.models / "versions" / "v001" / "README.md").read_text()
    assert "`a'\\|<b>\\x1b[2J\\n# title.jsonl`" in card
    assert "\n# title" not in card


def test_the_command_loads_what_it_needs_only_when_it_needs_it():
    dear = ("daemon.data_tools", "fsspec", "rich", "sqlite3", "trainer.config.schema")
    code = f"import sys, daemon.cli.training_models; print([m for m in {dear} if m in sys.modules])"

    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert result.stdout.strip() == "[]"


def test_a_plan_to_go_back_tells_a_file_that_was_trained_twice_apart():
    files = [("1", "chat.jsonl", 61, 61), ("2", "new.jsonl", 62, 70), ("3", "chat.jsonl", 71, 1072)]
    plan = RollbackPlan(
        target="versions/v001",
        target_step=60,
        current_step=1072,
        files=tuple(
            AffectedFile(job_id=job_id, name=name, first_step=first, last_step=last, fate="requeued")
            for job_id, name, first, last in files
        ),
    )

    assert list(rollback_lines(plan))[1:] == [
        "  chat.jsonl (job 1, step 61) is undone and is trained again",
        "  new.jsonl (steps 62 to 70) is undone and is trained again",
        "  chat.jsonl (job 3, steps 71 to 1,072) is undone and is trained again",
    ]
    undone = [replace(file, fate="undone") for file in plan.files]
    assert list(rollback_lines(replace(plan, files=tuple(undone))))[-2:] == [
        "  chat.jsonl (job 3, steps 71 to 1,072) is undone",
        "what is undone goes to queue/skipped/, unless its file is queued or in the model again",
    ]
