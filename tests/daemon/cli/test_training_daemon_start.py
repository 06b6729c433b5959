"""training_daemon init, start, restart, install-service: what a person types, and reads."""

import json
import re

import pytest
from typer.testing import CliRunner

from daemon.cli import training_queue
from daemon.cli.training_daemon import app
from daemon.client import Client, advice, starting
from tests.health import publish
from tests.support import PATIENCE_S, eventually, rows, write_jsonl

pytestmark = pytest.mark.long


def run(*arguments, **options):
    return CliRunner().invoke(app, [*map(str, arguments)], **options)


@pytest.fixture
def stopped_at_the_end(tmp_path):
    """Stop what runs in `tmp_path / "work"`."""
    yield
    client = Client(tmp_path / "work")
    if client.status().is_running:
        client.stop(now=True, until_gone=True, wait_s=PATIENCE_S)
        starting.wait_for_lock(client.layout, PATIENCE_S)


def test_init_says_what_it_made_and_what_comes_next(tmp_path):
    result = run("init", tmp_path / "work", "--sample")

    assert result.stdout.splitlines() == [
        f"{tmp_path}/work is now a working directory",
        "inbox/sample.jsonl has 600 rows to train",
        f"start it: training_daemon --base-dir {tmp_path}/work start",
    ]


def test_init_quotes_a_folder_in_the_command_that_comes_next(tmp_path):
    result = run("init", tmp_path / "my work")

    assert result.stdout.endswith(f"start it: training_daemon --base-dir '{tmp_path}/my work' start\n")


@pytest.mark.parametrize("place", ["the argument", "behind", "before", "the variable"])
def test_init_takes_the_folder_from_wherever_it_is_given(tmp_path, place, monkeypatch):
    folder = tmp_path / "work"
    if place == "the variable":
        monkeypatch.setenv("TRAINING_BASE_DIR", str(folder))
    typed = {
        "the argument": ["init", folder],
        "behind": ["init", "--base-dir", folder],
        "before": ["--base-dir", folder, "init"],
        "the variable": ["init"],
    }[place]

    assert run(*typed, env={"TRAINING_BASE_DIR": None} if place != "the variable" else None).exit_code == 0

    assert Client(folder).is_working_directory


def test_two_folders_are_one_too_many(tmp_path):
    result = run("init", tmp_path / "one", "--base-dir", tmp_path / "two")

    assert str(result.exception) == "give either a DIR or --base-dir"


def test_options_of_the_foreground_are_not_lost_before_a_subcommand(tmp_path):
    result = run("--set", "training.epochs=2", "start", "--base-dir", tmp_path / "work")

    assert str(result.exception).startswith("only --base-dir may stand before start; put the other options")
    assert not (tmp_path / "work").exists()


def test_a_folder_whose_daemon_runs_is_not_to_be_started(tmp_path, stopped_at_the_end):
    made = run("init", tmp_path / "work").stdout
    run("start", "--base-dir", tmp_path / "work")

    again = run("init", tmp_path / "work").stdout

    assert made.endswith(f"\nstart it: training_daemon --base-dir {tmp_path / 'work'} start\n")
    assert re.fullmatch(r".* already is a working directory\nits daemon is running \(pid \d+\)\n", again)


def test_start_and_restart_say_who_runs_and_where_the_log_is(tmp_path, stopped_at_the_end):
    first = run("start", "--base-dir", tmp_path / "work", "--set", "training.epochs=2")
    second = json.loads(run("restart", "--base-dir", tmp_path / "work", "--json").stdout)

    assert first.stdout.startswith(f"{tmp_path}/work is now a working directory\nthe daemon is ready (pid ")
    assert "overridden: training.epochs=2\n" in first.stdout
    assert f"its log: {tmp_path}/work/logs/daemon.log\n" in first.stdout
    assert second["overrides"] == ["training.epochs=2"]
    assert run("restart", "--base-dir", tmp_path / "work", "--no-set", "--json").stdout.count("epochs") == 0


def test_start_and_restart_have_a_note_if_a_setting_names_a_file_that_is_not_there(
    tmp_path, stopped_at_the_end
):
    missing = ("--set", "validation.file=missing.jsonl")

    first = run("start", "--base-dir", tmp_path / "work", *missing)
    second = run("restart", "--base-dir", tmp_path / "work")
    third = run("restart", "--base-dir", tmp_path / "work", "--no-set")

    for shown in (first, second):
        assert "the daemon is ready (pid " in shown.stdout
        assert 'note: validation.file is "missing.jsonl", but ' in shown.stderr
    assert third.stderr == ""


def test_a_restart_names_what_is_wrong_in_the_settings_and_hidden(tmp_path, stopped_at_the_end):
    run("start", "--base-dir", tmp_path / "work", "--set", "training.epochs=2")
    (tmp_path / "work" / "config.json").write_text('{"training": {"epochs": 0}}')

    shown = run("restart", "--base-dir", tmp_path / "work")

    assert "the daemon is ready (pid " in shown.stdout
    assert shown.stderr.startswith("note: config.json: training.epochs is 0; expected ")
    assert shown.stderr.endswith("; --set hides this, but a daemon without it would not start\n")


