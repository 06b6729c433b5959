"""What is shown before something changes."""

import pytest
import typer
from typer.testing import CliRunner

from daemon.cli import asking, options

asks = typer.Typer()


@asks.command()
def _act():
    asking.confirm("Go ahead?")
    print("done")


@pytest.mark.parametrize("answer, is_done", [("y", True), (" YES", True), ("n", False), ("", False)])
def test_only_yes_lets_a_command_go_on(answer, is_done):
    result = CliRunner().invoke(asks, input=f"{answer}\n")

    assert ("done" in result.stdout, result.exit_code) == (is_done, 0 if is_done else 1)


def test_an_answer_that_is_neither_yes_nor_no_is_named_and_asked_for_again():
    result = CliRunner().invoke(asks, input="sure\ny\n")

    assert result.stdout.replace("sure\n", "", 1).splitlines() == [
        'Go ahead? [y/N]: "sure" is neither yes nor no; type y or n',
        "Go ahead? [y/N]: y",
        "done",
    ]


@pytest.mark.parametrize("columns", [40, None])
def test_a_plan_is_broken_between_words_only_on_a_terminal(monkeypatch, capsys, columns):
    monkeypatch.setattr(options, "columns_of", lambda stream: columns)
    line = "  chat.jsonl (steps 1 to 9) is undone and goes to queue/skipped/"

    asking.show({}, [line], as_json=False)

    shown = capsys.readouterr().out.splitlines()
    assert " ".join(part.strip() for part in shown) == line.strip()
    assert len(shown) == (1 if columns is None else 2)
    assert all(part.startswith("  ") for part in shown)
