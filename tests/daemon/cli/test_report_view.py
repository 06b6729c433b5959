"""A report on a file's rows, as a person reads it."""

import pytest

from daemon.cli.report_view import report_lines
from tests.daemon.status.test_data_reports import finding, report_with


@pytest.mark.parametrize(
    "report, verdict",
    [
        (report_with("note"), "it can be trained"),
        (report_with("warning"), "it can be trained; check what is marked !"),
        (
            report_with("block", file="a b.jsonl"),
            "it would not be trained unless it is admitted: training_queue retry 'a b.jsonl' --admit",
        ),
        (
            report_with("block", is_admitted=True),
            "it was admitted, so it is trained despite what is marked x",
        ),
    ],
)
def test_the_lines_end_with_what_follows_from_the_report(report, verdict):
    assert report_lines(report, is_in_queue=True)[-1] == verdict


def test_a_file_that_was_never_dropped_has_to_be_before_it_can_be_admitted():
    verdict = report_lines(report_with("block"), is_in_queue=False)[-1]

    assert verdict.endswith(
        "drop it into inbox/, and once it has failed: training_queue retry a.jsonl --admit"
    )


def test_of_what_is_not_even_taken_in_only_the_reason_is_shown_and_nobody_can_admit_it():
    refusal = finding("block", "3 of 4 rows are malformed", rule="rows")
    report = report_with().model_copy(update={"findings": (refusal,)})

    assert report_lines(report, is_in_queue=False) == [
        "file              a.jsonl",
        "",
        "x 3 of 4 rows are malformed",
        "",
        "it would be refused, and training_queue retry --admit cannot change that; fix what is marked x",
    ]


def test_what_no_row_could_be_rendered_for_is_not_shown_as_zero():
    report = report_with("block").model_copy(update={"tokens": None})

    shown = {line[:18].strip() for line in report_lines(report, is_in_queue=True)}

    assert {"rows", "copies"} <= shown
    assert not {"too long", "supervised", "without target"} & shown


def test_the_lines_show_figures_and_findings_and_nothing_that_a_terminal_obeys():
    lines = report_lines(report_with("block"), is_in_queue=True)

    assert "tokens per row    min 1, median 5, p95 7, p99 8, max 1,200" in lines
    assert "x 1 of 2 rows is odd" in lines
    assert not any("\x1b" in line for line in lines)
