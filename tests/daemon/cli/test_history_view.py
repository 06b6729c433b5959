"""The table of completed files fits the terminal; elsewhere it is complete."""

from datetime import UTC, datetime

import pytest

from daemon.cli.history_view import ago_text, empty_text, history_lines
from daemon.client.results import CompletedFile, Validation

LONG = "a-very-long-name-of-a-file-" * 4 + "of-2026.jsonl"
NOW = datetime(2026, 7, 21, 12, 0, tzinfo=UTC).timestamp()


def completed(name="chat.jsonl", **fields):
    facts = {
        "name": name, "job": "1", "state": "completed", "rows": 3_000, "rows_trained": 3_000, "steps": 188,
        "tokens": 71_890, "seconds": 7.0, "first_loss": 4.4169, "last_loss": 1.87, "first_step": 1,
        "last_step": 188, "other_steps": 0, "before": Validation(global_step=0, loss=2.31, rows=4),
        "after": Validation(global_step=188, loss=2.29, rows=4), "finished_at": "2026-07-21T11:58:00.000Z",
        "tokens_per_s": 10_270.0, "validation_change": -0.02, "checkpoint": "step-000000188",
        "is_checkpoint_kept": True,
    }  # fmt: skip
    return CompletedFile(**(facts | fields))


LARGE = completed(
    LONG,
    rows=1_234_567,
    rows_trained=1_234_567,
    steps=77_161,
    seconds=43_424.0,
    tokens_per_s=123_456.0,
    first_loss=12_345.6,
)


def test_on_a_wide_terminal_a_file_is_one_line():
    file = completed(name="a.jsonl", rows_trained=9, steps=2, checkpoint="step-000000002")

    lines = list(history_lines([file], 1, now=NOW, columns=120))

    assert lines == [
        "FILE     ENDED          ROWS  STEPS  TIME  TOKENS/S  LOSS           VALIDATION     CHECKPOINT",
        "a.jsonl  2 minutes ago     9      2  0:07    10,270  4.417 → 1.870  2.310 → 2.290  step-000000002",
    ]


def test_a_small_loss_is_not_shown_as_none():
    [_, line] = history_lines([completed(first_loss=0.0104, last_loss=0.0004)], 1, now=NOW)

    assert "0.010 → 0.0004" in line


@pytest.mark.parametrize("rows_trained, is_said", [(9, False), (18, True)])
def test_rows_of_several_epochs_are_said_to_be_counted_in_each(rows_trained, is_said):
    file = completed(rows=9, rows_trained=rows_trained)

    lines = list(history_lines([file], 1, now=NOW))

    assert ("(ROWS counts each row as often as it was trained, once in each epoch)" in lines) == is_said


@pytest.mark.parametrize("files", [[completed()], [LARGE], [completed(), LARGE]])
@pytest.mark.parametrize("columns", [80, 100, 120, 160])
def test_the_table_fits_the_terminal_and_leaves_names_readable(files, columns):
    lines = list(history_lines(files, len(files), now=NOW, columns=columns))

    assert all(len(line) <= columns for line in lines)
    assert all(any(file.name[:10] in line and "jsonl" in line for line in lines) for file in files)


@pytest.mark.parametrize("columns", [80, 120])
def test_columns_stand_below_each_other(columns):
    lines = list(history_lines([LARGE, completed()], 2, now=NOW, columns=columns))

    assert len({line.index("step-0") for line in lines if "step-0" in line}) == 1
    assert len({line.index("  2 minutes ago") for line in lines if "minutes" in line}) == 1


def test_what_is_piped_has_one_line_for_each_file_with_its_whole_name():
    [_, line] = history_lines([LARGE], 1, now=NOW)

    assert line.startswith(LONG)
    assert "12:03:44" in line


