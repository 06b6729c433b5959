"""Files as training data: what is in them, how the model sees a row, what training would be like."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from daemon.client.advice import no_folder
from daemon.client.errors import (
    FileRefused,
    NoReport,
    NotATrainingFile,
    NotAWorkingDirectory,
    TooBusy,
    UnreadableHistory,
    UnreadableReport,
    raising,
)
from daemon.client.settings import ClientSettings
from trainer.protocol.layout import Layout
from trainer.protocol.text import printable

if TYPE_CHECKING:
    from daemon.client.dry_run import DryRun
    from daemon.client.rejected_rows import RejectedPage
    from daemon.client.row_lengths import RowLengths
    from trainer.protocol.data_report import DataReport
    from trainer.protocol.show import Shown

INSPECTION = "trainer.mains.inspect_file"
RENDERING = "trainer.mains.show_row"
STANDS_BACK = 5
"""The niceness of a process that somebody waits for who only watches: behind training, but on a busy machine
still done within its time."""


@dataclass(frozen=True, kw_only=True)
class FittingLength:
    """`data.max_length` fits, so nothing is proposed."""

    current: int
    proposed: None = None
    is_written: Literal[False] = False
    obstacle: None = None


@dataclass(frozen=True, kw_only=True)
class ProposedLength:
    """Another `data.max_length`, which fits more rows."""

    current: int
    proposed: int
    is_written: bool
    """Whether it is in config.json now."""
    obstacle: str | None
    """Why it was not, or would not be, written; None if nothing is in the way."""
    reason: str
    """Why this length."""


def _nobody(words: str) -> None:
    """Listen to nothing."""


class Data:
    """Inspects files by the settings of one working directory, or by the defaults where there is none.

    Args:
        layout: where a daemon may never have run.
    """

    def __init__(self, layout: Layout, settings: ClientSettings) -> None:
        self._layout = layout
        self._settings = settings
        self._rendering = threading.Lock()

    def report(self, name: str) -> "DataReport":
        """Return what the worker found in a file before it was trained.

        Args:
            name: of the file, as it is or as it is shown, with its folder or without, or the id of its job.
        Raises:
            NoSuchFile: nobody knows it.
            AmbiguousName: several files may be meant.
            NoReport: there is none.
            UnreadableReport: it is none of ours.
            UnreadableHistory: the ledger cannot be read.
        """
        from daemon.client.known_file import report_on
        from daemon.ledger.reader import UnreadableLedger
        from daemon.status.data_reports import KEPT
        from trainer.protocol.files import UnreadableFile

        try:
            with raising(UnreadableReport, UnreadableFile), raising(UnreadableHistory, UnreadableLedger):
                return report_on(self._layout, name)
        except FileNotFoundError as error:
            raise NoReport(
                f"there is no report on {printable(name)}; a file gets one when its turn comes, unless "
                f"it was refused before or data.validation is quick, and only the newest {KEPT} are kept; "
                "to inspect one now: training_data validate FILE"
            ) from error

    def other_jobs(self, report: "DataReport") -> tuple[str, ...]:
        """Return the ids of the other jobs whose files have the name that a report names, newest first.

        Raises:
            UnreadableHistory: the ledger cannot be read.
        """
        from daemon.ledger.job_records import job_ids_named
        from daemon.ledger.reader import UnreadableLedger

        with raising(UnreadableHistory, UnreadableLedger):
            named = job_ids_named(self._layout.ledger_file, report.file)
        return tuple(job_id for job_id in named if job_id != report.job_id)

    def is_in_queue(self, file: Path) -> bool:
        """Whether a file lies in the queue, so that it can be named by its name alone."""
        return file.resolve().is_relative_to(self._layout.queue.resolve())

    def name_in_queue(self, file: Path) -> str:
        """Return the name a file has once it was added, printable: that of its copy, if it is a table."""
        from daemon.client.as_json_lines import is_inspected_as_table
        from daemon.client.converted_copy import name_of_copy

        return printable(name_of_copy(file) if is_inspected_as_table(file) else file.name)

    def inspect(
        self, file: Path | str, *, deep: bool = False, on_progress: Callable[[str], object] = _nobody
    ) -> "DataReport":
        """Inspect a file as the worker would before training it.

        Args:
            deep: every row, and compare it with others.
            on_progress: called with words on how far it is.
        Raises:
            InvalidSettings: they are invalid.
            NotATrainingFile: it is no file, or a table that cannot be converted.
            FileRefused: it cannot be read, or the settings or this machine do not allow it.
            HelperFailed: the process that inspects has ended without an answer.
        """
        from daemon.client.as_json_lines import as_json_lines, findings_on_name
        from daemon.client.helper_process import ask
        from daemon.jobs.admission import is_admitted
        from trainer.protocol.data_report import DataReport, InspectionOrder

        settings = self._settings.effective().settings
        file = _file_of(file)
        refuse_missing_folder(self._layout)
        with as_json_lines(file, settings.data) as rows:
            order = InspectionOrder(
                file=str(rows.resolve()),
                settings=settings.model_dump(mode="json"),
                base=str(self._layout.base),
                deep=deep,
            )
            report = ask(INSPECTION, order, DataReport, on_progress=on_progress)
        findings = (*findings_on_name(file), *report.findings)
        return report.model_copy(
            update={
                "file": printable(file.name or file.resolve().name),
                "findings": findings,
                "is_admitted": is_admitted(self._layout, report.sha256),
            }
        )

    def show(self, file: Path | str, row: int, *, on_progress: Callable[[str], object] = _nobody) -> "Shown":
        """Return the tokens of a row as the model sees them.

        Args:
            row: number of its line, counted from 1; in a table, of the row itself.
            on_progress: called with words on how far it is.
        Raises:
            NotATrainingFile: as for `inspect`.
            FileRefused: the row cannot be trained.
            InvalidSettings, HelperFailed: as for `inspect`.
        """
        return self._shown(_file_of(file), row, on_progress=on_progress)

    def _shown(
        self,
        file: Path,
        row: int,
        *,
        timeout_s: float | None = None,
        niceness: int = 0,
        on_progress: Callable[[str], object] = _nobody,
    ) -> "Shown":
        from daemon.client.as_json_lines import as_json_lines
        from daemon.client.helper_process import ask
        from trainer.protocol.show import Shown, ShowOrder

        settings = self._settings.effective().settings
        refuse_missing_folder(self._layout)
        with as_json_lines(file, settings.data) as rows:
            order = ShowOrder(
                file=str(rows.resolve()),
                row=row,
                settings=settings.model_dump(mode="json"),
                base=str(self._layout.base),
            )
            shown = ask(
                RENDERING,
                order,
                Shown,
                timeout_s=timeout_s,
                niceness=niceness,
                on_progress=on_progress,
            )
        return shown if rows is file else shown.model_copy(update={"file": str(file.resolve())})

    def show_known(self, name: str, row: int, *, timeout_s: float) -> "Shown":
        """Return the tokens of a row of a file that is known here, as `show` does; one row at a time.

        Args:
            name: of the file, with its folder or without, or the id of its job.
            timeout_s: after which the process that renders it is ended.
        Raises:
            TooBusy: another row is being rendered.
            NoSuchFile, AmbiguousName, UnreadableHistory: no one file is meant, or it is gone.
            FileRefused, InvalidSettings, HelperFailed: as for `show`.
        """
        path = self._known_path(name)
        if not self._rendering.acquire(blocking=False):
            raise TooBusy("another row is being rendered, which is done one at a time; try again in a moment")
        try:
            shown = self._shown(path, row, timeout_s=timeout_s, niceness=STANDS_BACK)
        except FileRefused as error:
            message = str(error).replace(printable(str(path.resolve())), printable(path.name))
            raise FileRefused(message, is_bad_config=error.is_bad_config) from error
        finally:
            self._rendering.release()
        return shown.model_copy(update={"file": printable(path.name)})

    def row_lengths(self, name: str) -> "RowLengths":
        """Return how long the first rows of a file are that is known here.

        Raises:
            NoSuchFile, AmbiguousName, UnreadableHistory: no one file is meant, or it is gone.
            FileRefused: its rows cannot be read.
        """
        from daemon.client.row_lengths import row_lengths

        return row_lengths(self._known_path(name), self._settings.effective().settings.data)

    def rejected(self, name: str, *, after: int = 0, limit: int) -> "RejectedPage":
        """Return rows of a file that were rejected, with their reasons.

        Args:
            name: as for `report`.
            after: `next` of the page before; 0 for the first page.
        Raises:
            NoSuchFile, AmbiguousName, UnreadableHistory: no one file is meant.
            UnreadableReport: the list is none of ours.
        """
        from daemon.client.known_file import known_file
        from daemon.client.rejected_rows import RejectedPage, read_rejected
        from daemon.ledger.reader import UnreadableLedger
        from trainer.protocol.files import UnreadableFile

        with raising(UnreadableHistory, UnreadableLedger):
            place = known_file(self._layout, name).rejected_list
        if place is None:
            return RejectedPage(rows=(), next=None)
        with raising(UnreadableReport, UnreadableFile):
            return read_rejected(self._layout.base / place, after=after, limit=limit)

    def _known_path(self, name: str) -> Path:
        from daemon.client.known_file import path_of
        from daemon.ledger.reader import UnreadableLedger

        with raising(UnreadableHistory, UnreadableLedger):
            return path_of(self._layout, name)

    def dry_run(self, file: Path | str, overrides: Sequence[str] = ()) -> "DryRun":
        """Return what training a file would be like; nothing is trained or changed.

        Args:
            overrides: `SECTION.KEY=VALUE` texts.
        Raises:
            NotATrainingFile: it is no file.
            FileRefused: it would not be trained.
            InvalidSettings, HelperFailed: as for `inspect`.
        """
        from daemon.client.dry_run import dry_run

        return dry_run(self._layout, self._settings, _file_of(file), overrides)

    def fit_max_length(self, report: "DataReport", *, writes: bool = False) -> FittingLength | ProposedLength:
        """Propose a `data.max_length` that fits a file.

        Args:
            writes: write it into config.json, if nothing is in the way.
        Raises:
            InvalidSettings: they are invalid.
        """
        from daemon.settings.fitting_length import (
            CannotAdjust,
            model_limit,
            propose,
            refuse_locked,
            write_length,
        )

        effective = self._settings.effective()
        current = effective.settings.data.max_length
        limit = model_limit(self._layout, effective.settings.model.base_model)
        proposal = propose(report.tokens, current=current, model_limit=limit) if report.tokens else None
        if proposal is None:
            return FittingLength(current=current)
        obstacle = None
        try:
            refuse_locked(self._layout, proposal.length)
            if writes:
                write_length(self._layout, effective, proposal.length)
        except CannotAdjust as error:
            obstacle = str(error)
        return ProposedLength(
            current=current,
            proposed=proposal.length,
            is_written=writes and obstacle is None,
            obstacle=obstacle,
            reason=proposal.reason,
        )


def refuse_missing_folder(layout: Layout) -> None:
    """Refuse a working directory that is no folder: its settings would be the defaults.

    Raises:
        NotAWorkingDirectory: it is none.
    """
    if not layout.base.is_dir():
        raise NotAWorkingDirectory(no_folder(layout))


def _file_of(named: Path | str) -> Path:
    file = Path(named)
    if not (file.is_file() or file.is_dir()):
        raise NotATrainingFile(f"{printable(str(file))} is not a file; expected one with rows")
    return file
