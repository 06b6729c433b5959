"""Inspect a job's rows before its first step: now, or while another file still trains.

What is rendered for that goes into the token cache, where training finds it.
"""

import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from trainer.config.schema import DataSettings, ProfileSettings, Settings
from trainer.data.reading.rows import RowFile
from trainer.data.rendering.source import ExampleSource
from trainer.pipeline.comparisons import open_deep_inspection
from trainer.pipeline.example_pipeline import ExamplePipeline
from trainer.pipeline.inspection import FileInspection
from trainer.pipeline.job_plan import job_settings, make_plan
from trainer.pipeline.rendering import finder_of_oddities, renderer_without_limit
from trainer.protocol.data_report import DataReport, Finding
from trainer.protocol.job import Cursor, Job
from trainer.protocol.messages import DataChecked
from trainer.reporting.reporter import Reporter
from trainer.session.open_job import OpenJob

SAMPLED_ROWS = 1_000


class RefusedData(ValueError):
    """What was found in a file keeps it from being trained; the message says what, and the way out."""


class _Prepared(NamedTuple):
    """A report, with the settings that decide about it."""

    data: DataSettings
    profile: ProfileSettings
    report: DataReport


class DataChecks:
    """Makes the reports of a session's jobs, and refuses those that must not be trained."""

    def __init__(self, pipeline: ExamplePipeline, reporter: Reporter) -> None:
        self._pipeline = pipeline
        self._reporter = reporter
        self._prepared: dict[str, _Prepared] = {}
        self._wanted: str | None = None  # the job whose report is made ahead

    def ahead(self, job: Job, settings: Settings, cursor: Cursor | None) -> Callable[[RowFile], None]:
        """Return what makes a job's report once its file is open, as long as nobody has given it up."""
        if (cursor and cursor.step) or settings.data.validation == "quick":
            return lambda rows: None
        settings = job_settings(cursor, settings)
        self._prepared.clear()
        self._wanted = job.id

        def check(rows: RowFile) -> None:
            plan = make_plan(job, settings, cursor.replayed if cursor else ())
            profile = self._pipeline.profile_of(settings)
            source = self._pipeline.open_source(job, rows, plan, settings, profile)
            try:
                with self._inspect(job, rows, source, settings) as inspection:
                    while self._wanted == job.id and self._go_on(inspection):
                        pass
                    if inspection.is_done:
                        self._prepared[job.id] = _Prepared(
                            settings.data, settings.profile, inspection.report()
                        )
            finally:
                source.let_cache_go()

        return check

    def drop_others(self, job_id: str | None) -> None:
        """Give up what is being made ahead for any other job."""
        if self._wanted != job_id:
            self._wanted = None

    def check(
        self, opened: OpenJob, *, is_admitted: bool, look_closer: Callable[[], tuple[Finding, ...]] = tuple
    ) -> None:
        """Inspect the rows of a job that has taken no step, and report what was found.

        Args:
            look_closer: returns what else is found.
        Raises:
            RefusedData: it must not be trained.
            BadConfig: the chat template cannot be used.
            OSError: the file cannot be read, which need not be its own fault.
        """
        if opened.first_step or opened.settings.data.validation == "quick":
            return
        try:
            report = self._report(opened)
            more = () if report.is_blocked and not is_admitted else look_closer()
            report = report.model_copy(
                update={"findings": (*report.findings, *more), "is_admitted": is_admitted}
            )
            self._reporter.event(DataChecked(job_id=opened.job.id, report=report))
            refuse_blocked(report)
        except BaseException:
            opened.source.let_cache_go()  # which nobody else will
            raise

    def _report(self, opened: OpenJob) -> DataReport:
        settings = opened.settings
        prepared = self._prepared.pop(opened.job.id, None)
        if prepared and prepared[:2] == (settings.data, settings.profile):
            return prepared.report
        with self._inspect(opened.job, opened.rows, opened.source, settings) as inspection:
            while self._go_on(inspection):
                pass
            return inspection.report()

    @contextmanager
    def _inspect(
        self, job: Job, rows: RowFile, source: ExampleSource, settings: Settings
    ) -> Iterator[FileInspection]:
        profile = self._pipeline.profile_of(settings)
        render_whole = renderer_without_limit(profile, self._pipeline.renderer, settings)
        find_oddities = finder_of_oddities(profile, self._pipeline.renderer, settings)
        with open_deep_inspection(settings, base_dir=self._pipeline.base_dir) as deep:
            yield FileInspection(
                job,
                rows,
                source,
                render_whole,
                find_oddities,
                settings.data,
                profile,
                wanted=SAMPLED_ROWS,
                deep=deep,
            )

    def _go_on(self, inspection: FileInspection) -> bool:
        goes_on = self._pipeline.executor.submit(inspection.go_on).result()
        self._reporter.tick()
        return goes_on


def refuse_blocked(report: DataReport) -> None:
    """Make sure that a file may be trained.

    Raises:
        RefusedData: its report says no, and nobody has admitted it.
    """
    if not report.is_blocked:
        return
    why = "; ".join(finding.message for finding in report.blocks)
    way_out = "change the rows or the settings"
    if report.can_be_admitted:
        name = shlex.quote(report.file)
        words = f"--admit -- {name}" if name.startswith("-") else f"{name} --admit"
        way_out += f", or admit the file as it is: training_queue retry {words}"
    raise RefusedData(f"{why}; {way_out}")
