"""A command line that cannot be understood: what is wrong with it, in one sentence of ours."""

import json
from importlib import import_module

import pytest

from daemon.cli.command_names import MODULES
from daemon.cli.options import run

MODULES = MODULES | {"": "daemon.cli.training"}
LOGS = "see: training_controller logs --help"


def said(monkeypatch, capsys, line):
    """Return what a command line prints to both streams, which must end with exit code 2."""
    program, *words = line.split()
    monkeypatch.setattr("sys.argv", [f"/usr/bin/{program}", *words])
    monkeypatch.setattr("os.umask", lambda mask: 0)
    app = import_module(MODULES[program.removeprefix("training").removeprefix("_")]).app
    with pytest.raises(SystemExit) as ended:
        run(app)
    assert ended.value.code == 2
    return capsys.readouterr()


@pytest.mark.parametrize(
    "line, words",
    [
        ("training_controller stauts", 'unknown command "stauts"; did you mean training_controller status?'),
        (
            "training_daemon stop",
            'unknown command "stop"; did you mean training_controller stop or training_monitor stop?',
        ),
        ("training queue lst", 'unknown command "lst"; did you mean training queue list?'),
        (
            "training report",
            'unknown command "report"; did you mean training data report or training models report?',
        ),
        ("training --base-dir x forget y", 'unknown command "forget"; did you mean training models forget?'),
        ("training frob", 'unknown command "frob"; see: training --help'),
        ("training_daemon --frob", "unknown option --frob; see: training_daemon --help"),
        ("training_controller status --preview", "unknown option --preview; did you mean --previews?"),
        ("training_controller stop now", "unexpected: now; see: training_controller stop --help"),
        (
            "training_data validate a b",
            "unexpected: b; it takes one FILE; see: training_data validate --help",
        ),
        ("training controller stop now", "unexpected: now; see: training controller stop --help"),
        ("training_controller logs --lines", "--lines needs a value; see: training_controller logs --help"),
        ("training_daemon --once=yes", "--once takes no value; see: training_daemon --help"),
        ("training_models tag v1", "TAG is missing; see: training_models tag --help"),
        (
            "training_daemon --log-format xml",
            '--log-format is "xml"; expected one of text, json; see: training_daemon --help',
        ),
        (
            "training_controller pause --wait soon",
            '--wait is "soon"; expected a number, at least 0; see: training_controller pause --help',
        ),
        (
            "training_daemon --set training.epochs=2 start",
            "only --base-dir may stand before start; put the other options behind it",
        ),
        ("training_controller logs -n x", '--lines is "x"; expected a whole number, at least 0; ' + LOGS),
        ("training_controller logs -n -3", '--lines is "-3"; expected at least 0; ' + LOGS),
        ("training_daemon --check-config --dry-run x", "give either --check-config or --dry-run"),
    ],
)
def test_what_is_wrong_with_a_command_line_is_one_sentence(monkeypatch, capsys, line, words):
    assert said(monkeypatch, capsys, line).err == f"error: {words}\n"


def test_a_file_that_looks_like_an_option_can_be_meant(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "-dash.jsonl").touch()

    shown = said(monkeypatch, capsys, "training_data validate -dash.jsonl").err

    assert "if the file -dash.jsonl is meant, put -- before it: -- -dash.jsonl; see: " in shown


def test_a_program_gets_the_same_sentence(monkeypatch, capsys):
    shown = said(monkeypatch, capsys, "training_controller status --json --frob")

    assert json.loads(shown.out) == {"error": "unknown option --frob; see: training_controller status --help"}
    assert shown.err == ""


def test_a_command_that_needs_a_subcommand_shows_those_it_has(monkeypatch, capsys):
    shown = said(monkeypatch, capsys, "training_controller")

    assert "Commands:\n  pause " in shown.err
    assert "error:" not in shown.err
