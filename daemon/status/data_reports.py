"""The reports on files' rows: `status/data_reports/JOB.json`, so that none replaces that of another job."""

import os
from pathlib import Path

from pydantic import ValidationError

from daemon.files.notes import report_file, report_file_named
from trainer.protocol.data_report import DataReport
from trainer.protocol.files import UnreadableFile, read_json, write_json
from trainer.protocol.layout import PRIVATE_MODE, Layout
from trainer.protocol.text import printable

KEPT = 200  # reports; the newest


def write_report(layout: Layout, job_id: str, report: DataReport) -> None:
    """Keep the report on a job's rows, and drop the oldest if there are too many.

    Raises:
        OSError: it cannot be written.
    """
    folder = layout.data_reports
    folder.mkdir(mode=PRIVATE_MODE, exist_ok=True)
    write_json(report_file(layout, job_id), report.model_dump(mode="json"), durable=False)
    _drop_old(folder)


def _drop_old(folder: Path) -> None:
    names = os.listdir(folder)
    if len(names) <= KEPT:
        return
    by_age = sorted((folder / name for name in names), key=lambda path: path.stat().st_mtime_ns)
    for old in by_age[: len(names) - KEPT + KEPT // 10]:  # some more, so that this comes seldom
        old.unlink(missing_ok=True)


def read_report(layout: Layout, job_id: str, name: str) -> DataReport:
    """Return the report on a job's rows.

    Args:
        name: of its file, as it is or as it is shown, by which older releases kept it.
    Raises:
        FileNotFoundError: there is none.
        UnreadableFile: it is none of ours.
    """
    path = report_file(layout, job_id)
    if path.exists():
        return _read(path)
    report = _read(report_file_named(layout, name))
    if report.job_id not in (None, job_id):
        raise FileNotFoundError(f"{path}: the report named {printable(name)} is that of {report.job_id}")
    return report


def _read(path: Path) -> DataReport:
    try:
        return DataReport.model_validate(read_json(path))
    except ValidationError as error:
        raise UnreadableFile(f"{path}: expected the report of a daemon of this release: {error}") from error


def summary(report: DataReport) -> str | None:
    """Return what a person should know of a file in one line; None if there is nothing."""
    messages = [finding.message for finding in (*report.blocks, *report.warnings)]
    if not messages:
        return None
    admitted = "admitted although " if report.blocks and report.is_admitted else ""
    return f"{report.file}: {admitted}{'; '.join(messages)}"
