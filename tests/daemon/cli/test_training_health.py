"""The command training_health, run as a person runs it, without a daemon."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from daemon.cli import training_health
from daemon.cli.fault_words import WORDS, fault_words
from daemon.cli.training_health import BLOCKED_EXIT_CODE, DAMAGED_EXIT_CODE, app
from daemon.ledger.crash_rows import Crash
from daemon.ledger.ledger import Ledger
from daemon.status.board import StatusBoard
from tests.daemon.cli.runner import runner_of
from tests.health import NOW, cursor_of, damage, note_jobs, plan_of, publish, tree
from tests.support import FakeClock, rows, write_jsonl
from trainer.config.schema import Settings
from trainer.protocol.files import write_json
from trainer.protocol.job import FaultKind, Priority
from trainer.protocol.manifest import Progress
from trainer.protocol.text import utc_text

run = runner_of(app)


def run_as_a_process(base, *arguments):
    """Run the command with everything around it: exit code and both outputs."""
    command = [sys.executable, "-m", "daemon.cli.training_health", *arguments, "--base-dir", str(base)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


# ---- check


def test_a_check_of_a_new_working_directory_is_all_ok(layout):
    result = run(layout, "check")

    assert result.exit_code == 0
    assert "problems: 0, warnings: 0" in result.stdout


def test_warnings_alone_do_not_change_the_exit_code(layout):
    layout.models.chmod(0o750)

    result = run(layout, "check")

    assert result.exit_code == 0
    assert "warnings: 1" in result.stdout


def test_a_problem_is_shown_with_what_to_do_and_exit_code_1(layout):
    layout.logs.rmdir()

    result = run(layout, "check")

    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    [number] = [number for number, line in enumerate(lines) if line.startswith("problem ")]
    assert lines[number + 1].strip() == "-> create what is missing: training_health check --fix"


def test_a_setting_that_names_a_missing_file_is_a_problem(layout):
    layout.config_file.write_text('{"validation": {"file": "exam.jsonl"}}')

    result = run(layout, "check", "--json")

    assert result.exit_code == 1
    [found] = [item for item in json.loads(result.stdout)["findings"] if item["name"] == "config"]
    assert found["level"] == "problem"
    assert found["message"].startswith('validation.file is "exam.jsonl", but ')


def test_a_silent_daemon_is_a_problem(layout):
    StatusBoard(layout.status_file, daemon_pid=os.getpid(), wall_clock=lambda: NOW - 1e9).publish()

    result = run(layout, "check", "--json")

    daemon = json.loads(result.stdout)["findings"][0]
    assert (daemon["name"], daemon["level"], result.exit_code) == ("daemon", "problem", 1)


def test_fix_repairs_first_and_says_what_it_did(layout):
    layout.logs.rmdir()

    result = run(layout, "check", "--fix", "--json")

    assert result.exit_code == 0
    assert json.loads(result.stdout)["repaired"] == ["created logs/"]


def test_a_working_directory_that_lacks_folders_can_be_checked_and_repaired(layout):
    shutil.rmtree(layout.queue)
    shutil.rmtree(layout.status)

    before = run(layout, "check")
    after = run(layout, "check", "--fix")

    assert (before.exit_code, after.exit_code) == (1, 0)
    assert "queue/, queue/high/" in before.stdout


@pytest.mark.parametrize("command", ["check", "verify", "crashes"])
def test_a_folder_that_is_no_working_directory_is_one_clear_line(tmp_path, command):
    result = run_as_a_process(tmp_path, command)

    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1
    assert "is not a working directory" in result.stderr


# ---- verify


def test_verify_without_checkpoints_begins_with_the_base_model(layout):
    result = run(layout, "verify")

    assert result.exit_code == 0
    assert "base model" in result.stdout


def test_verify_shows_checkpoints_newest_first_with_pins_and_the_current_one(layout):
    old = publish(layout, 1, step=10)
    old.with_name(f"{old.name}.pin").touch()
    publish(layout, 2, step=20)

    result = run(layout, "verify")

    assert result.exit_code == 0
    newest, oldest = result.stdout.splitlines()[:2]
    assert newest.startswith("step-000000020-2  ok, current: step 20,")
    assert oldest.startswith("step-000000010-1  ok, pinned: step 10,")


def test_verify_reads_every_byte_and_says_which_checkpoint_would_be_taken(layout):
    publish(layout, 1, step=10)
    damage(publish(layout, 2, step=20))

    result = run(layout, "verify")

    assert result.exit_code == DAMAGED_EXIT_CODE
    assert "step-000000020-2  damaged, current: model.safetensors has a different SHA-256" in result.stdout
    assert "would load step-000000010-1 and continue after global step 10" in result.stdout


def test_verify_says_blocked_when_no_checkpoint_is_whole(layout):
    damage(publish(layout, 1, step=10))

    result = run(layout, "verify")

    assert result.exit_code == BLOCKED_EXIT_CODE
    assert "would be blocked" in result.stdout


def test_verify_says_blocked_when_a_setting_differs_on_which_the_checkpoints_depend(layout):
    publish(layout, 1, step=10, locked={"data.max_length": 512})
    write_json(layout.config_file, {"data": {"max_length": 1024}}, durable=False)

    result = run(layout, "verify")

    assert result.exit_code == BLOCKED_EXIT_CODE
    assert "would be blocked: data.max_length is 1024, but the checkpoints" in result.stdout
    assert "training_health unlock data.max_length" in result.stdout
    assert "would load" not in result.stdout


def test_verify_names_file_step_and_lines_that_come_next(layout):
    settings = Settings()
    path = write_jsonl(layout.processing / "chat.jsonl", rows(40))
    [job] = note_jobs(layout, (path, Priority.NORMAL))
    cursor = cursor_of(job, settings, step=2)
    publish(layout, 1, progress=Progress(global_step=7, cursors={job.id: cursor}))

    shown = run(layout, "verify").stdout
    restart = json.loads(run(layout, "verify", "--json").stdout)["restart"]

    lines = [position + 1 for position in plan_of(job, settings).positions(2)]
    assert (restart["global_step"], restart["files"]["first"]["lines"]) == (7, lines)
    assert f"queue/processing/chat.jsonl at step 3 of 3, which trains lines {lines[0]}, " in shown


def test_verify_of_a_file_with_another_inode_leaves_open_where_it_continues(layout):
    path = write_jsonl(layout.processing / "chat.jsonl", rows(40))
    note_jobs(layout, (path, Priority.NORMAL))
    shutil.copy(path, layout.processing / "copy")
    os.replace(layout.processing / "copy", path)  # as a restore does

    shown = run(layout, "verify").stdout

    assert "queue/processing/chat.jsonl would be checked first: the ledger does not know this very" in shown
    assert "if the checkpoint has steps of such a file, it continues after them; else it begins" in shown
    assert "no file is ready" not in shown


@pytest.mark.parametrize("daemon_runs", [True, False])
def test_verify_says_when_its_restart_would_be_that_of_a_crash(layout, daemon_runs):
    path = write_jsonl(layout.waiting(Priority.HIGH) / "chat.jsonl", rows(1))
    note_jobs(layout, (path, Priority.HIGH))
    StatusBoard(layout.status_file, daemon_pid=os.getpid() if daemon_runs else None).publish()

    shown = run(layout, "verify").stdout

    assert ("if it were killed now:\n" in shown) == daemon_runs
    assert "it would begin with queue/high/chat.jsonl at step 1 of 1, which trains line 1" in shown


def test_verify_says_that_a_worker_that_outlived_its_daemon_saves_first(layout, monkeypatch):
    publish(layout, 1, step=7)
    monkeypatch.setattr("daemon.client.health.find_workers", lambda base: [4711])

    shown = run(layout, "verify").stdout

    assert "a worker without a daemon saves before it exits; if it were killed now, too:\n" in shown


def test_verify_says_that_a_file_in_the_inbox_may_come_first(layout):
    path = write_jsonl(layout.waiting(Priority.LOW) / "chat.jsonl", rows(1))
    note_jobs(layout, (path, Priority.LOW))
    before = run(layout, "verify").stdout
    write_jsonl(layout.inbox / "urgent.jsonl", rows(1))

    shown = run(layout, "verify").stdout

    assert "in inbox/" not in before
    assert "1 file in inbox/ would be taken in as well; the first file may be a more urgent one" in shown


def test_verify_mentions_a_pause_that_outlives_a_restart(layout):
    write_json(layout.pause_file, {}, durable=False)

    assert "stay paused" in run(layout, "verify").stdout


def test_verify_changes_nothing(layout):
    path = write_jsonl(layout.processing / "chat.jsonl", rows(3))
    note_jobs(layout, (path, Priority.NORMAL))
    damage(publish(layout, 1))
    before = tree(layout)

    run(layout, "verify")

    assert tree(layout) == before


def test_verify_reads_the_ledger_beside_a_daemon_that_writes_it(layout):
    path = write_jsonl(layout.waiting(Priority.HIGH) / "chat.jsonl", rows(3))
    note_jobs(layout, (path, Priority.HIGH))
    ledger = Ledger(layout.ledger_file, clock=FakeClock())
    ledger.add_event("something", "not committed yet")

    result = run(layout, "verify")

    ledger.close()
    assert result.exit_code == 0
    assert "queue/high/chat.jsonl at step 1" in result.stdout


def test_verify_with_invalid_settings_judges_the_checkpoints_and_promises_no_restart(layout):
    publish(layout, 1, step=10)
    layout.config_file.write_text('{"data": {"max_lenth": 1}}')

    shown = run(layout, "verify")

    assert shown.exit_code == 2
    first, blocked, advice = shown.stdout.splitlines()
    assert first.startswith("step-000000010-1  ok")
    assert blocked.startswith('a restart would be blocked: config.json: unknown key "max_lenth"')
    assert advice == "correct config.json; docs/CONFIGURATION.md explains it"


def test_verify_with_a_damaged_ledger_still_judges_the_checkpoints(layout):
    publish(layout, 1, step=10)
    layout.ledger_file.write_bytes(b"nonsense" * 100)

    shown = run(layout, "verify")
    restart = json.loads(run(layout, "verify", "--json").stdout)["restart"]

    assert shown.exit_code == 0
    assert "step-000000010-1  ok" in shown.stdout
    assert "cannot tell which file would come first" in shown.stdout
    assert "status/ledger.sqlite3" in restart["files"]["reason"]


def test_verify_of_an_incomplete_working_directory_says_what_is_missing(layout):
    layout.processing.rmdir()

    result = run(layout, "verify")

    assert result.exit_code == 0
    assert "No such file or directory" in result.stdout


def test_verify_skips_a_checkpoint_that_retention_removes_meanwhile(layout, monkeypatch):
    publish(layout, 1, step=10)
    publish(layout, 2, step=20)
    read = training_health._progress

    def progress(text, is_shown):
        if "step-000000010" in text:
            shutil.rmtree(layout.models / "checkpoints" / "step-000000010-1")
        return read(text, is_shown)

    monkeypatch.setattr(training_health, "_progress", progress)

    result = run(layout, "verify")

    assert result.exit_code == 0
    assert "step-000000010" not in result.stdout


def test_hostile_names_are_shown_harmlessly(layout):
    path = publish(layout, 1, step=10)
    path.rename(path.with_name("step-\x1b]0;owned\x07"))

    result = run(layout, "verify")

    assert "step-\\x1b]0;owned\\x07" in result.stdout
    assert "\x1b" not in result.stdout


# ---- crashes


def note_crashes(layout, *crashes):
    ledger = Ledger(layout.ledger_file, clock=FakeClock(NOW))
    for kind, message in crashes:
        ledger.add_crash(
            Crash(
                kind=kind, message=message, details=None, job_id="j", display="chat.jsonl", global_step=1500,
                file_step=12,
            )
        )  # fmt: skip
    ledger.close()


def test_without_crashes_there_is_nothing_to_show(layout):
    assert run(layout, "crashes").stdout == "no worker has crashed so far\n"


@pytest.mark.parametrize("kind, words", [("bad_config", "invalid settings"), ("environment", "environment")])
def test_what_blocked_training_is_shown_but_not_called_a_crash(layout, kind, words):
    note_crashes(layout, (FaultKind(kind), "no such folder"))

    first, second, *_ = run(layout, "crashes").stdout.splitlines()
    [group] = json.loads(run(layout, "crashes", "--json").stdout)

    assert first == "no worker has crashed so far"
    assert second.startswith(f"1 x {words} (no crash, but training was blocked), most recently at ")
    assert not group["is_crash"]


def test_a_ledger_of_an_older_release_has_no_crashes(layout):
    database = sqlite3.connect(layout.ledger_file)
    database.execute("CREATE TABLE jobs (id TEXT)")
    database.close()

    assert json.loads(run(layout, "crashes", "--json").stdout) == []


def test_crashes_are_counted_by_kind_and_described_by_the_newest(layout):
    note_crashes(
        layout,
        (FaultKind.CRASH, "killed by SIGSEGV"),
        (FaultKind.OUT_OF_MEMORY, "older"),
        (FaultKind.OUT_OF_MEMORY, "newer"),
    )

    groups = json.loads(run(layout, "crashes", "--json").stdout)
    shown = run(layout, "crashes").stdout

    assert [(group["kind"], group["count"], group["message"]) for group in groups] == [
        ("out_of_memory", 2, "newer"),
        ("crash", 1, "killed by SIGSEGV"),
    ]
    assert "file: chat.jsonl, at its step 12" in shown
    assert "last global step: 1,500" in shown
    assert "training.micro_batch_tokens" in shown
    assert "no crash" not in shown
    assert "no worker" not in shown


@pytest.mark.parametrize("has_checkpoint", [True, False])
def test_of_a_worker_that_crashed_while_loading_it_is_said_what_it_loaded(layout, has_checkpoint):
    ledger = Ledger(layout.ledger_file, clock=FakeClock(NOW))
    saved = {"kind": "checkpoint", "message": "saved", "job_id": None}
    if has_checkpoint:
        ledger.add_event(**saved, data={"path": "checkpoints/step-1"}, at=utc_text(NOW - 1), level="info")
    ledger.add_crash(
        Crash(
            kind=FaultKind.CRASH, message="killed by SIGKILL", details=None, job_id=None, display=None,
            global_step=None, file_step=None,
        )
    )  # fmt: skip
    ledger.add_event(**saved, data={"path": "checkpoints/step-2"}, at=utc_text(NOW + 1), level="info")
    ledger.close()

    shown = run(layout, "crashes").stdout

    loaded = "checkpoints/step-1" if has_checkpoint else "the base model"
    assert f"last global step: none yet; the worker was still loading {loaded}\n" in shown


def test_the_limit_leaves_older_crashes_out(layout):
    note_crashes(layout, (FaultKind.CRASH, "old"), (FaultKind.HANG, "new"))

    groups = json.loads(run(layout, "crashes", "--limit", "1", "--json").stdout)

    assert [group["kind"] for group in groups] == ["hang"]


@pytest.mark.parametrize("kind", list(FaultKind))
def test_every_kind_is_shown_in_words_and_recorded_by_its_name(layout, kind):
    note_crashes(layout, (kind, "what happened"))

    [heading] = [line for line in run(layout, "crashes").stdout.splitlines() if line.startswith("1 x ")]
    [group] = json.loads(run(layout, "crashes", "--json").stdout)

    assert kind in WORDS
    assert heading.startswith(f"1 x {fault_words(kind)}")
    assert "most recently at " in heading
    assert group["kind"] == kind


@pytest.mark.parametrize("kind", list(FaultKind))
def test_every_kind_has_advice_of_its_own(layout, kind):
    note_crashes(layout, (kind, "what happened"))

    [group] = json.loads(run(layout, "crashes", "--json").stdout)

    assert group["advice"]
    assert "Another release" not in group["advice"]


def test_a_crash_of_an_unknown_kind_is_shown_harmlessly(layout):
    note_crashes(layout, (FaultKind.CRASH, "m"))
    database = sqlite3.connect(layout.ledger_file)
    database.execute("UPDATE crashes SET kind='\x1b[2J', message='\x1b[31m', display=NULL, file_step=NULL")
    database.commit()
    database.close()

    result = run(layout, "crashes")

    assert result.exit_code == 0
    assert "1 x \\x1b[2J" in result.stdout
    assert "\x1b" not in result.stdout


# ---- all of them


def test_the_command_loads_what_it_needs_only_when_it_needs_it():
    dear = ("psutil", "rich", "sqlite3", "trainer.config.schema")
    code = f"import sys, daemon.cli.training_health; print([m for m in {dear} if m in sys.modules])"

    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert result.stdout.strip() == "[]"


def test_no_summary_is_cut_in_the_help_of_a_narrow_terminal():
    result = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "80"})

    commands = result.stdout.partition("Commands:")[2]
    assert "unlock" in commands
    assert "..." not in commands
