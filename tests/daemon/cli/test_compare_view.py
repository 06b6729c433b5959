"""A comparison as text: it fits the terminal, and nothing in it can command the terminal."""

from dataclasses import replace

import pytest
from rich.cells import cell_len

from daemon.cli.compare_view import compare_lines
from daemon.client.compare import Comparison, RecordedNumbers
from daemon.client.models import SettingDifference
from trainer.protocol.comparison import Compared, ComparedAnswer, LossDifference
from trainer.versions.record import SuiteScore, TrainedFile

BETTER = LossDifference(
    rows=200, left_out=0, before=3.0, after=2.7, difference=-0.3, low=-0.35, high=-0.25, t=-12.0
)
HOSTILE = "\x1b[2J\r\n" + "漢字" * 60 + "\u202e" + "x" * 300


def numbers(version, step, *suites, weights="last"):
    return RecordedNumbers(
        version=version, global_step=step, validation_loss=3.0, validation_weights=weights, suites=suites
    )


def score(exact_match):
    return SuiteScore(suite="sums\x1b[31m", global_step=3, rows=40, exact_match=exact_match)


def file(name):
    return TrainedFile(
        job_id="1", name=name, sha256="0" * 64, first_step=4, last_step=9, rows=5, outcome="completed"
    )


def comparison(*, loss=BETTER, answers=(), settings=(), added=(), missing=(), before=(), after=()):
    return Comparison(
        before=numbers("v001", 3, *before),
        after=numbers("v002", 9, *after),
        settings=settings,
        files_added=added,
        files_missing=missing,
        measured=Compared(device="cpu", loss=loss, answers=answers),
    )


def text(found, columns=100):
    return "\n".join(compare_lines(found, columns=columns))


@pytest.mark.parametrize(
    "low, high, verdict",
    [
        (-0.35, -0.25, "v002 is better on rows like these"),
        (0.25, 0.35, "v001 is better on rows like these"),
        (-0.1, 0.1, "the difference may be chance"),
        (0.0, 0.0, "the difference may be chance"),
    ],
)
def test_the_verdict_is_that_of_the_interval(low, high, verdict):
    loss = BETTER.model_copy(update={"low": low, "high": high})

    assert verdict in text(comparison(loss=loss))


def test_the_difference_is_shown_with_its_share_of_the_loss():
    assert "v001 3.0000   v002 2.7000   difference -0.3000 (-10.0%)" in text(comparison())


def test_what_was_recorded_stands_beside_what_was_measured():
    shown = text(comparison(before=(score(0.5),), after=(score(0.75),)))

    assert "  validation loss: 3.0000 -> 3.0000\n" in shown
    assert "  suite sums\\x1b[31m: 50.0% of 40 rows -> 75.0% of 40 rows at step 3\n" in shown


@pytest.mark.parametrize(
    "before, after, shown",
    [
        (None, "last", "3.0000 -> 3.0000"),
        ("average", "average", "3.0000 -> 3.0000 averaged"),
        ("last", "average", "3.0000 last, then 3.0000 averaged: not comparable"),
        ("average", None, "3.0000 averaged, then 3.0000: not comparable"),
    ],
)
def test_recorded_losses_of_different_weights_are_no_change(before, after, shown):
    found = replace(
        comparison(), before=numbers("v001", 3, weights=before), after=numbers("v002", 9, weights=after)
    )

    assert f"  validation loss: {shown}\n" in text(found)


def test_equal_answers_are_shown_once_and_others_side_by_side():
    same = ComparedAnswer(prompt="Say 3.", before="three", after="three")
    other = ComparedAnswer(prompt="Say 4.", before="four", after="")

    lines = text(comparison(answers=(same, other)), columns=80).splitlines()

    assert "both: three" in lines
    assert "v001: four" + " " * 28 + " | v002: (an empty answer)" in lines


def test_a_file_that_both_were_trained_on_is_not_said_to_be_of_one_alone():
    whole = file("b.jsonl").model_copy(update={"last_step": 40})

    lines = text(comparison(added=(whole,), missing=(file("b.jsonl"),))).splitlines()

    head = lines.index("v002 was trained on, and v001 was not, or at other steps")
    assert lines[head + 1] == "  b.jsonl  steps 4 to 40"
    head = lines.index("v001 was trained on, and v002 was not, or at other steps")
    assert lines[head + 1] == "  b.jsonl  steps 4 to 9"
    assert not any(line.startswith("only ") for line in lines)


@pytest.mark.parametrize("columns", [80, 120])
def test_every_line_fits_and_commands_nothing(columns):
    found = comparison(
        answers=(ComparedAnswer(prompt=HOSTILE, before=HOSTILE, after="a " * 200),),
        settings=(SettingDifference(setting="training.x", before=HOSTILE, after="y" * 300),),
        added=tuple(file(HOSTILE) for _ in range(25)),
        before=(score(0.5),),
    )

    lines = list(compare_lines(found, columns=columns))

    too_long = [line for line in lines if cell_len(line) > columns]
    assert too_long == []
    assert all(line.isprintable() for line in lines)
    assert "  and 5 more files: --json shows them" in lines


def test_what_was_not_measured_is_said_with_the_way_to_it():
    shown = text(comparison(loss=None))

    assert "no validation rows: name a file with --validation, or set validation.file" in shown
    assert "no answers: name a file of prompts with --prompts, or set previews.prompts" in shown
