"""Reports on files' rows are kept, bounded, and readable."""

import os

import pytest

from daemon.files.notes import report_file, report_file_named
from daemon.jobs.admission import admit, is_admitted
from daemon.status import data_reports as reports
from daemon.status.data_reports import (
    read_report,
    summary,
    write_report,
)
from tests.support import rows, write_jsonl
from trainer.protocol.data_report import DataReport, Finding, TokenLengths
from trainer.protocol.files import UnreadableFile, file_sha256, write_json


def finding(level, message="1 of 2 rows is odd", rule="r"):
    return Finding(rule=rule, level=level, message=message, rows=1, share=0.5)


def report_with(*levels, file="a.jsonl", is_admitted=False):
    return DataReport(
        file=file,
        sha256="ab",
        validation="standard",
        rows=2,
        rejected_rows=1,
        sampled_rows=2,
        max_length=100,
        tokens=TokenLengths(min=1, median=5, p95=7, p99=8, max=1200),
        over_max_length=0.5,
        supervised_share=0.25,
        rows_without_target=0,
        duplicate_rows=0,
        classes={"skill": {"a\x1b[31m": 2}},
        findings=[finding(level) for level in levels],
        is_admitted=is_admitted,
    )


def test_no_report_replaces_that_of_another_job_whose_file_had_its_name(layout):
    first, second = report_with("warning"), report_with("note")

    write_report(layout, "1", first)
    write_report(layout, "2", second)

    assert read_report(layout, "1", "a.jsonl") == first
    assert read_report(layout, "2", "a-2.jsonl") == second


def test_a_report_of_an_older_release_is_found_by_the_name_of_its_file_and_only_for_its_job(layout):
    written = report_with("warning", file="new\\x1b[2J.jsonl").model_copy(update={"job_id": "1"})
    layout.data_reports.mkdir()
    write_json(report_file_named(layout, written.file), written.model_dump(mode="json"), durable=False)

    assert read_report(layout, "1", "new\x1b[2J.jsonl") == written
    assert read_report(layout, "1", "new\\x1b[2J.jsonl") == written
    with pytest.raises(FileNotFoundError):
        read_report(layout, "2", "new\x1b[2J.jsonl")


def test_only_the_newest_reports_stay(layout, monkeypatch):
    monkeypatch.setattr(reports, "KEPT", 2)
    for age, name in enumerate(["new", "old", "older"]):
        write_report(layout, name, report_with())
        os.utime(report_file(layout, name), ns=(0, 10**18 - age))

    write_report(layout, "newest", report_with())

    assert {path.stem for path in layout.data_reports.iterdir()} == {"newest", "new"}


def test_a_file_that_is_no_report_is_named(layout):
    layout.data_reports.mkdir()
    report_file(layout, "1").write_text("{}")

    with pytest.raises(UnreadableFile, match=r"1\.json: expected the report"):
        read_report(layout, "1", "a.jsonl")


@pytest.mark.parametrize(
    "report, line",
    [
        (report_with(), None),
        (report_with("note"), None),
        (report_with("note", "warning"), "a.jsonl: 1 of 2 rows is odd"),
        (report_with("warning", "block"), "a.jsonl: 1 of 2 rows is odd; 1 of 2 rows is odd"),
        (report_with("block", is_admitted=True), "a.jsonl: admitted although 1 of 2 rows is odd"),
        (report_with("warning", is_admitted=True), "a.jsonl: 1 of 2 rows is odd"),
    ],
)
def test_one_line_tells_what_is_beyond_its_limit(report, line):
    assert summary(report) == line


def test_a_content_is_admitted_whatever_its_name_and_no_other_is(layout, tmp_path):
    file, other = write_jsonl(tmp_path / "a", rows(1)), write_jsonl(tmp_path / "b", rows(2))

    admit(layout, file)

    copy = write_jsonl(tmp_path / "copy", rows(1))
    assert is_admitted(layout, file_sha256(copy))
    assert not is_admitted(layout, file_sha256(other))


def test_only_so_many_contents_stay_admitted(layout, tmp_path, monkeypatch):
    monkeypatch.setattr("daemon.jobs.admission.KEPT", 1)
    first, second = write_jsonl(tmp_path / "a", rows(1)), write_jsonl(tmp_path / "b", rows(2))
    admit(layout, first)
    os.utime(layout.admitted / file_sha256(first), ns=(0, 0))

    admit(layout, second)

    assert [path.name for path in layout.admitted.iterdir()] == [file_sha256(second)]
