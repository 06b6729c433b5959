"""The command training: every other command under one name, loaded only when it is used."""

import importlib
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from daemon.cli.command_names import MODULES
from daemon.cli.training import SHORTCUTS, app
from daemon.client import Client, advice
from daemon.status.board import StatusBoard
from tests.health import publish
from tests.support import rows, write_jsonl
from trainer import __version__
from trainer.protocol.status import LastError, QueueCounts, State


def process(layout, *arguments):
    """Run the command with everything around it: exit code, both outputs."""
    command = [sys.executable, "-m", "daemon.cli.training", *arguments]
    environment = os.environ | {"TRAINING_BASE_DIR": str(layout.base)}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


@pytest.mark.parametrize("name", MODULES)
def test_the_list_says_of_each_command_what_its_own_help_says(name):
    own = get_command(importlib.import_module(MODULES[name]).app)

    listed = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200"}).stdout

    summary = own.get_short_help_str(200)
    assert f"{name}  " in listed
    assert summary.partition(". ")[0].rstrip(".?") in listed


@pytest.mark.parametrize("name", SHORTCUTS)
def test_the_list_says_of_each_shortcut_what_its_own_help_says(name):
    controller = get_command(importlib.import_module(MODULES["controller"]).app)

    own = controller.commands[name].get_short_help_str(200)

    assert own.startswith(SHORTCUTS[name].removesuffix("."))
    assert CliRunner().invoke(app, [name, "--help"]).stdout.partition("Options:")[2]


def test_every_command_of_the_controller_has_a_shortcut():
    controller = get_command(importlib.import_module(MODULES["controller"]).app)

    assert SHORTCUTS.keys() == controller.commands.keys()


def test_the_list_loads_none_of_them():
    code = (
        "import sys; from daemon.cli.training import app; "
        "app(['--help'], standalone_mode=False); "
        f"print([m for m in {[*MODULES.values(), 'rich', 'sqlite3']} if m in sys.modules], file=sys.stderr)"
    )

    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert result.stderr.strip() == "[]"


@pytest.mark.long
@pytest.mark.parametrize(
    "arguments, document",
    [
        (("controller", "status", "--json"), "daemon"),
        (("controller", "plot", "--json"), "points"),
        (("queue", "status", "--json"), "processing"),
        (("health", "check", "--json"), "findings"),
        (("daemon", "--check-config", "--json"), "origins"),
    ],
)
def test_each_does_and_prints_what_it_does_by_itself(layout, arguments, document):
    alone = [sys.executable, "-m", f"daemon.cli.training_{arguments[0]}", *arguments[1:]]

    by_one_name = process(layout, *arguments)
    by_itself = subprocess.run(
        [*alone, "--base-dir", str(layout.base)], capture_output=True, text=True, check=False
    )

    assert by_one_name.returncode == by_itself.returncode
    assert json.loads(by_one_name.stdout).keys() == json.loads(by_itself.stdout).keys()
    assert document in json.loads(by_one_name.stdout)


def test_the_base_dir_may_stand_before_any_command(layout):
    result = CliRunner().invoke(app, ["--base-dir", str(layout.base), "queue", "list", "--json"])

    assert (result.exit_code, json.loads(result.stdout)) == (0, [])


@pytest.mark.parametrize(
    "arguments, code, words",
    [
        (("quue",), 2, "did you mean training queue?"),
        (("queue", "add"), 2, "FILE is missing"),
        (("queue", "remove", "no.jsonl"), 1, "no file is named no.jsonl"),
        (("queue", "retry", "no.jsonl"), 1, "list --skipped and list --trash show them"),
        (("controller", "pause"), 3, "start one with: training_daemon"),
        (("follow", "nobody"), 1, "no follower is named 'nobody'"),
    ],
)
def test_an_error_is_that_of_the_command(layout, arguments, code, words):
    result = process(layout, *arguments)

    assert result.returncode == code
    assert words in result.stderr


def test_completion_is_offered_for_the_one_name_only():
    shown = CliRunner().invoke(app, ["queue", "--help"]).stdout

    assert "--install-completion" not in shown
    assert "--install-completion" in CliRunner().invoke(app, ["--help"]).stdout


def test_events_are_passed_on_to_a_follower(layout, monkeypatch):
    asked = []

    def follow(self, name, *, wait, report, started):
        started()
        asked.append((name, wait()))
        report("2 events are lost")

    monkeypatch.setattr(Client, "follow", follow)

    result = CliRunner().invoke(app, ["follow", "json_lines", "--once", "--base-dir", str(layout.base)])

    assert asked == [("json_lines", False)]
    where = f"passing events on to {layout.logs / 'events.jsonl'}"
    assert result.stderr.splitlines() == [where, "2 events are lost"]


def test_a_shortcut_does_what_the_controller_does(layout):
    short, long = process(layout, "status", "--json"), process(layout, "controller", "status", "--json")

    assert (short.returncode, short.stdout) == (long.returncode, long.stdout) == (3, long.stdout)
    found = json.loads(short.stdout)
    assert (found["daemon"], found["heartbeat_age_s"]) == ("never started", None)


