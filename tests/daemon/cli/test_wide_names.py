"""Names with characters of two cells, such as emoji, keep the columns of a table in line."""

import pytest
from rich.cells import cell_len

from daemon.cli.queue_view import queued_lines, shortened
from daemon.jobs.listing import QueuedFile


def test_the_columns_after_wide_names_stand_below_each_other():
    files = [
        QueuedFile(name=name, state="waiting", priority="high", rows=3, job="1")
        for name in ("🎉🎉🎉🎉.jsonl", "plain.jsonl")
    ]

    lines = list(queued_lines(files, 2, columns=100))

    starts = {
        cell_len(line.partition(word)[0])
        for line, word in zip(lines, ("STATE", *["waiting"] * 2), strict=True)
    }
    assert len(starts) == 1


@pytest.mark.parametrize("width", [20, 21, 24])
def test_a_wide_name_is_shortened_to_cells(width):
    assert cell_len(shortened("🎉" * 30 + ".jsonl", width)) == width
