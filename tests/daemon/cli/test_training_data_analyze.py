"""training_data analyze, run as a person runs it."""

import json
import re
import subprocess
import sys

import pytest

from daemon.cli.training_data import app
from daemon.data_tools.analysis import picture
from tests.daemon.cli.runner import runner_of
from tests.support import row, rows, write_jsonl
from trainer.protocol.layout import Layout

run = runner_of(app)


@pytest.fixture
def layout(tmp_path):
    return Layout(tmp_path)


@pytest.fixture
def chat(tmp_path):
    return write_jsonl(tmp_path / "chat.jsonl", [*rows(30), "{", *rows(5)])


def test_a_person_sees_rows_duplicates_lengths_and_words(layout, chat):
    before = chat.read_bytes()

    shown = run(layout, "analyze", str(chat)).stdout

    assert "chat.jsonl: 35 rows (messages: 35), and 1 that cannot be trained" in shown
    assert "  chat.jsonl:31: column 2: " in shown
    assert "duplicates: 5 rows" in shown
    assert re.search(r"messages a row +2 +2 +2 +2", shown)
    assert "most frequent: it 35, is 35, say 35" not in shown  # equal counts go by the alphabet
    assert "most frequent: is 35, it 35, say 35" in shown
    assert chat.read_bytes() == before


def test_dedupe_is_advised_only_where_there_are_duplicates(layout, chat, tmp_path):
    once = write_jsonl(tmp_path / "once.jsonl", rows(3))

    shown = [run(layout, "analyze", str(file)).stdout for file in (chat, once)]

    assert "duplicates: 5 rows (training_data dedupe removes them)\n" in shown[0]
    assert "duplicates: 0 rows\n" in shown[1]


def test_a_program_gets_everything_as_json(layout, chat):
    found = json.loads(run(layout, "analyze", str(chat), "--json").stdout)

    assert (found["file"], found["rows"], found["left_out"]["count"]) == ("chat.jsonl", 35, 1)
    assert found["duplicates"] == {"extra_rows": 5, "largest_groups": [[2, line] for line in range(1, 6)]}
    assert found["lengths"]["words an answer"]["median"] == 3


@pytest.mark.long
def test_a_page_and_a_picture_are_written(layout, chat, tmp_path):
    pytest.importorskip("matplotlib")
    page, drawing = tmp_path / "chat.html", tmp_path / "chat.png"

    result = run(layout, "analyze", str(chat), "--html", str(page), "--png", str(drawing))

    assert result.exit_code == 0, result.exception
    assert result.stdout.endswith(f"\nwrote {page}\nwrote {drawing}\n")
    assert page.read_text().startswith("<!DOCTYPE html>")
    assert drawing.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["$x$.jsonl", "你好.jsonl", "a\u202eb.jsonl"])
def test_no_name_of_a_file_is_a_formula_or_lacks_a_font(layout, tmp_path, name):
    pytest.importorskip("matplotlib")
    file = write_jsonl(tmp_path / name, [row("你好", "$\\frac{1}{2}")] * 3)
    drawing = tmp_path / "out.png"

    result = run(layout, "analyze", str(file), "--png", str(drawing))

    assert result.exit_code == 0, result.exception
    assert drawing.read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib_a_picture_is_refused_before_the_file_is_read(layout, tmp_path, monkeypatch):
    monkeypatch.setattr(picture, "has_matplotlib", lambda: False)

    result = run(layout, "analyze", str(tmp_path / "missing.jsonl"), "--png", str(tmp_path / "out.png"))

    assert "install it (scripts/setup plots), or use --html" in str(result.exception)


@pytest.mark.parametrize(
    "option, name, reason",
    [
        ("--html", "taken.html", "exists; give another name, or --force"),
        ("--html", "out.htm", "expected a name that ends in .html"),
        ("--png", "chat.jsonl", "expected a name that ends in .png"),
        ("--html", "no/such/folder.html", "the folder does not exist"),
    ],
)
def test_a_name_that_cannot_be_written_is_refused(layout, chat, tmp_path, option, name, reason):
    (tmp_path / "taken.html").write_text("mine")

    result = run(layout, "analyze", str(chat), option, str(tmp_path / name))

    assert reason in str(result.exception)
    assert (tmp_path / "taken.html").read_text() == "mine"


@pytest.mark.parametrize("content, reason", [([], "chat.jsonl is empty"), (["{"], "chat.jsonl:1: column 2")])
def test_a_file_without_rows_is_refused(layout, tmp_path, content, reason):
    file = write_jsonl(tmp_path / "chat.jsonl", content)

    result = run(layout, "analyze", str(file))

    assert reason in str(result.exception)


def test_numpy_is_loaded_only_by_an_analysis():
    code = "import sys, daemon.cli.training_data; print('numpy' in sys.modules)"

    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert result.stdout.strip() == "False"