# ---- alone


def test_alone_it_says_in_five_lines_how_to_start_where_nothing_is(tmp_path):
    result = CliRunner().invoke(app, ["--base-dir", str(tmp_path / "new\x1b")])

    assert result.exit_code == 0
    first, *rest = result.stdout.splitlines()
    assert first.endswith("new\\x1b is not a working directory yet")
    assert len(rest) == 4
    assert "training daemon" in rest[0]
    assert not (tmp_path / "new\x1b").exists()


def show(
    layout, state=State.TRAINING, *, pid=None, reason=None, alerts=(), warnings=(), is_here=True, **fields
):
    """Publish a status; return what the command says alone, by default in the folder of the shell."""
    board = StatusBoard(layout.status_file, daemon_pid=os.getpid() if pid is None else pid)
    board.set_state(state, reason)
    board.set(**fields)
    for number, alert in enumerate([*warnings, *alerts]):
        board.alert(str(number), alert, is_warning=alert in warnings)
    board.publish()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(advice, "SHELLS_BASE_DIR", str(layout.base) if is_here else None)
        result = CliRunner().invoke(app, ["--base-dir", str(layout.base)])
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    names = [line.split()[0] for line in lines]
    assert names == ["daemon", "file", "queue", names[3], "next"]
    assert names[3] in ("errors", "warning")
    return {line.split()[0]: line.partition(" ")[2].strip() for line in lines}


def test_alone_it_says_how_far_training_is(layout):
    said = show(
        layout, current_file="a.jsonl", file_step=3, file_total_steps=1000, loss=2.5, tokens_per_sec=9.0,
        eta_s=75.0, queue=QueueCounts(high=1, normal=2, failed=4, recently_completed=5),
    )  # fmt: skip

    assert said["daemon"] == f"running (pid {os.getpid()}), training"
    assert said["file"] == "a.jsonl: step 3 of 1,000, loss 2.5000, 1 min 15 s left"
    assert said["queue"] == "3 files waiting, 5 completed, 4 failed, 0 skipped"
    assert said["errors"] == "4 files failed (training queue list --failed)"


def test_alone_it_says_that_there_are_no_errors(layout):
    assert show(layout)["errors"] == "none"


def test_alone_it_does_not_promise_an_end_while_training_is_paused(layout):
    said = show(layout, State.PAUSED, current_file="a.jsonl", file_step=3, file_total_steps=9, eta_s=75.0)

    assert said["file"] == "a.jsonl: step 3 of 9"


def test_alone_it_shows_no_loss_of_the_file_before(layout):
    said = show(layout, current_file="a.jsonl", file_step=0, file_total_steps=9, loss=0.5)

    assert said["file"] == "a.jsonl: step 0 of 9"


def test_alone_it_says_what_is_done_while_no_step_is_taken(layout):
    fields = {
        "current_file": "a.jsonl",
        "file_step": 0,
        "file_total_steps": 9,
        "worker_section": "evaluating",
    }

    assert show(layout, **fields)["file"] == "a.jsonl: step 0 of 9, evaluating"
    assert show(layout, State.PAUSED, **fields)["file"] == "a.jsonl: step 0 of 9"


def test_alone_it_says_which_file_is_being_forgotten(layout):
    said = show(layout, State.TRAINING, reason="forgetting a.jsonl: trained again up to step 4 of 9")

    assert said["file"] == "forgetting a.jsonl: trained again up to step 4 of 9"
    assert show(layout, State.IDLE, reason="odd")["file"] == "none is being trained"


def test_alone_it_names_the_file_that_failed(layout):
    failed = LastError(
        error_class="BadFile", message="odd " * 100, file="name " * 20, at="2026-01-01T00:00:00.000Z"
    )

    said = show(layout, State.IDLE, last_error=failed)["errors"]

    assert said.startswith("name name name name…: odd odd ")
    assert len(f"errors  {said}") <= 80


@pytest.mark.parametrize("state", State)
def test_alone_it_advises_what_is_about_the_same_folder(layout, state):
    here, away = show(layout, state), show(layout, state, is_here=False)

    option = f" --base-dir {layout.base}"
    commands = here["next"].removesuffix("; training --help lists all commands").count("training ")
    assert away["next"].count(option) == commands > 0
    assert away["next"].replace(option, "") == here["next"]


def test_alone_it_says_where_more_errors_are_shown(layout):
    said = show(layout, alerts=["odd"], is_here=False)["errors"]

    assert said == f"odd (training status --base-dir {layout.base})"


def test_alone_it_counts_what_lies_in_the_inbox(layout):
    (layout.inbox / "b.jsonl").write_text("")

    assert show(layout)["queue"] == "0 files waiting, 1 in inbox/, 0 completed, 0 failed, 0 skipped"


