"""training_data flag: a row of a queued file is kept with a note, listed and exported."""

import json

import pytest

from daemon.cli.training_data import app
from tests.daemon.cli.runner import runner_of
from tests.support import row, write_jsonl
from trainer.data.formats import read_conversation
from trainer.protocol.job import Outcome, Priority

run = runner_of(app)


@pytest.fixture
def chat(layout):
    content = [row("First?"), "", {"messages": "none"}, row("Last?") | {"id": 7}]
    return write_jsonl(layout.waiting(Priority.HIGH) / "chat.jsonl", content)


def flag(layout, line, note="the answer is wrong", name="chat.jsonl"):
    return run(layout, "flag", name, "--row", str(line), "--note", note)


def test_a_flagged_row_is_kept_with_its_content(layout, chat):
    before = chat.read_bytes()

    result = flag(layout, 4)

    [entry] = json.loads(run(layout, "flag", "--list", "--json").stdout)
    assert result.stdout == "flagged high/chat.jsonl:4; training is not affected\n"
    assert (entry["file"], entry["line"], entry["note"]) == ("high/chat.jsonl", 4, "the answer is wrong")
    assert entry["row"] == row("Last?") | {"id": 7}
    assert chat.read_bytes() == before


def test_the_list_is_safe_to_look_at(layout, chat):
    flag(layout, 1, note="red \x1b[31m" + "x" * 200)

    shown = run(layout, "flag", "--list").stdout

    assert r"high/chat.jsonl:1  red \x1b[31mxxx" in shown
    assert "\x1b" not in shown
    assert len(shown.splitlines()) == 1


def test_exported_rows_can_be_trained_and_carry_their_notes(layout, chat, tmp_path):
    flag(layout, 1, note="one")
    flag(layout, 4, note="two")

    result = run(layout, "flag", "--export", str(tmp_path / "out.jsonl"))

    exported = [json.loads(line) for line in (tmp_path / "out.jsonl").read_bytes().splitlines()]
    assert result.stdout == f"wrote 2 rows to {tmp_path / 'out.jsonl'}\n"
    assert [read_conversation(item).messages[0].content for item in exported] == ["First?", "Last?"]
    assert [item["flagged"]["note"] for item in exported] == ["one", "two"]


def test_nothing_flagged_gives_an_empty_list_and_no_file(layout, tmp_path):
    listed = run(layout, "flag", "--list").stdout
    exported = run(layout, "flag", "--export", str(tmp_path / "out.jsonl"))

    assert listed == "nothing has been flagged\n"
    assert "nothing has been flagged" in str(exported.exception)
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.parametrize(
    "line, reason",
    [(2, "has no row on line 2"), (3, r"chat.jsonl:3: messages is"), (9, "has no row on line 9")],
)
def test_a_line_that_is_no_row_is_refused(layout, chat, line, reason):
    assert reason in str(flag(layout, line).exception)


def test_a_name_that_several_files_have_needs_its_folder(layout, chat):
    write_jsonl(layout.finished(Outcome.FAILED) / "chat.jsonl", [row()])

    unclear, clear = flag(layout, 1), flag(layout, 1, name="failed/chat.jsonl")

    assert "is ambiguous: high/chat.jsonl or failed/chat.jsonl; say which" in str(unclear.exception)
    assert clear.stdout.startswith("flagged failed/chat.jsonl:1")


@pytest.mark.parametrize(
    "arguments, reason",
    [
        ((), "give one of"),
        (("chat.jsonl", "--list"), "give one of"),
        (("--list", "--row", "1"), "give one of"),
        (("chat.jsonl", "--row", "1"), "--note is missing; expected NAME, --row N and --note TEXT"),
        (("chat.jsonl", "--note", "odd"), "--row is missing"),
        (("chat.jsonl",), "--row and --note are missing"),
        (("--row", "1"), "NAME and --note are missing"),
        (("--row", "1", "--note", "odd"), "NAME is missing"),
        (("no.jsonl", "--row", "1", "--note", "x"), "no file is named no.jsonl in queue/"),
    ],
)
def test_a_command_that_cannot_be_meant_is_refused(layout, chat, arguments, reason):
    assert reason in str(run(layout, "flag", *arguments).exception)
