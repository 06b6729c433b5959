"""training_controller logs, run as a person runs it."""

import json
import time

import pytest

from daemon.cli.training_controller import app
from tests.daemon.cli.runner import runner_of
from trainer.protocol.job import Outcome

run = runner_of(app)


@pytest.fixture
def log(layout):
    lines = [f"2026-01-01T00:00:{second:02}.000Z INFO    line {second}\n" for second in range(60)]
    lines.append("2026-01-01T00:01:00.000Z ERROR   a.jsonl failed job=j1\nTraceback\n  odd\n")
    path = layout.logs / "daemon.log"
    path.write_text("".join(lines))
    return path


def interrupt(seconds):
    raise KeyboardInterrupt


def test_the_last_fifty_entries_are_shown_as_the_terminal_has_them(layout, log):
    shown = run(layout, "logs").stdout.splitlines()

    assert len(shown) == 52  # the last entry has three lines
    assert shown[0] == "2026-01-01T00:00:11.000Z INFO    line 11"
    assert shown[-3:] == ["2026-01-01T00:01:00.000Z ERROR   a.jsonl failed job=j1", "Traceback", "  odd"]


def test_as_many_as_are_asked_for_are_shown(layout, log):
    assert run(layout, "logs", "-n", "2").stdout.splitlines()[0].endswith("line 59")


def test_only_what_is_about_a_file_is_shown(layout, log):
    assert run(layout, "logs", "a.jsonl").stdout.count("\n") == 3


def test_where_nothing_is_about_a_file_one_sentence_says_so(layout, log):
    result = run(layout, "logs", "b\x1b.jsonl")

    assert result.exit_code == 1
    assert str(result.exception) == (
        "the log has nothing about b\\x1b.jsonl; expected a name or a job id of the log"
    )


@pytest.mark.parametrize("options", [[], ["-f"]])
def test_names_that_are_like_an_unknown_one_are_offered(layout, log, monkeypatch, options):
    monkeypatch.setattr(time, "sleep", interrupt)
    (layout.finished(Outcome.COMPLETED) / "a.jsonl").touch()

    result = run(layout, "logs", *options, "a.jsnl")

    assert (result.stderr or str(result.exception)).rstrip().endswith("; did you mean a.jsonl?")


def test_whoever_follows_a_file_that_nothing_is_known_of_is_told_so(layout, log, monkeypatch):
    monkeypatch.setattr(time, "sleep", interrupt)

    result = run(layout, "logs", "-f", "b.jsonl")

    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "nothing about b.jsonl yet; waiting for it, until Ctrl-C\n"


def test_a_program_gets_entries(layout, log):
    [entry] = json.loads(run(layout, "logs", "-n", "1", "--json").stdout)

    assert entry == {
        "at": "2026-01-01T00:01:00.000Z",
        "level": "error",
        "message": "a.jsonl failed",
        "job_id": "j1",
        "traceback": ["Traceback", "  odd"],
    }


def test_following_shows_what_is_added_until_ctrl_c(layout, log, monkeypatch):
    added = iter(["first", "second"])

    def sleep(seconds):
        if (message := next(added, None)) is None:
            raise KeyboardInterrupt
        with log.open("a") as file:
            file.write(f"2026-01-01T00:02:00.000Z INFO    {message}\n")

    monkeypatch.setattr(time, "sleep", sleep)

    result = run(layout, "logs", "-f", "-n", "0", "--json")

    assert result.exit_code == 0
    assert [json.loads(line)["message"] for line in result.stdout.splitlines()] == ["first", "second"]
