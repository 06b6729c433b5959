"""Lists of files fit the terminal; elsewhere they are complete."""

import pytest

from daemon.cli.queue_view import finished_lines, queued_lines, shortened
from daemon.client.results import FinishedFile, QueuedFile

LONG = "a-very-long-name-of-a-file-" * 4 + "of-2026.jsonl"


def queued(name):
    return QueuedFile(name, "processing", "normal", 1_234_567, "1", "question_answer")


@pytest.mark.parametrize("columns", [80, 120])
def test_a_list_fits_the_terminal_and_its_columns_stand_below_each_other(columns):
    lines = list(queued_lines([queued(LONG), queued("b.jsonl")], 2, columns=columns))

    assert all(len(line) <= columns for line in lines)
    assert len({line.index("  processing") for line in lines[1:]}) == 1
    assert lines[1].split()[0].endswith("2026.jsonl")


def test_a_reason_is_never_cut_off():
    reason = " ".join(f"word{number}" for number in range(60))

    lines = list(finished_lines([FinishedFile(LONG, "failed", reason)], 1, kind="failed", columns=80))

    assert all(len(line) <= 80 for line in lines)
    assert " ".join(" ".join(lines[1:]).split()) == reason


def test_what_is_piped_has_one_complete_line_for_each_file():
    [_, line] = finished_lines([FinishedFile(LONG, "failed", "because " * 60)], 1, kind="failed")

    assert line.startswith(LONG)
    assert line.count("because") == 60


@pytest.mark.parametrize("width", [20, 21, 60])
def test_a_shortened_name_keeps_its_beginning_and_its_end(width):
    short = shortened(LONG, width)

    assert len(short) == width
    begin, end = short.split("…")
    assert LONG.startswith(begin)
    assert LONG.endswith(end)
    assert shortened("a.jsonl", width) == "a.jsonl"


def test_where_no_daemon_runs_nothing_is_in_training():
    lines = list(queued_lines([queued("b.jsonl")], 1, columns=80, is_daemon_gone=True))

    assert lines[-1] == "no daemon is running, so none of them is trained now: training_daemon start"


def test_where_there_are_none_it_is_said_of_what():
    assert list(finished_lines([], 0, kind="failed or skipped")) == ["there are no failed or skipped files"]
