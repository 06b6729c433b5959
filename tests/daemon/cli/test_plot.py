"""training_controller plot, run as a person runs it: in the terminal, as a picture, as a page."""

import json
import re

import pytest

from daemon.cli import options, plot_view
from daemon.cli.training_controller import app
from daemon.ledger.ledger import Ledger
from tests.daemon.cli.runner import runner_of
from tests.daemon.client.test_history import add_job, add_steps
from tests.support import FakeClock
from trainer.protocol.messages import Validated
from trainer.protocol.text import printable

run = runner_of(app)
TERMINAL = {"COLUMNS": "80", "LINES": "24"}


@pytest.fixture
def ledger(layout):
    ledger = Ledger(layout.ledger_file, clock=FakeClock(1_000_000_000.0))
    yield ledger
    ledger.close()


@pytest.fixture
def trained(ledger):
    """A thousand steps of a falling loss with one spike."""
    losses = [10.0 / number for number in range(1, 1001)]
    losses[600] = 8.0
    add_steps(ledger, losses)
    return losses


def marks(line):
    """Return in which columns of a line something is drawn."""
    return [column for column, char in enumerate(line) if 0x2800 < ord(char) < 0x2900]


# ---- in the terminal


@pytest.mark.parametrize("columns, rows", [(80, 24), (120, 40), (40, 10)])
def test_the_picture_fits_into_the_terminal(layout, trained, columns, rows):
    pytest.importorskip("plotext")

    shown = run(layout, "plot", env={"COLUMNS": str(columns), "LINES": str(rows)}).stdout.splitlines()

    assert shown[0] == "training loss, steps 1 to 1,000"
    assert max(map(len, shown[:-1])) <= columns
    assert len(shown) <= rows


def test_what_is_said_below_the_picture_is_broken_between_words_on_a_terminal(layout, trained, monkeypatch):
    pytest.importorskip("plotext")
    whole = run(layout, "plot", env=TERMINAL).stdout.splitlines()[-1]
    monkeypatch.setattr(options, "columns_of", lambda stream: 80)

    shown = run(layout, "plot", env=TERMINAL).stdout.splitlines()

    assert len(whole) > 80
    assert max(map(len, shown)) <= 80
    assert len(shown) <= 24 - 2
    assert " ".join(line.strip() for line in shown[-2:]) == whole


def test_a_spike_of_one_step_among_a_thousand_is_drawn_and_named(layout, trained):
    pytest.importorskip("plotext")

    _, *canvas, summary = run(layout, "plot", env=TERMINAL).stdout.splitlines()

    upper = canvas[: len(canvas) // 3]
    assert any(40 < column < 60 for line in upper for column in marks(line))
    assert "least 0.01 (" in summary
    assert re.search(r"greatest 10 \(steps 1 to \d+\)", summary)


def test_what_a_point_stands_for_is_not_said_to_be_one_step(layout, ledger):
    pytest.importorskip("plotext")
    add_steps(ledger, [float(number) for number in range(2_000)])

    shown = run(layout, "plot", env=TERMINAL).stdout.splitlines()

    assert re.match(r"first [\d.]+ \(mean of steps 1 to \d+\), last ", shown[-1])


def test_the_axes_say_which_steps_and_which_values(layout, ledger):
    pytest.importorskip("plotext")
    add_steps(ledger, [4.0, 2.0, 3.0, 1.0, 2.5])

    shown = run(layout, "plot", env=TERMINAL).stdout.splitlines()

    assert shown[-2].split() == ["1", "2", "3", "4", "5"]
    assert [line.split("┤")[0].strip() for line in shown if "┤" in line] == ["4", "3.25", "2.5", "1.75", "1"]
    assert shown[-1] == "first 4, last 2.5, least 1 (step 4), greatest 4 (step 1)"


def test_a_curve_of_averaged_weights_says_so_and_what_it_lacks(layout, ledger):
    pytest.importorskip("plotext")
    for step, loss, weights in ((1, 3.0, "last"), (2, 2.0, "average"), (3, 1.0, "average")):
        ledger.add_validation(Validated(global_step=step, loss=loss, rows=2, weights=weights))
    ledger.commit()

    shown = run(layout, "plot", "validation", env=TERMINAL).stdout.splitlines()

    assert shown[0] == "validation loss (averaged weights), steps 2 to 3"
    assert shown[-1].endswith("greatest 2 (step 2); left out: 1 value of the last weights")


def test_a_metric_that_never_changes_stands_at_its_value(layout, trained):
    pytest.importorskip("plotext")

    shown = run(layout, "plot", "lr", env=TERMINAL).stdout

    assert shown.startswith("learning rate, steps 1 to 1,000\n")
    assert re.search(r"^ *0\.1┤⠠?", shown, re.M)


def test_one_step_is_one_mark(layout, ledger):
    pytest.importorskip("plotext")
    add_steps(ledger, [4.0])

    shown = run(layout, "plot", env=TERMINAL).stdout

    assert shown.startswith("training loss, step 1\n")
    assert sum(len(marks(line)) for line in shown.splitlines()) == 1


def test_no_picture_contains_what_a_terminal_could_obey(layout, ledger):
    pytest.importorskip("plotext")
    job = add_job(ledger, layout, 1)
    add_steps(ledger, [2.0, 1.0], job_id=job.id)

    shown = run(layout, "plot", "--file", "1.jsonl", env=TERMINAL).stdout

    assert shown.startswith("training loss of 1.jsonl, steps 1 to 2\n")
    assert all(line == printable(line) for line in shown.splitlines())


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        ((), "there is no training loss yet; it begins with the first step that is trained"),
        (
            ("validation",),
            "there is no validation loss yet; validation.file in config.json names what it is measured on",
        ),
    ],
)
def test_where_there_is_nothing_to_draw_one_sentence_says_so(layout, arguments, sentence, monkeypatch):
    monkeypatch.setattr(plot_view, "is_installed", lambda library: True)

    result = run(layout, "plot", *arguments)

    assert (result.exit_code, result.stdout) == (0, f"{sentence}\n")


