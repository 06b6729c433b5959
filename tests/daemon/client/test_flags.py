"""Each thing that may go wrong with flagged rows is an error of its own."""

import pytest

from daemon.client.errors import AmbiguousName, CannotWrite, NoSuchFile, NoSuchRow, UnreadableReport
from daemon.data_tools.flagged import FILE_NAME
from tests.support import row, write_jsonl
from trainer.protocol.job import Outcome, Priority


@pytest.fixture
def chat(layout):
    return write_jsonl(layout.waiting(Priority.HIGH) / "chat.jsonl", [row(), {"messages": "none"}])


@pytest.mark.parametrize("line", [2, 9])
def test_a_row_that_cannot_be_shown_is_no_row(client, chat, line):
    with pytest.raises(NoSuchRow):
        client.flags.add("chat.jsonl", line, "odd")


def test_a_place_that_is_taken_cannot_be_written(client, chat, tmp_path):
    client.flags.add("chat.jsonl", 1, "odd")
    (tmp_path / "out.jsonl").touch()

    with pytest.raises(CannotWrite, match="exists"):
        client.flags.export(tmp_path / "out.jsonl")


def test_notes_that_somebody_else_has_written_cannot_be_read(client, layout, tmp_path):
    (layout.status / FILE_NAME).write_text("garbage\n")

    with pytest.raises(UnreadableReport):
        client.flags.entries()
    with pytest.raises(UnreadableReport):
        client.flags.export(tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists()


def test_only_one_file_can_be_meant(client, layout, chat):
    write_jsonl(layout.finished(Outcome.COMPLETED) / "chat.jsonl", [row()])

    with pytest.raises(AmbiguousName, match=r"high/chat\.jsonl or recently_completed/chat\.jsonl"):
        client.flags.add("chat.jsonl", 1, "odd")
    with pytest.raises(NoSuchFile, match=r"no file is named no\.jsonl in queue/;"):
        client.flags.add("no.jsonl", 1, "odd")
