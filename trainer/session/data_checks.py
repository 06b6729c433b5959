"""The look at a file's rows before its first step: now, or while another file still trains.

What is rendered for it goes into the token cache, where training finds it.
"""

import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from trainer.config.schema import DataSettings, ProfileSettings, Settings
from trainer.data.checks.deep import DeepLook
from trainer.data.checks.report import Limits, RowReport, SampledRow, find_duplicates, spread
from trainer.data.formats import read_conversation
from trainer.data.reading.rows import BadRow, RowFile
from trainer.data.rendering.render import ExampleRenderer, RowExamples
from trainer.data.rendering.source import ExampleSource, Renderer
from trainer.profiles.base import DataProfile
from trainer.protocol.data_report import DataReport, Depth
from trainer.protocol.job import Cursor, Job
from trainer.protocol.messages import DataChecked
from trainer.reporting.reporter import Reporter
from trainer.session.deep_check import open_deep_look
from trainer.session.open_job import (
    Means,
    OpenJob,
    make_plan,
    make_profile_of,
    make_renderer,
    open_source,
    settings_of,
)

SAMPLED_ROWS = 1_000
ROWS_AT_ONCE = 16  # so that the steps of the file in training, which the same thread renders, need not wait
NO_LIMIT = 2**40  # tokens


class RefusedData(ValueError):
    """What was found in a file keeps it from being trained; the message says what, and the way out."""


class _Prepared(NamedTuple):
    """A report, with the settings that decide about it."""

    data: DataSettings
    profile: ProfileSettings
    report: DataReport


class DataChecks:
    """Makes the reports of a session's jobs, and refuses those that must not be trained."""

    def __init__(self, means: Means, reporter: Reporter) -> None:
        self._means = means
        self._reporter = reporter
        self._prepared: dict[str, _Prepared] = {}
        self._wanted: str | None = None  # the job whose report is made ahead

    def ahead(self, job: Job, settings: Settings, cursor: Cursor | None) -> Callable[[RowFile], None]:
        """Return what makes a job's report once its file is open, as long as nobody has given it up."""
        if (cursor and cursor.step) or settings.data.validation == "quick":
            return lambda rows: None
        settings = settings_of(cursor, settings)
        self._prepared.clear()
        self._wanted = job.id

        def check(rows: RowFile) -> None:
            plan = make_plan(job, settings, cursor.replayed if cursor else ())
            profile = make_profile_of(settings, self._means)
            source = open_source(job, rows, plan, settings, self._means, profile)
            try:
                with self._look(job, rows, source, settings) as look:
                    while self._wanted == job.id and self._go_on(look):
                        pass
                    if look.is_done:
                        self._prepared[job.id] = _Prepared(settings.data, settings.profile, look.report())
            finally:
                source.let_cache_go()

        return check

    def drop_others(self, job_id: str | None) -> None:
        """Give up what is being made ahead for any other job."""
        if self._wanted != job_id:
            self._wanted = None

    def check(self, opened: OpenJob, *, is_admitted: bool) -> None:
        """Look at the rows of a job that has taken no step, and tell what was found.

        Raises:
            RefusedData: it must not be trained.
            BadConfig: the chat template cannot be used.
            OSError: the file cannot be read, which need not be its own fault.
        """
        if opened.first_step or opened.settings.data.validation == "quick":
            return
        try:
            report = self._report(opened).model_copy(update={"is_admitted": is_admitted})
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
        with self._look(opened.job, opened.rows, opened.source, settings) as look:
            while self._go_on(look):
                pass
            return look.report()

    @contextmanager
    def _look(
        self, job: Job, rows: RowFile, source: ExampleSource, settings: Settings
    ) -> Iterator["DataCheck"]:
        profile = make_profile_of(settings, self._means)
        render_whole = renderer_without_limit(profile, self._means.renderer, settings)
        with open_deep_look(settings, base_dir=self._means.base_dir) as deep:
            yield DataCheck(
                job, rows, source, render_whole, settings.data, profile, wanted=SAMPLED_ROWS, deep=deep
            )

    def _go_on(self, look: "DataCheck") -> bool:
        goes_on = self._means.executor.submit(look.go_on).result()
        self._reporter.tick()
        return goes_on