def test_a_file_that_has_no_steps_yet_is_named(layout, ledger, monkeypatch):
    monkeypatch.setattr(plot_view, "is_installed", lambda library: True)
    add_job(ledger, layout, 1)

    shown = run(layout, "plot", "--file", "1.jsonl").stdout

    assert (
        shown == "there is no training loss of 1.jsonl yet; it begins with the first step that is trained\n"
    )


def test_without_the_library_the_message_says_what_to_do(layout, trained, monkeypatch):
    monkeypatch.setattr(plot_view, "is_installed", lambda library: False)

    assert "install it (scripts/setup), or use --html" in str(run(layout, "plot").exception)
    assert "install it (scripts/setup plots)" in str(run(layout, "plot", "--png", "a.png").exception)


# ---- elsewhere


def test_a_program_gets_the_points(layout, trained):
    found = json.loads(run(layout, "plot", "loss", "--last", "2", "--json").stdout)

    assert found == {
        "metric": "loss",
        "file": None,
        "points": [
            {"first_step": step, "last_step": step, "low": 10 / step, "mean": 10 / step, "high": 10 / step}
            for step in (999, 1000)
        ],
        "weights": None,
        "left_out": 0,
    }


@pytest.mark.long
def test_a_picture_is_written(layout, trained, tmp_path):
    pytest.importorskip("matplotlib")
    out = tmp_path / "loss.png"

    result = run(layout, "plot", "--png", str(out))

    assert (result.exit_code, result.stdout) == (0, f"wrote {out}\n")
    assert out.read_bytes().startswith(b"\x89PNG")


def test_a_page_shows_the_curve_and_asks_for_nothing_from_elsewhere(layout, trained, tmp_path):
    out = tmp_path / "loss.html"

    run(layout, "plot", "--html", str(out))

    page = out.read_text()
    assert "<h1>training loss, steps 1 to 1,000</h1>" in page
    assert "default-src 'none'" in page
    [points] = re.findall(r'<polyline class="mean" points="([^"]*)"', page)
    assert len(points.split()) == 1000
    assert not re.search(r"(?:src|href)=|<script|url\(|@import", page)


def test_a_page_of_one_step_has_a_dot(layout, ledger, tmp_path):
    add_steps(ledger, [4.0])

    run(layout, "plot", "--html", str(tmp_path / "a.html"))

    assert '<circle class="dot"' in (tmp_path / "a.html").read_text()


def test_a_file_that_exists_is_replaced_only_by_force(layout, trained, tmp_path):
    out = tmp_path / "loss.html"
    out.write_text("mine")

    refused = run(layout, "plot", "--html", str(out))
    before = out.read_text()
    run(layout, "plot", "--html", str(out), "--force")

    assert "exists; give another name, or --force" in str(refused.exception)
    assert before == "mine"
    assert out.read_text().startswith("<!DOCTYPE html>")


def test_nothing_is_written_where_there_is_nothing_to_draw(layout, tmp_path):
    result = run(layout, "plot", "--html", str(tmp_path / "a.html"))

    assert result.stdout.startswith("there is no training loss yet")
    assert not (tmp_path / "a.html").exists()