def test_what_is_not_known_is_a_dash():
    bare = completed(steps=0, rows_trained=0, checkpoint=None, is_checkpoint_kept=False, finished_at=None)
    unmeasured = completed(before=None, after=None)
    half = completed(before=None, last_loss=None)

    lines = list(history_lines([bare, unmeasured, half], 3, now=NOW))

    assert lines[1].split() == ["chat.jsonl", "-", "0", "0", "-", "-", "-", "-", "-"]
    assert lines[2].split()[-5:] == ["4.417", "→", "1.870", "-", "step-000000188"]
    assert lines[3].split()[-7:-1] == ["4.417", "→", "-", "-", "→", "2.290"]


@pytest.mark.parametrize(
    "before, after, shown",
    [
        ("last", "last", "2.310 → 2.290"),
        ("average", "average", "2.310 → 2.290 averaged"),
        ("last", "average", "2.290 averaged"),
        ("average", "last", "2.290 last"),
        (None, "average", "- → 2.290 averaged"),
        ("average", None, "2.310 → - averaged"),
    ],
)
def test_losses_of_different_weights_are_no_change(before, after, shown):
    file = completed(
        before=Validation(global_step=0, loss=2.31, rows=4, weights=before) if before else None,
        after=Validation(global_step=188, loss=2.29, rows=4, weights=after) if after else None,
    )

    [_, line] = history_lines([file], 1, now=NOW)
    narrow = list(history_lines([file], 1, now=NOW, columns=80))

    assert line.endswith(f"  4.417 → 1.870  {shown}  step-000000188")
    assert narrow[-1].endswith(f"  4.417 → 1.870  {shown}")
    assert all(len(line) <= 80 for line in narrow)


def test_a_change_that_is_not_of_the_file_alone_is_marked():
    shared, half = completed(other_steps=3), completed(other_steps=3, before=None)

    lines = list(history_lines([completed(), shared, half], 3, now=NOW, columns=120))

    assert [line.count("*") for line in lines] == [0, 0, 1, 0, 1]
    assert lines[-1] == "(*: other jobs took steps in between, too: training_queue show NAME)"


def test_a_checkpoint_that_is_gone_is_in_parentheses_and_that_is_explained():
    lines = list(history_lines([completed(is_checkpoint_kept=False)], 1, now=NOW, columns=80))

    assert "(step-000000188)" in lines[2]
    assert "the checkpoint has been removed" in lines[4]


def test_files_that_are_not_shown_are_counted_with_the_way_to_see_them():
    assert (
        list(history_lines([completed()], 1_200, now=NOW))[-1] == "… and 1,199 more (--limit 1200 shows all)"
    )
    assert list(history_lines([], 0, now=NOW)) == ["no file has been completed yet"]


@pytest.mark.parametrize(
    "at, text",
    [
        ("2026-07-21T11:59:01.000Z", "just now"),
        ("2026-07-21T11:59:00.000Z", "1 minute ago"),
        ("2026-07-21T11:00:01.000Z", "59 minutes ago"),
        ("2026-07-21T11:00:00.000Z", "1 hour ago"),
        ("2026-07-20T12:00:01.000Z", "23 hours ago"),
        ("2026-07-19T12:00:00.000Z", "2 days ago"),
        ("2026-07-21T12:00:09.000Z", "just now"),
        ("once upon a time", "-"),
        (None, "-"),
    ],
)
def test_how_long_ago_something_was_is_said_roughly(at, text):
    assert ago_text(at, now=NOW) == text


def test_an_empty_queue_says_what_happened_last():
    assert empty_text([completed()], 3, 0, now=NOW) == (
        "the queue is empty; 3 files completed, the last one chat.jsonl 2 minutes ago, loss 4.417 → 1.870 "
        "(training_queue history)"
    )
    assert empty_text([completed(steps=0)], 1, 2, now=NOW).endswith(
        "1 file completed, the last one chat.jsonl 2 minutes ago (training_queue history); "
        "2 failed (training_queue list --failed)"
    )
    assert empty_text([], 0, 0, now=NOW) == "the queue is empty"