class DataCheck:
    """The look at one file's rows, a few at a time.

    Args:
        source: of the job's steps.
        render_whole: renders rows as they would be without a limit.
        profile: says what is wrong with rows.
        wanted: rows to be looked at, if not all are.
        deep: looks at every row for more.
    """

    def __init__(
        self,
        job: Job,
        rows: RowFile,
        source: ExampleSource,
        render_whole: Renderer,
        data: DataSettings,
        profile: DataProfile,
        *,
        wanted: int,
        deep: DeepLook | None,
    ) -> None:
        self._job = job
        self._deep = deep
        self._fields = data.fields
        self._rows = rows
        self._source = source
        self._render_whole = render_whole
        self._profile = profile
        self._depth: Depth = "deep" if deep else "standard"
        self._positions = spread(len(rows), len(rows) if deep else wanted)
        self.num_looked_at = 0
        limits = Limits(max_length=data.max_length, max_truncated_fraction=data.max_truncated_fraction)
        self._found = RowReport(limits)

    @property
    def num_wanted(self) -> int:
        return len(self._positions)

    @property
    def is_done(self) -> bool:
        return self.num_looked_at == self.num_wanted

    def go_on(self) -> bool:
        """Look at the next few rows; return whether there are more. On the thread that renders.

        Raises:
            BadConfig: the chat template cannot be used.
            OSError: the file cannot be read.
        """
        positions = self._positions[self.num_looked_at : self.num_looked_at + ROWS_AT_ONCE]
        self._look_at(positions)
        self.num_looked_at += len(positions)
        return not self.is_done

    def report(self) -> DataReport:
        """Return what was found."""
        positions = find_duplicates(self._rows.hashes)
        return self._found.report(
            self._job,
            validation=self._depth,
            duplicates=[self._rows.line_number(position) for position in positions],
            more=self._deep.findings().findings if self._deep else (),
        )

    def _look_at(self, positions: list[int]) -> None:
        try:
            examples = self._source.examples_at(positions).items()
            sampled = [self._sampled(*known) for known in zip(positions, examples, strict=True)]
        except BadRow as error:
            if len(positions) == 1:
                self._found.look_at_unrenderable(self._rows.line_number(positions[0]), str(error))
                return
            for position in positions:  # one by one, to tell which it is
                self._look_at([position])
            return
        for row in sampled:
            self._found.look(row)
            if self._deep:
                self._deep.look(row.line, row.conversation)

    def _sampled(self, position: int, known: tuple[int, RowExamples]) -> SampledRow:
        line, examples = known
        conversation = read_conversation(self._rows.read(position), self._fields)
        whole = examples
        if len(examples) != 1 or examples[0].is_truncated:
            [whole] = self._render_whole([(line, conversation)])
        num_tokens = sum(len(example.token_ids) for example in whole)
        return SampledRow(line, conversation, examples, num_tokens, self._profile.faults(conversation))


def renderer_without_limit(profile: DataProfile, renderer: ExampleRenderer, settings: Settings) -> Renderer:
    """Return what renders rows whole, which tells how long they are."""
    data = settings.data.model_copy(update={"max_length": NO_LIMIT, "overlong": "truncate_right"})
    return make_renderer(profile, renderer, settings.model_copy(update={"data": data}))


def refuse_blocked(report: DataReport) -> None:
    """Make sure that a file may be trained.

    Raises:
        RefusedData: its report says no, and nobody has admitted it.
    """
    if not report.is_blocked:
        return
    why = "; ".join(finding.message for finding in report.blocks)
    way_out = "change the rows or these settings"
    if report.can_be_admitted:
        name = shlex.quote(report.file)
        words = f"--admit -- {name}" if name.startswith("-") else f"{name} --admit"
        way_out += f", or admit the file as it is: training_queue retry {words}"
    raise RefusedData(f"{why}; {way_out}")
