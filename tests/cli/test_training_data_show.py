"""training_data show, with another process in place of the one that loads a tokenizer."""

import io
import json

import pytest
from rich.console import Console

from daemon.cli import training_data_show
from daemon.cli.training_data import app
from daemon.data_tools.shown_row import ShownRow, ShownToken, runs
from tests.cli.runner import runner_of
from tests.support import rows, write_jsonl
from trainer.protocol.layout import Layout

run = runner_of(app)

PROMPT, ANSWER = ("<user>\nHi", False), ("Ho\x1b[31m", True)


def answer(*examples):
    return json.dumps(
        {
            "examples": [
                {"tokens": [{"text": text, "trained": trained, "id": 7} for text, trained in example]}
                for example in examples
            ]
        }
    )


def drawn(shown, **options):
    file = io.StringIO()
    training_data_show._draw(Console(file=file, highlight=False, width=40, **options), shown)
    return file.getvalue()


@pytest.fixture
def layout(tmp_path):
    layout = Layout(tmp_path / "work")
    layout.create()
    return layout


@pytest.fixture
def chat(tmp_path):
    return write_jsonl(tmp_path / "chat.jsonl", rows(3))


def test_without_colours_brackets_say_what_is_learned(layout, chat, answering):
    answering.prepare(answer([PROMPT, ANSWER, ("!", True), ("<end>", False)]))

    result = run(layout, "show", str(chat), "--row", "2")

    assert result.stdout.splitlines() == [
        "⟦learned⟧ context",
        "",
        "<user>\\n",
        "Hi⟦Ho\\x1b[31m!⟧<end>",
        "",
        "4 tokens, 2 of them learned (50.0%)",
    ]


def test_the_order_names_file_line_and_settings(layout, chat, answering):
    answering.prepare(answer([PROMPT]))

    run(layout, "show", str(chat), "--row", "2")

    order = answering.order
    assert answering.module == "trainer.show"
    assert (order["file"], order["row"], order["base"]) == (str(chat), 2, str(layout.base))
    assert order["settings"]["data"]["max_length"] == 2048


def test_a_terminal_with_colours_gets_no_brackets():
    shown = ShownRow.model_validate_json(answer([PROMPT, ANSWER]))

    text = drawn(shown, force_terminal=True, color_system="standard")

    assert "\x1b[1;32mHo\\x1b[31m\x1b[0m" in text
    assert "⟦" not in text


def test_a_terminal_without_colours_gets_brackets():
    shown = ShownRow.model_validate_json(answer([PROMPT, ANSWER]))

    assert "⟦Ho" in drawn(shown, force_terminal=True, no_color=True)


def test_a_long_row_is_not_broken_where_the_terminal_ends():
    shown = ShownRow.model_validate_json(answer([("x " * 100, True)]))

    assert "x " * 100 in drawn(shown)


def test_words_in_square_brackets_are_data_not_markup():
    shown = ShownRow.model_validate_json(answer([("[bold red]", True)]))

    assert "⟦[bold red]⟧" in drawn(shown)


def test_each_of_several_examples_is_counted(layout, chat, answering):
    answering.prepare(answer([PROMPT, ANSWER], [PROMPT]))

    shown = run(layout, "show", str(chat), "--row", "1").stdout

    assert "example 1 of 2" in shown
    assert "2 tokens, 1 of them learned (50.0%)" in shown
    assert "1 tokens, 0 of them learned (0.0%)" in shown


def test_a_row_that_gives_no_example_says_so(layout, chat, answering):
    answering.prepare(answer())

    assert run(layout, "show", str(chat), "--row", "1").stdout == "nothing of this row is trained\n"


def test_a_program_gets_the_whole_answer(layout, chat, answering):
    answering.prepare(answer([PROMPT]))

    assert (
        run(layout, "show", str(chat), "--row", "1", "--json").stdout
        == json.dumps(json.loads(answer([PROMPT])), indent=2) + "\n"
    )


def test_neighbours_that_are_learned_form_one_stretch():
    tokens = [ShownToken(text=text, trained=trained) for text, trained in [PROMPT, ANSWER, ("\r\n\n", True)]]

    assert list(runs(tokens)) == [(False, "<user>\\n\nHi"), (True, "Ho\\x1b[31m\\r\\n\n\\n\n")]


def test_a_file_that_is_not_there_is_refused(layout):
    assert "no.jsonl is not a file" in str(run(layout, "show", "no.jsonl", "--row", "1").exception)
