"""training_models report: one page for whoever takes over, in a terminal, in a browser and for programs."""

import json
import re
import time
from html.parser import HTMLParser

import pytest
from typer.testing import CliRunner

from daemon.cli import training_health, training_models, training_queue
from daemon.cli.models_report_text import repeated_text
from daemon.cli.models_report_view import cells, fitted
from daemon.client.models_report import Repeated
from tests.daemon.cli.runner import runner_of
from tests.daemon.client.eventful import Life, eventful_day
from tests.health import tree
from trainer.protocol.job import FaultKind
from trainer.protocol.text import printable

run = runner_of(training_models.app, is_exported=False)
VOID = {"meta", "line", "polygon", "polyline", "circle"}


@pytest.fixture
def eventful(layout):
    eventful_day(layout)
    assert run(layout, "create", "--note", "<b>before</b> \x1b[31m the holidays").exit_code == 0
    return layout


class Page(HTMLParser):
    """What a browser finds in a page; elements must be closed in their order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.attributes, self.text = [], [], [], ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.elements.append(tag)
        self.attributes += attributes
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append(tag)
        self.attributes += attributes

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


# ---- in the terminal


@pytest.mark.parametrize("columns", [72, 80, 120, 200])
def test_every_line_fits_and_none_can_be_obeyed(eventful, columns):
    pytest.importorskip("plotext")

    shown = run(eventful, "report", env={"COLUMNS": str(columns)}).stdout.splitlines()

    is_command = re.compile(r" {4}training_\w+ ")  # is copied, so it stays whole
    assert [line for line in shown if cells(line) > columns and not is_command.match(line)] == []
    assert [line for line in shown if printable(line) != line] == []


def test_the_curve_of_averaged_weights_says_so_and_what_it_lacks(layout, tmp_path):
    life = Life(layout)
    life.at(5).train("chat.jsonl", 1)
    for loss, weights in ((3.0, "last"), (2.0, "average"), (1.5, "average")):
        life.validate(loss, weights=weights)
        life.train("more.jsonl", 1)
    life.close()

    lines = run(layout, "report", env={"COLUMNS": "200"}).stdout.splitlines()
    run(layout, "report", "--html", str(tmp_path / "page.html"))

    begin = lines.index("VALIDATION LOSS (AVERAGED WEIGHTS)")
    assert any("left out: 1 value of the last weights" in line for line in lines[begin:])
    assert "Validation loss (averaged weights)" in (tmp_path / "page.html").read_text()


def test_each_part_is_there(eventful):
    shown = run(eventful, "report", env={"COLUMNS": "100"}).stdout

    titles = [line for line in shown.splitlines() if line.isupper() and "FILE " not in line]
    assert titles == [
        *("TRAINED", "FAILED OR SKIPPED", "TRAINING LOSS", "VALIDATION LOSS", "VERSIONS"),
        *("GATE", "ALERTS, WARNINGS AND ERRORS", "CRASHES", "NEXT"),
    ]
    assert "model   at step 9; at step 4 then" in shown
    assert "trained 2 files, 5 rows, 5 steps, 50 tokens, in 2 s of training" in shown
    assert "hang, 1 x, the last one: no progress for 120 s. The worker hung" in shown
    assert "a daemon ended once without being stopped" in shown
    assert re.search(r"v001  step 9, by hand, current, <b>before</b> \\x1b\[31m the holidays", shown)


def test_kinds_of_crashes_are_told_in_words(eventful):
    life = Life(eventful)
    life.at(1).crash("no such file", FaultKind.BAD_CONFIG)
    life.ledger.close()

    shown = " ".join(run(eventful, "report").stdout.split())
    assert "invalid settings (no crash, but training was blocked), 1 x, the last one: no such file" in shown


def test_a_warning_does_not_count_those_of_its_kind_as_its_own():
    warning = Repeated(
        kind="data_report",
        level="warning",
        count=4,
        newest_at="2026-11-22T12:27:11.124Z",
        message="b.jsonl: odd",
    )

    assert repeated_text(warning).endswith("warning: b.jsonl: odd (the newest of 4 of this kind)")


def test_without_the_library_for_curves_the_numbers_are_there(eventful, monkeypatch):
    monkeypatch.setattr("daemon.cli.models_report_view.is_installed", lambda library: False)

    shown = run(eventful, "report", env={"COLUMNS": "100"}).stdout

    assert "TRAINING LOSS\nfirst 0.9, last 0.5, least 0.3 (step 7), greatest 1 (step 8)\n" in shown


def test_the_commands_that_are_named_do_something(eventful):
    shown = run(eventful, "report").stdout
    commands = re.findall(rf"^    (training_\w+) --base-dir {eventful.base} (.*)$", shown, re.M)

    apps = {"training_queue": training_queue.app, "training_health": training_health.app}
    codes = {
        (program, words): CliRunner()
        .invoke(apps[program], [*words.split(), "--base-dir", str(eventful.base)])
        .exit_code
        for program, words in commands
        if program in apps
    }
    assert ("training_daemon", "start") in commands
    assert codes == {("training_queue", "list --failed"): 0, ("training_health", "crashes"): 0}


@pytest.mark.parametrize(
    "text, width, shown",
    [
        ("abc", 5, "abc  "),
        ("abcdef", 4, "abc…"),
        ("日本語", 6, "日本語"),
        ("日本語", 5, "日本…"),
        ("日本語", 4, "日… "),
    ],
)
def test_a_name_is_cut_by_what_it_takes_on_the_screen(text, width, shown):
    assert fitted(text, width) == shown
    assert cells(shown) == width


# ---- since when


@pytest.mark.parametrize("since, files", [("2h", 0), ("24h", 2), ("7d", 3), ("v001", 0), ("latest", 0)])
def test_a_report_begins_at_a_time_or_with_a_version(eventful, since, files):
    found = json.loads(run(eventful, "report", "--since", since, "--json").stdout)

    assert found["trained"]["files"] == files


@pytest.mark.parametrize("since", ["yesterday", "24", "v009", "-1h", "\x1b[2J"])
def test_what_is_neither_is_refused_with_both_forms(eventful, since):
    result = run(eventful, "report", f"--since={since}")

    assert result.exit_code == 1
    assert (
        f"--since is {printable(since)}, which is neither a time that lies back, such as 24h or 7d, nor"
        in (str(result.exception))
    )


# ---- in a browser


def test_the_page_needs_no_scripts_and_nothing_from_elsewhere(eventful, tmp_path):
    out = tmp_path / "monday.html"

    result = run(eventful, "report", "--html", str(out))

    page = Page(out.read_text())
    assert result.stdout == f"wrote {out}\n"
    assert ("content", "default-src 'none'; style-src 'unsafe-inline'") in page.attributes
    assert {"script", "img", "link", "iframe", "b", "i"} & set(page.elements) == set()
    assert {name for name, _ in page.attributes} & {"src", "href", "onload", "style"} == set()
    assert page.elements.count("svg") == 2
    assert "prefers-color-scheme: dark" in out.read_text()


def test_the_page_shows_names_and_messages_as_they_are(eventful, tmp_path):
    out = tmp_path / "monday.html"

    run(eventful, "report", "--html", str(out))

    shown = Page(out.read_text()).text
    for text in (
        "<script>alert(1)<",
        "\\x1b[31m\\n\\u202e日本語",
        "line 1: <b>odd</b> \\x1b[2J",
        "<b>before</b>",
        "jumped to <i>1.7</i>",
        f"training_daemon --base-dir {eventful.base} start",
    ):
        assert text in shown
    assert printable(shown.replace("\n", "")) == shown.replace("\n", "")


def test_a_page_replaces_nothing_unless_it_is_asked_to(eventful, tmp_path):
    out = tmp_path / "monday.html"
    out.write_text("mine")

    refused = run(eventful, "report", "--html", str(out))

    assert refused.exit_code == 1
    assert out.read_text() == "mine"
    assert run(eventful, "report", "--html", str(out), "--force").exit_code == 0


# ---- everywhere


def test_the_report_changes_nothing(eventful):
    before = tree(eventful)

    assert run(eventful, "report").exit_code == 0
    assert tree(eventful) == before


def test_a_long_life_is_reported_quickly(layout):
    life = Life(layout)
    life.at(5)
    for number in range(60):
        life.train(f"{number}.jsonl", 200)
    life.close()

    started = time.thread_time()
    shown = run(layout, "report", env={"COLUMNS": "80"}).stdout

    assert time.thread_time() - started < 2.0
    assert "… and 40 earlier; --html and --json show more" in shown
