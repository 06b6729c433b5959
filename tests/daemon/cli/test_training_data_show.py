"""training_data show, with another process in place of the one that loads a tokenizer."""

import io

import pytest
from rich.console import Console

from daemon.cli import training_data_show
from daemon.cli.training_data import app
from tests.daemon.cli.runner import runner_of
from tests.support import rows, write_jsonl
from trainer.protocol.job import FaultKind
from trainer.protocol.layout import Layout
from trainer.protocol.one_shot import Refused
from trainer.protocol.show import Shown, ShownExample, ShownToken

run = runner_of(app)

PROMPT, ANSWER = ("<user>\nHi", False), ("Ho\x1b[31m", True)


def tokens_of(*pieces):
    return tuple(ShownToken(id=7, text=text, trained=trained, turn=None) for text, trained in pieces)


def row_with(*examples, **facts):
    """Return a row that becomes these examples, each given by its tokens."""
    known = {"row": 1, "file": "chat.jsonl", "max_length": 64, "overlong": "split", "train_on": "assistant"}
    return Shown(
        **(known | {"row_tokens": 99, "missing_turns": ()} | facts),
        examples=tuple(
            ShownExample(
                tokens=tokens_of(*pieces), supervised_tokens=1, turns=(0, 1), cut_tokens=0, is_truncated=False
            )
            for pieces in examples
        ),
    )


def drawn(shown, **options):
    file = io.StringIO()
    training_data_show._draw(Console(file=file, highlight=False, width=40, **options), shown)
    return file.getvalue()


@pytest.fixture
def chat(tmp_path):
    return write_jsonl(tmp_path / "chat.jsonl", rows(3))


def test_without_colours_brackets_say_what_is_learned(layout, chat, answering):
    answering.prepare(row_with([PROMPT, ANSWER, ("!", True), ("<end>", False)]).model_dump_json())

    result = run(layout, "show", str(chat), "--row", "2")

    assert result.stdout.splitlines() == [
        "⟦supervised⟧ context",
        "",
        "<user>\\n",
        "Hi⟦Ho\\x1b[31m!⟧<end>",
        "",
        "4 tokens, 2 of them supervised (50.0%)",
    ]


def with_quote():
    tokens = [
        ShownToken(id=7, text=text, trained=trained, turn=None, quoted=quoted)
        for text, trained, quoted in [("Say ", False, False), ("<e", True, True), ("nd>", True, True)]
    ]
    example = ShownExample(
        tokens=(*tokens, ShownToken(id=8, text="<end>", trained=True, turn=None)),
        supervised_tokens=3,
        turns=(0,),
        cut_tokens=0,
        is_truncated=False,
    )
    return row_with([PROMPT]).model_copy(update={"examples": (example,)})


def test_a_quoted_control_token_looks_different_from_a_real_one():
    lines = drawn(with_quote()).splitlines()

    assert lines[0] == "⟦supervised⟧ context ⟨control token that is quoted, encoded as text⟩"
    assert lines[2] == "Say ⟦⟨<end>⟩<end>⟧"


def test_with_colours_a_quoted_control_token_is_underlined():
    shown = drawn(with_quote(), force_terminal=True, color_system="standard")

    assert "\x1b[1;4;32m<end>\x1b[0m\x1b[1;32m<end>\x1b[0m" in shown


def test_no_folder_of_a_daemon_is_needed(tmp_path, chat, answering):
    answering.prepare(row_with([PROMPT]).model_dump_json())

    result = run(Layout(tmp_path), "show", str(chat), "--row", "2")

    assert result.exit_code == 0
    assert answering.order["settings"]["data"]["max_length"] == 2048


def test_the_order_names_file_line_and_settings(layout, chat, answering):
    answering.prepare(row_with([PROMPT]).model_dump_json())

    run(layout, "show", str(chat), "--row", "2")

    order = answering.order
    assert answering.module == "trainer.mains.show_row"
    assert (order["file"], order["row"], order["base"]) == (str(chat), 2, str(layout.base))
    assert order["settings"]["data"]["max_length"] == 2048


def test_a_terminal_with_colours_gets_no_brackets():
    shown = row_with([PROMPT, ANSWER])

    text = drawn(shown, force_terminal=True, color_system="standard")

    assert "\x1b[1;32mHo\\x1b[31m\x1b[0m" in text
    assert "⟦" not in text


def test_a_terminal_without_colours_gets_brackets():
    shown = row_with([PROMPT, ANSWER])

    assert "⟦Ho" in drawn(shown, force_terminal=True, no_color=True)


def test_a_long_row_is_not_broken_where_the_terminal_ends():
    shown = row_with([("x " * 100, True)])

    assert "x " * 100 in drawn(shown)


def test_words_in_square_brackets_are_data_not_markup():
    shown = row_with([("[bold red]", True)])

    assert "⟦[bold red]⟧" in drawn(shown)


def test_each_of_several_examples_is_counted(layout, chat, answering):
    answering.prepare(row_with([PROMPT, ANSWER], [PROMPT]).model_dump_json())

    shown = run(layout, "show", str(chat), "--row", "1").stdout

    assert "example 1 of 2" in shown
    assert "2 tokens, 1 of them supervised (50.0%)" in shown
    assert "1 tokens, 0 of them supervised (0.0%)" in shown


def test_a_row_that_gives_no_example_says_by_which_rule(layout, chat, answering):
    answering.prepare(row_with(overlong="drop").model_dump_json())

    assert run(layout, "show", str(chat), "--row", "1").stdout == (
        "nothing of this row is trained: it has 99 tokens (data.max_length is 64, data.overlong is drop)\n"
    )


def test_what_was_cut_off_or_left_out_is_told():
    shown = row_with([PROMPT, ANSWER], missing_turns=(1, 2))
    [example] = shown.examples
    cut = shown.model_copy(update={"examples": (example.model_copy(update={"cut_tokens": 5}),)})

    text = drawn(cut)

    assert "2 tokens, 1 of them supervised (50.0%); 5 more were cut off" in text
    assert "left out: messages[1], messages[2]; the row has 99 tokens (data.max_length is 64," in text


@pytest.mark.parametrize("fault, code", [(FaultKind.BAD_CONFIG, 78), (FaultKind.BAD_DATA, 1)])
def test_a_row_that_cannot_be_trained_is_an_error(layout, chat, answering, fault, code):
    refused = Refused(message="chat.jsonl:1: no \x1b[31mrow", fault=fault)
    answering.prepare(refused.model_dump_json(), code=code)

    failure = run(layout, "show", str(chat), "--row", "1").exception

    assert (str(failure), failure.exit_code) == ("chat.jsonl:1: no \\x1b[31mrow", code)


def test_a_program_gets_the_whole_answer(layout, chat, answering):
    shown = row_with([PROMPT])
    answering.prepare(shown.model_dump_json())

    assert Shown.model_validate_json(run(layout, "show", str(chat), "--row", "1", "--json").stdout) == shown


def test_lines_end_where_they_end_in_the_row():
    assert "⟦a\\r\\n\n\\n\nb⟧" in drawn(row_with([("a\r\n", True), ("\nb", True)]))


def test_a_file_that_is_not_there_is_refused(layout):
    assert "no.jsonl is not a file" in str(run(layout, "show", "no.jsonl", "--row", "1").exception)