@pytest.mark.parametrize(
    "state, queue, said",
    [
        (State.TRAINING, {}, "training status --watch"),
        (State.PAUSED, {}, "training resume"),
        (State.BLOCKED, {}, "training health check"),
        (State.STOPPED, {}, "training daemon"),
        (State.IDLE, {}, "training queue add FILE"),
        (State.IDLE, {"failed": 1}, "training queue list --failed"),
    ],
)
def test_alone_it_names_what_one_can_do_next(layout, state, queue, said):
    assert show(layout, state, queue=QueueCounts(**queue))["next"].startswith(said)


@pytest.mark.parametrize("state", State)
def test_whatever_it_advises_exists(layout, state):
    words = show(layout, state)["next"].partition(";")[0]

    for command in words.split(", "):
        _, *names = [word for word in command.split() if word.islower() and not word.startswith("-")][:3]
        assert CliRunner().invoke(app, [names[0], "--help"]).exit_code == 0, command


def test_alone_it_shows_the_first_of_several_alerts_harmlessly(layout):
    said = show(layout, alerts=["\x1b[2Jodd", "worse"])

    assert said["errors"] == "\\x1b[2Jodd (1 more; training status)"


def test_a_warning_is_shown_as_one_and_after_errors(layout):
    died = LastError(error_class="Crash", message="it was killed", file=None, at="2026-01-01T00:00:00.000Z")

    assert show(layout, warnings=["low", "odd"])["warning"] == "low (1 more; training status)"
    assert show(layout, warnings=["low"], alerts=["worse"])["errors"] == "worse (1 more; training status)"
    assert show(layout, warnings=["low"], last_error=died)["errors"].startswith("it was killed (1 more; ")


def test_a_long_message_takes_one_line(layout):
    said = show(layout, alerts=["odd " * 100])

    assert len(f"errors  {said['errors']}") <= 80
    assert said["errors"].endswith("… (training status)")


def test_a_started_file_of_a_stopped_daemon_is_to_be_continued(layout):
    write_jsonl(layout.processing / "a.jsonl", rows(1))

    said = show(layout, State.STOPPED)

    assert said["file"] == "1 in queue/processing/, to be continued"


def test_alone_it_names_the_version_that_the_model_is(layout):
    publish(layout, 1, step=3)
    Client(layout.base).models.create()

    assert show(layout, State.IDLE)["file"] == "none is being trained; the model is version v001"

    publish(layout, 2, step=5)

    assert show(layout, State.IDLE)["file"] == "none is being trained"


def test_what_blocks_training_comes_before_what_failed_since(layout):
    failed = LastError(
        error_class="BadFile", message="it is empty", file="a.jsonl", at="2026-01-01T00:00:00.000Z"
    )

    said = show(layout, State.BLOCKED, reason="no space left", last_error=failed)

    assert said["errors"] == "no space left (1 more; training status)"


def test_an_error_that_is_also_an_alert_counts_once(layout):
    died = LastError(error_class="Crash", message="it was killed", file=None, at="2026-01-01T00:00:00.000Z")

    said = show(layout, last_error=died, alerts=["worse", "it was killed"])

    assert said["errors"] == "it was killed (1 more; training status)"


@pytest.mark.parametrize(
    "when, is_advised",
    [
        ("after the current file", True),
        ("before training starts", True),
        ("at the next step", False),
    ],
)
def test_a_resume_is_advised_only_for_a_stop_that_it_takes_back(layout, when, is_advised):
    said = show(layout, State.STOPPING, reason=when)

    assert ("training resume continues instead of stopping" in said["next"]) == is_advised


def test_a_pause_that_holds_at_the_next_start_is_said(layout):
    (layout.control / ".pause").touch()

    said = show(layout, State.STOPPED)

    assert said["daemon"].endswith("; the next one starts paused")


def test_programs_get_the_status_and_what_lies_in_the_inbox(layout):
    write_jsonl(layout.inbox / "a.jsonl", rows(1))

    result = process(layout, "--json")

    found = json.loads(result.stdout)
    assert (found["status"]["daemon"], found["in_inbox"], found["next"]) == (
        "never started",
        1,
        "training daemon start",
    )


def test_json_before_a_subcommand_is_refused(layout):
    result = process(layout, "--json", "status")

    assert (result.returncode, json.loads(result.stdout)) == (2, {"error": "put --json behind status"})


# ---- the version


@pytest.mark.parametrize("module", ["daemon.cli.training", *MODULES.values()])
def test_every_command_says_its_version(module):
    result = CliRunner().invoke(importlib.import_module(module).app, ["--version"])

    assert (result.exit_code, result.stdout) == (0, f"training-daemon {__version__}\n")


def test_the_version_is_written_down_in_one_place():
    settings = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())

    assert "version" in settings["project"]["dynamic"]
    assert settings["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "trainer.__version__"}


def test_a_folder_in_which_no_daemon_has_run_is_named(layout):
    said = process(layout).stdout

    assert f"in {layout.base}); TRAINING_BASE_DIR or --base-dir chooses another folder" in said


def test_after_a_daemon_was_killed_the_next_thing_is_to_start_one(layout):
    board = StatusBoard(layout.status_file, daemon_pid=2**22 + 1)  # more than the kernel gives
    board.set_state(State.IDLE)
    board.publish()

    assert "next    training daemon start; " in process(layout).stdout