def test_a_restart_has_a_note_if_a_locked_setting_is_overridden(tmp_path, stopped_at_the_end):
    run("init", tmp_path / "work")
    publish(Client(tmp_path / "work").layout, 1, locked={"data.max_length": 512})

    shown = run("start", "--base-dir", tmp_path / "work", "--set", "data.max_length=1024")

    assert (
        "note: data.max_length is 1024, but the checkpoints in models/ were trained with 512" in shown.stderr
    )


def test_a_start_says_so_if_the_daemon_stops_for_what_was_there(tmp_path, stopped_at_the_end):
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / ".stop").touch()

    shown = run("start", "--base-dir", tmp_path / "work")

    assert (
        "note: .stop was there, so this daemon stops again at once; to start one that goes on" in shown.stderr
    )
    eventually(lambda: not Client(tmp_path / "work").status().is_running)


def test_a_start_says_so_if_a_pause_still_holds(tmp_path, stopped_at_the_end):
    first = run("start", "--base-dir", tmp_path / "work")
    Client(tmp_path / "work").pause(wait_s=PATIENCE_S)

    second = run("restart", "--base-dir", tmp_path / "work")

    assert "paused" not in first.stdout
    there = f"--base-dir {tmp_path / 'work'}"
    assert f"it stays paused until: training_controller {there} resume\n" in second.stdout


@pytest.mark.parametrize("is_before", [True, False])
def test_the_commands_a_start_names_are_about_the_same_folder(
    tmp_path, stopped_at_the_end, monkeypatch, is_before
):
    monkeypatch.setenv("TRAINING_BASE_DIR", str(tmp_path))  # set anew by the option, and put back at the end
    option = ("--base-dir", tmp_path / "work")

    shown = run(*option, "start") if is_before else run("start", *option)

    assert f"stop it: training_controller --base-dir {tmp_path / 'work'} stop\n" in shown.stdout


def test_the_commands_a_start_names_are_short_in_the_folder_of_the_shell(
    tmp_path, stopped_at_the_end, monkeypatch
):
    monkeypatch.setattr(advice, "SHELLS_BASE_DIR", str(tmp_path / "work"))

    shown = run("start", "--base-dir", tmp_path / "work")

    assert "watch it: training_controller status --watch\nstop it: training_controller stop\n" in shown.stdout


def test_a_daemon_in_the_foreground_prints_no_document(tmp_path):
    result = run("--once", "--json", "--base-dir", tmp_path / "work")

    assert "--log-format json" in str(result.exception)
    assert not (tmp_path / "work").exists()


def test_restart_takes_either_other_overrides_or_none(tmp_path):
    result = run("restart", "--base-dir", tmp_path, "--no-set", "--set", "training.epochs=2")

    assert str(result.exception) == "give either --set or --no-set"


def test_a_service_is_shown_before_it_is_installed(tmp_path):
    home = tmp_path / "home"
    typed = ("install-service", "--base-dir", tmp_path / "work")

    refused = run(*typed, input="n\n", env={"HOME": str(home)})
    printed = run(*typed, "--print", env={"HOME": str(home)})

    assert f"working directory: {tmp_path}/work\n" in refused.stdout
    assert f"unit:              {home}/.config/systemd/user/training-daemon.service\n" in refused.stdout
    assert (refused.exit_code, printed.exit_code) == (1, 0)
    assert "[Service]\n" in printed.stdout
    assert not home.exists()
    assert not (tmp_path / "work").exists()


def test_another_unit_of_that_name_is_mentioned(tmp_path):
    unit = tmp_path / ".config/systemd/user/training-daemon.service"
    unit.parent.mkdir(parents=True)
    unit.write_text("[Service]\n")

    result = run("install-service", "--base-dir", tmp_path, input="n\n", env={"HOME": str(tmp_path)})

    assert "it is another one. It will be replaced." in result.stdout
    assert unit.read_text() == "[Service]\n"


def test_a_service_that_cannot_be_started_leaves_its_commands(tmp_path):
    environment = {"HOME": str(tmp_path), "PATH": str(tmp_path)}

    result = run(
        "install-service", "--base-dir", tmp_path / "work", "--yes", "--name", "two", env=environment
    )

    assert result.exit_code == 0
    assert "could not be started: systemctl is not installed" in result.stdout
    assert "  systemctl --user enable two\n" in result.stdout
    assert Client(tmp_path / "work").is_working_directory


def test_json_does_not_ask(tmp_path):
    result = run("install-service", "--base-dir", tmp_path, "--json", env={"HOME": str(tmp_path)})

    assert str(result.exception) == "--json does not ask; add --yes; nothing was changed"


# ---- training_queue add, where no daemon has run yet


def add(*arguments):
    return CliRunner().invoke(training_queue.app, ["add", *map(str, arguments)])


def test_a_file_may_be_added_before_there_is_a_working_directory(tmp_path):
    file = write_jsonl(tmp_path / "chat.jsonl", rows(2))

    result = add(file, "--base-dir", tmp_path / "work")

    assert result.stdout == "added chat.jsonl (normal)\n"
    assert result.stderr.startswith(f"{tmp_path}/work is now a working directory; start it: training_daemon ")
    assert (tmp_path / "work/inbox/normal/chat.jsonl").exists()


def test_a_file_that_is_not_there_makes_no_working_directory(tmp_path):
    result = add(tmp_path / "gone.jsonl", "--base-dir", tmp_path / "work")

    assert "gone.jsonl is not a file; nothing was added" in str(result.exception)
    assert not (tmp_path / "work").exists()
