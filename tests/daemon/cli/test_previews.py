"""The command training_controller status --previews."""

import json
import os

import pytest

from daemon.cli.training_controller import app
from daemon.ledger.ledger import Ledger
from daemon.status.board import StatusBoard
from tests.daemon.cli.runner import runner_of
from tests.support import FakeClock
from trainer.protocol.files import write_json
from trainer.protocol.messages import PreviewMade

run = runner_of(app)


def note(layout, *texts, **fields):
    """Have a prompt answered with these texts, at steps 100, 200, …"""
    ledger = Ledger(layout.ledger_file, clock=FakeClock())
    for number, text in enumerate(texts, 1):
        answer = {"prompt": "Who?", "ended_by": "end", "seconds": 0.5} | fields
        ledger.evaluations.add_preview(PreviewMade(global_step=100 * number, text=text, **answer))
    ledger.close()


def lines_of(result):
    return [" ".join(line.split()) for line in result.stdout.splitlines() if line.strip()]


@pytest.mark.parametrize(
    "previews, words",
    [
        ({"prompts": 3}, "no previews yet; when they come cannot be said, because the settings are invalid"),
        ({}, "no previews: previews.prompts and previews.file are not set"),
        (
            {"prompts": ["Who?"]},
            "no previews yet; the first come at global step 1,000, and the model is at 500",
        ),
        (
            {"file": "a.jsonl", "interval_steps": 7},
            "the first come at global step 504, and the model is at 500",
        ),
    ],
)
def test_where_there_are_none_it_says_when_the_first_come(layout, previews, words):
    board = StatusBoard(layout.status_file, daemon_pid=os.getpid())
    board.set(current_step=500)
    board.publish()
    write_json(layout.config_file, {"previews": previews}, durable=False)

    assert words in run(layout, "status", "--previews").stdout


def test_the_newest_answer_is_shown_with_the_one_before(layout):
    note(layout, "nobody", "she", "she", metrics={"exact_match": 1.0})

    result = run(layout, "status", "--previews")

    assert result.exit_code == 0
    assert lines_of(result) == [
        "prompt Who?",
        "step 300 she",
        "step 100 nobody",
        "change changed at step 200",
        "metrics exact_match 1",
    ]


def test_an_answer_that_never_changed_says_so_and_one_that_was_cut_why(layout):
    note(layout, "she and", "she and", ended_by="time")

    shown = run(layout, "status", "--previews").stdout

    assert "she and (cut off, out of time)" in shown
    assert "unchanged since the first answer, at step 100" in shown


def test_an_empty_answer_is_shown_as_one(layout):
    note(layout, "", "  ", ended_by="tokens")

    shown = lines_of(run(layout, "status", "--previews"))

    assert shown[1:3] == [
        "step 200 (an empty answer) (cut off at previews.max_new_tokens)",
        "step 100 (an empty answer)",
    ]


def test_no_line_ends_in_blanks(layout):
    note(layout, "nobody", "a longer answer than the one before")

    lines = run(layout, "status", "--previews").stdout.splitlines()

    assert lines == [line.rstrip() for line in lines]


def test_answers_cannot_command_the_terminal(layout):
    note(layout, "before\x1b]0;owned\x07", "[red]after\x1b[2J", prompt="a\nb\u202e")

    shown = run(layout, "status", "--previews").stdout

    assert "\x1b" not in shown
    assert "[red]after\\x1b[2J" in shown
    assert "a\\nb\\u202e" in shown


def test_json_has_everything_as_it_is(layout):
    note(layout, "nobody", "she\x1b")

    [history] = json.loads(run(layout, "status", "--previews", "--json").stdout)

    assert history == {
        "prompt": "Who?",
        "text": "she\x1b",
        "global_step": 200,
        "ended_by": "end",
        "seconds": 0.5,
        "metrics": {},
        "unchanged_since": 200,
        "before": "nobody",
        "before_step": 100,
    }


def test_a_damaged_ledger_is_an_error_and_not_an_empty_answer(layout):
    layout.ledger_file.write_bytes(b"no database" * 500)

    result = run(layout, "status", "--previews")

    assert result.exit_code != 0
