"""What a small terminal shows of the status: the error and the alerts, then what there is room for."""

import io
import os
from textwrap import wrap

import pytest
from rich.console import Console

from daemon.cli.small_terminal import Row, fitting
from daemon.cli.status_view import draw
from daemon.status.board import StatusBoard
from daemon.status.reader import Status, read_status
from trainer.protocol.messages import CheckpointRef
from trainer.protocol.status import State

ERROR = "Row 17 of the file cannot be rendered, because its second turn is empty. " * 4 + "END OF ERROR"


def status(layout, *, num_alerts):
    """A daemon that trains, with much to tell."""
    board = StatusBoard(layout.status_file, daemon_pid=os.getpid())
    board.set_state(State.TRAINING)
    board.set(
        model_name="tiny", method="full", current_file="chat.jsonl", priority="high", file_step=3,
        file_total_steps=9, current_step=3, loss=4.25, tokens_per_sec=100.0, eta_s=5.0,
        evaluation_left_out="validation: the file is empty",
    )  # fmt: skip
    board.checkpoint(CheckpointRef(path="checkpoints/step-1", step=1, at="2026-01-01T00:00:00.000Z"))
    board.error("BadFile", ERROR, "bad.jsonl")
    for number in range(num_alerts):
        board.alert(
            str(number), f"alert {number} " + "about something that should be looked at soon " * 3 + "END"
        )
    board.publish()
    return read_status(layout)


def shown(found, columns, lines):
    """Return the lines that a terminal of this size gets."""
    console = Console(file=io.StringIO(), width=columns, height=lines, force_terminal=True, color_system=None)
    console.print(draw(found, within=console))
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize(
    "columns, lines, num_alerts",
    [(80, 24, 0), (80, 24, 1), (80, 24, 3), (120, 40, 3), (80, 16, 1), (60, 24, 1)],
)
def test_the_error_and_the_alerts_are_whole_on_every_usual_terminal(layout, columns, lines, num_alerts):
    drawn = shown(status(layout, num_alerts=num_alerts), columns, lines)

    text = " ".join(line.strip("│ ") for line in drawn)
    assert len(drawn) < lines
    assert "END OF ERROR" in text
    assert text.replace("END OF ERROR", "").count("END") == num_alerts
    assert drawn[-1].startswith("╰")


def test_a_large_terminal_shows_everything(layout):
    found = status(layout, num_alerts=3)
    console = Console(file=io.StringIO(), width=120)

    console.print(draw(found))

    assert shown(found, 120, 60) == console.file.getvalue().splitlines()


def test_what_matters_least_goes_first(layout):
    found = status(layout, num_alerts=1)

    whole, smaller = (" ".join(shown(found, 80, lines)) for lines in (60, 20))

    for name in ("done", "checkpoint", "model"):
        assert f"│ {name}" in whole
        assert f"│ {name}" not in smaller
    for name in ("daemon", "file", "progress", "loss", "last error", "alert"):
        assert f"│ {name}" in smaller


def test_more_alerts_than_lines_are_counted(layout):
    drawn = shown(status(layout, num_alerts=20), 80, 12)

    assert len(drawn) < 12
    assert "daemon" in drawn[1]
    assert "last error" in drawn[2]
    assert "… and 14 more lines" in drawn[-2]


def test_texts_are_cut_only_when_nothing_else_can_go():
    rows = [Row("error", "a b c d e f", is_urgent=True), Row("loss", "1"), Row("done", "2")]

    def fit(room):
        found = fitting(
            rows, room=room, wrap=lambda value: wrap(value, 1), least_important_first=("done", "loss")
        )
        return [(row.name, row.value.split("\n")) for row in found]

    assert fit(8) == [("error", ["a b c d e f"]), ("loss", ["1"]), ("done", ["2"])]
    assert fit(7) == [("error", ["a b c d e f"]), ("loss", ["1"])]
    assert fit(6) == [("error", ["a b c d e f"])]
    assert fit(3) == [("error", ["a", "b", "…"])]


@pytest.mark.parametrize(
    "weights, other, words",
    [
        ("average", 1.5, "1.2500 averaged, 1.5000 last"),
        ("average", None, "1.2500 averaged"),
        ("last", None, "1.2500"),
    ],
)
def test_the_validation_loss_says_whose_it_is(weights, other, words):
    fields = {"status": "idle", "loss": 2.0, "validation_loss": 1.25, "validation_weights": weights,
              "validation_other_loss": other}  # fmt: skip

    lines = shown(Status(fields, "running", 0.0), columns=100, lines=30)

    [line] = [line for line in lines if "validation" in line]
    assert line.strip("│ ").endswith(f"validation {words}")
