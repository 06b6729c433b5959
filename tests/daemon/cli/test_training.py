"""The command training: every other command under one name, loaded only when it is used."""

import importlib
import json
import os
import subprocess
import sys

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from daemon.cli.training import MODULES, app
from daemon.client import Client
from trainer.protocol.layout import Layout


@pytest.fixture
def layout(tmp_path):
    layout = Layout(tmp_path / "work")
    layout.create()
    return layout


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


def test_the_list_loads_none_of_them():
    code = (
        "import sys; from daemon.cli.training import app; "
        "app(['--help'], standalone_mode=False); "
        f"print([m for m in {[*MODULES.values(), 'rich', 'sqlite3']} if m in sys.modules], file=sys.stderr)"
    )

    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert result.stderr.strip() == "[]"


@pytest.mark.parametrize(
    "arguments, document",
    [
        (("controller", "status", "--json"), "daemon"),
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
        (("quue",), 2, "Did you mean 'queue'?"),
        (("queue", "add"), 2, "Missing argument"),
        (("queue", "remove", "no.jsonl"), 1, "no file is named no.jsonl"),
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
