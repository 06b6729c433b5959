"""What all commands have in common."""

import errno
import io
import os
from pathlib import Path

import pytest
import typer

from daemon.cli.asking import show
from daemon.cli.logs_view import print_entries
from daemon.cli.options import client_of, in_words, run, say, say_problem, typed_here
from daemon.client.log_entries import LogEntry


@pytest.mark.parametrize("fails", [False, True])
def test_what_a_terminal_cannot_show_is_escaped(monkeypatch, fails):
    streams = {name: io.TextIOWrapper(io.BytesIO(), encoding="ascii") for name in ("stdout", "stderr")}
    for name, stream in streams.items():
        monkeypatch.setattr(f"sys.{name}", stream)
    monkeypatch.setattr("sys.argv", ["training_queue"])
    monkeypatch.setattr("os.umask", lambda mask: 0)
    app = typer.Typer()

    @app.command()
    def say() -> None:
        if fails:
            raise OSError("naïve.jsonl is gone")
        print("naïve.jsonl")

    with pytest.raises(SystemExit):
        run(app)

    for stream in streams.values():
        stream.flush()
    said = {name: stream.buffer.getvalue() for name, stream in streams.items()}
    shown = {"stdout": b"", "stderr": b"error: na\\xefve.jsonl is gone\n"}
    assert said == (shown if fails else {"stdout": b"na\\xefve.jsonl\n", "stderr": b""})


@pytest.mark.parametrize("columns", [30, 80])
def test_a_long_message_is_broken_between_words_and_loses_none(columns):
    message = "error: config.json: training.learning_rate is 2; expected a number in (0, 1)"

    lines = in_words(message, columns, indent=7)

    assert all(len(line) <= columns for line in lines)
    assert all(line.startswith("       ") for line in lines[1:])
    assert " ".join(lines).split() == message.split()


def test_what_goes_into_a_file_is_not_broken():
    assert in_words("word " * 100, None) == ["word " * 100]


def test_lines_that_a_message_has_stay_and_a_long_path_is_whole():
    path = "/" + "a" * 100

    assert in_words(f"first\n\nthen {path}", 40) == ["first", "", "then", path]


def test_an_error_is_wrapped_for_a_terminal_alone(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "40")
    message = "the daemon is not running; start one with: training_daemon start"

    for is_terminal in (True, False):
        monkeypatch.setattr("sys.stderr.isatty", lambda answer=is_terminal: answer)
        say_problem("error", message)

    *wrapped, whole = capsys.readouterr().err.splitlines()
    assert whole == f"error: {message}"
    assert len(wrapped) > 1
    assert max(map(len, wrapped)) <= 40


@pytest.mark.parametrize("is_current", [True, False])
def test_the_commands_in_a_text_are_about_the_folder_of_this_one(monkeypatch, tmp_path, is_current):
    folder = tmp_path / "two words"
    folder.mkdir()
    monkeypatch.chdir(folder if is_current else tmp_path)
    monkeypatch.setattr("daemon.client.advice.SHELLS_BASE_DIR", None)
    client_of(Path("." if is_current else "two words"))
    text = "see training_queue list; or training_data --help, or training_daemon start --base-dir /other"

    shown = typed_here(text)

    here = "" if is_current else f" --base-dir '{folder}'"
    assert shown == typed_here(shown) == text.replace("training_queue", f"training_queue{here}")


@pytest.mark.parametrize("is_shells", [True, False])
def test_a_folder_that_the_shell_names_anyway_is_left_out_of_a_command(monkeypatch, tmp_path, is_shells):
    monkeypatch.setattr("daemon.client.advice.SHELLS_BASE_DIR", str(tmp_path) if is_shells else None)
    client_of(tmp_path)
    text = f"training_queue add a.csv --base-dir {tmp_path}; training_queue list --base-dir {tmp_path}.bak"

    shown = typed_here(text)

    assert shown == (text.replace(f" --base-dir {tmp_path};", ";") if is_shells else text)


def test_whatever_is_said_to_a_person_has_commands_that_can_be_typed(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("daemon.client.advice.SHELLS_BASE_DIR", None)
    client_of(tmp_path)
    text, shown = "see training_daemon --check-config", f"see training_daemon --base-dir {tmp_path} --check"
    entry = LogEntry(at=None, level=None, message=text, job_id=None)

    say(text)
    show({}, [text], as_json=False)
    print_entries([entry], as_json=False)
    say_problem("note", text)

    printed = capsys.readouterr()
    assert printed.out == f"{shown}-config\n" * 3
    assert printed.err == f"note: {shown}-config\n"


@pytest.mark.parametrize("place", ["/data/inbox/\x1b.part", None, 7])
@pytest.mark.parametrize(
    "number, words",
    [
        (errno.EACCES, "permission denied; give the user who runs this access to it"),
        (errno.ENOSPC, "no space left on device; free some space, and try again"),
        (errno.ELOOP, "too many levels of symbolic links"),
    ],
)
def test_what_the_system_refuses_has_its_place_and_a_way_out(monkeypatch, capsys, number, words, place):
    monkeypatch.setattr("sys.argv", ["training_queue"])
    monkeypatch.setattr("os.umask", lambda mask: 0)
    app = typer.Typer()

    @app.command()
    def refuse() -> None:
        raise OSError(number, os.strerror(number), place)

    with pytest.raises(SystemExit):
        run(app)

    shown = "/data/inbox/\\x1b.part: " if isinstance(place, str) else ""
    assert capsys.readouterr().err.startswith(f"error: {shown}{words}")
