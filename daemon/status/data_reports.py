"""The reports on files' rows: `status/data_reports/NAME.json`, and how a person reads them."""

import os
import shlex
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from daemon.files.notes import note_beside
from trainer.protocol.data_report import DataReport
from trainer.protocol.files import UnreadableFile, read_json, write_json
from trainer.protocol.layout import PRIVATE_MODE, Layout
from trainer.protocol.text import printable

SUFFIX = ".json"
KEPT = 200  # reports; the newest
LABELS_SHOWN = 5
SIGNS = {"note": " ", "warning": "!", "block": "x"}


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
    told = [finding.message for finding in (*report.blocks, *report.warnings)]
    if not told:
        return None
    admitted = "admitted although " if report.blocks and report.is_admitted else ""
    return f"{report.file}: {admitted}{'; '.join(told)}"


def report_lines(report: DataReport, *, is_in_queue: bool) -> list[str]:
    """Return a report as lines for a terminal.

    Args:
        is_in_queue: whether `training_queue` knows the file.
    """
    facts = [f"{name:<18}{value}" for name, value in _facts(report)]
    findings = [f"{SIGNS[finding.level]} {printable(finding.message)}" for finding in report.findings]
    verdict = _verdict(report, is_in_queue=is_in_queue)
    return [*facts, "", *(findings or ["nothing odd was found"]), "", verdict]


def _facts(report: DataReport) -> Iterator[tuple[str, str]]:
    yield "file", printable(report.file)
    if report.is_refused_at_intake:
        return  # nobody looked at the rows, so a figure would say nothing of them
    yield "rows", f"{report.rows:,}, and {report.rejected_rows:,} rejected"
    yield "looked at", f"{report.sampled_rows:,} rows ({report.validation}); copies among all rows"
    if lengths := report.tokens:
        shown = ", ".join(f"{name} {value:,}" for name, value in lengths.model_dump().items())
        yield "tokens per row", shown
    yield "too long", f"{report.over_max_length:.1%} have more than data.max_length ({report.max_length:,})"
    yield "learned", f"{report.supervised_share:.1%} of the tokens"
    yield "without target", f"{report.rows_without_target:,} rows"
    yield "copies", f"{report.duplicate_rows:,} rows"
    for name, values in report.classes.items():
        labels = [f"{printable(value)} {times:,}" for value, times in values.items()]
        yield name, ", ".join([*labels[:LABELS_SHOWN], *["…"] * (len(labels) > LABELS_SHOWN)])


def _verdict(report: DataReport, *, is_in_queue: bool) -> str:
    if report.is_refused_at_intake:
        return "it is not taken in, and cannot be admitted; change what is marked x"
    if not report.can_be_admitted:
        return "it is not trained, and cannot be admitted; change what is marked x"
    if report.is_blocked:
        retry = f"training_queue retry {shlex.quote(report.file)} --admit"
        way = retry if is_in_queue else f"drop it, and after it failed: {retry}"
        return f"it is not trained, unless it is admitted: {way}"
    if report.blocks:
        return "it was admitted, so it is trained whatever is marked x"
    return "it can be trained; what is marked ! is worth a look" if report.warnings else "it can be trained"
