"""The reports on files' rows: `status/data_reports/NAME.json`."""

import os
from pathlib import Path

from pydantic import ValidationError

from daemon.files.notes import note_beside
from trainer.protocol.data_report import DataReport
from trainer.protocol.files import UnreadableFile, read_json, write_json
from trainer.protocol.layout import PRIVATE_MODE, Layout

SUFFIX = ".json"
KEPT = 200  # reports; the newest


def report_file(layout: Layout, name: str) -> Path:
    """Return where the report on a file of this name lies, whether or not there is one."""
    return note_beside(layout.data_reports / name, SUFFIX)


def write_report(layout: Layout, report: DataReport) -> None:
    """Keep a report, and drop the oldest if there are too many.

    Raises:
        OSError: it cannot be written.
    """
    folder = layout.data_reports
    folder.mkdir(mode=PRIVATE_MODE, exist_ok=True)
    write_json(report_file(layout, report.file), report.model_dump(mode="json"), durable=False)
    _drop_old(folder)


def _drop_old(folder: Path) -> None:
    names = os.listdir(folder)
    if len(names) <= KEPT:
        return
    by_age = sorted((folder / name for name in names), key=lambda path: path.stat().st_mtime_ns)
    for old in by_age[: len(names) - KEPT + KEPT // 10]:  # some more, so that this comes seldom
        old.unlink(missing_ok=True)


def read_report(layout: Layout, name: str) -> DataReport:
    """Return the report on a file.

    Args:
        name: of the file, as it is or as it is shown.
    Raises:
        FileNotFoundError: there is none.
        UnreadableFile: it is none of ours.
    """
    path = report_file(layout, name)
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
