"""One job while it trains: its plan, its rows, and how far it has come."""

from collections import Counter
from collections.abc import Generator
from dataclasses import dataclass, field
from functools import partial

from trainer.config.schema import Settings
from trainer.data.plan import Plan
from trainer.data.reading.rows import BadRow, RowFile
from trainer.data.rendering.render import learnable
from trainer.data.rendering.source import ExampleSource, PlannedStep
from trainer.pipeline.example_pipeline import ExamplePipeline
from trainer.pipeline.job_plan import job_settings, make_plan
from trainer.pipeline.replay import EarlierFiles, render_replayed
from trainer.profiles.base import DataProfile
from trainer.protocol.job import Cursor, EarlierFile, FaultKind, Job, JobRecord, Outcome, Window
from trainer.protocol.messages import JobEnded, StartJob, StepReport
from trainer.protocol.text import num_of
from trainer.session.batch_size_store import BatchSizeStore
from trainer.step.feeding_trainer import StepBundle

LINES_SHOWN = 10  # of untrainable rows


class UnreadableRows(ValueError):
    """The rest of a job's file cannot be trained; the message says why."""


@dataclass
class OpenJob:
    """A job with its file open.

    Args:
        settings: those the job started with.
        first_step: steps that an earlier run has already trained.
        micro_batch_tokens: what the next step may have at once.
        batch_sizes: asked only where the settings leave the tokens of a micro-batch open.
    """

    job: Job
    settings: Settings
    plan: Plan
    rows: RowFile
    source: ExampleSource
    cursor: Cursor
    first_step: int
    micro_batch_tokens: int
    batch_sizes: BatchSizeStore
    left_out: tuple[Window, ...] = ()
    """Steps that are not trained."""
    counts: Counter[str] = field(default_factory=Counter)
    """Rows `truncated`, `split`, `dropped` and `without_target` in `counted_steps`."""
    first_lines_without_target: list[int] = field(default_factory=list)
    warning: str | None = None
    """What a person should know before it continues."""

    def bundles(self) -> Generator[StepBundle, None, None]:
        """Yield the steps that are still to be trained.

        Raises:
            UnreadableRows: a row is not what was checked, or cannot be rendered.
            BadConfig: the chat template cannot be used.
            OSError: the file cannot be read, which need not be its own fault.
        """
        indices = (step for step in range(self.first_step, self.plan.num_steps) if not self._leaves_out(step))
        try:
            for planned in self.source.steps(indices):
                yield self._bundle(planned)
        except BadRow as error:
            raise UnreadableRows(self.source.message_of(error)) from error

    def _leaves_out(self, step: int) -> bool:
        return any(step in window for window in self.left_out)

    def _bundle(self, planned: PlannedStep) -> StepBundle:
        if planned.index in self.counted_steps:
            self._count(planned)
        examples = learnable([*planned.examples, *planned.replayed])
        return StepBundle(
            index=planned.index,
            num_steps=self.plan.num_steps,
            lines=planned.lines,
            replayed=len(planned.replayed),
            examples=examples,
            num_items=sum(example.supervised_tokens for example in examples),
            micro_batch_tokens=self.batch_sizes.limited(self.micro_batch_tokens)
            if self.is_auto
            else self.micro_batch_tokens,
        )

    @property
    def counted_steps(self) -> range:
        """The steps of this run whose rows are counted: one whole epoch, or what is left of the last one.

        Each epoch has an order of its own, so parts of two would count some rows twice and others never.
        """
        per_epoch = self.plan.steps_per_epoch
        next_epoch = -(-self.first_step // per_epoch) * per_epoch
        if next_epoch < self.plan.num_steps:
            return range(next_epoch, next_epoch + per_epoch)
        return range(self.first_step, self.plan.num_steps)

    @property
    def counted_from_step(self) -> int | None:
        """The step, counted from 1, before which no row was counted; None if the whole file was."""
        first = self.counted_steps.start
        return first + 1 if first % self.plan.steps_per_epoch else None

    def _count(self, planned: PlannedStep) -> None:
        for line, examples in zip(planned.lines, planned.examples, strict=True):
            self.counts["truncated"] += any(example.is_truncated for example in examples)
            self.counts["split"] += len(examples) > 1
            self.counts["dropped"] += not examples
            if examples and not learnable([examples]):
                self.counts["without_target"] += 1
                if len(self.first_lines_without_target) < LINES_SHOWN:
                    self.first_lines_without_target.append(line)

    def report_of_step(
        self, bundle: StepBundle, *, global_step: int, tokens: int, seconds: float, waited_s: float
    ) -> StepReport:
        """Return what is said of the step that was taken last; whoever reports it knows its loss."""
        return StepReport(
            global_step=global_step,
            job_id=self.job.id,
            file_step=self.cursor.step,
            rows=len(bundle.lines),
            tokens=tokens,
            supervised_tokens=bundle.num_items,
            loss=None,
            learning_rate=bundle.learning_rate,
            grad_norm=None,
            seconds=seconds,
            waited_s=waited_s,
            not_applied=bundle.not_applied,
            lines=bundle.lines if bundle.not_applied else (),
            replayed=bundle.replayed,
        )

    def report_of_end(self, record: JobRecord) -> JobEnded:
        """Return what is said of the job's end."""
        fault = {Outcome.FAILED: FaultKind.BAD_DATA, Outcome.SKIPPED: FaultKind.REQUEST}.get(record.outcome)
        return JobEnded(
            record=record,
            fault=fault,
            durable=record.steps == 0,
            truncated_rows=self.counts["truncated"],
            split_rows=self.counts["split"],
            dropped_rows=self.counts["dropped"],
            rows_without_target=self.counts["without_target"],
            counted_from_step=self.counted_from_step,
        )

    def report_of_untrainable_rows(self) -> str | None:
        """Say for a person which rows were untrainable; None if none was."""
        if not (number := self.counts["without_target"]):
            return None
        more = [] if number == len(self.first_lines_without_target) else ["…"]
        lines = ", ".join([*map(str, self.first_lines_without_target), *more])
        since = f" from step {self.counted_from_step:,} on" if self.counted_from_step else ""
        return (
            f"{self.job.name}: {num_of(number, 'untrainable row')} without a supervised token{since}: "
            f"{'line' if number == 1 else 'lines'} {lines}; "
            f"expected a turn to train among the first {self.settings.data.max_length} tokens "
            "(data.max_length); check their roles and lengths"
        )

    @property
    def is_auto(self) -> bool:
        """Whether the settings leave the tokens of a micro-batch open."""
        return self.settings.training.micro_batch_tokens == "auto"

    def advance(self, bundle: StepBundle) -> None:
        """Note that a step was trained, and how much fitted into memory."""
        self.cursor.step = bundle.index + 1
        if bundle.not_applied:
            self.cursor.bad_steps = (*self.cursor.bad_steps, bundle.index)
        else:
            self.cursor.rows_trained += len(bundle.lines)
        if bundle.micro_batch_tokens < self.micro_batch_tokens:
            self.micro_batch_tokens = self.cursor.micro_batch_tokens = bundle.micro_batch_tokens
            if self.is_auto:
                self.batch_sizes.note_out_of_memory(bundle.micro_batch_tokens)

    def bad_steps(self, *, since: int) -> list[int]:
        """Return the steps after `since` that were not applied, but for those already given up."""
        return [step for step in self.cursor.bad_steps if step > since and not self._leaves_out(step)]

    def trained_here(self) -> Window:
        """Return the steps trained since the job was opened."""
        return Window(first=self.first_step, last=max(self.first_step, self.cursor.step - 1))

    def record(self, outcome: Outcome, message: str | None = None) -> JobRecord:
        """Return what a checkpoint keeps of the job."""
        return JobRecord(
            job_id=self.job.id,
            name=self.job.name,
            sha256=self.job.sha256,
            outcome=outcome,
            message=message,
            rows_trained=self.cursor.rows_trained,
            steps=self.cursor.step,
        )


@dataclass(frozen=True)
class SessionResources:
    """What all jobs of a session are opened with.

    Args:
        earlier: the files that rows are replayed from.
    """

    pipeline: ExamplePipeline
    earlier: EarlierFiles
    batch_sizes: BatchSizeStore


def open_job(
    order: StartJob,
    rows: RowFile,
    settings: Settings,
    cursor: Cursor | None,
    resources: SessionResources,
) -> OpenJob:
    """Set a job up to be trained from its cursor, or from the start if it has none.

    A cursor brings the settings that decide what is trained: a job keeps those it started with.

    Raises:
        BadRow: the rows are not those that were checked, or not those the cursor counts.
        UnusableReplay: a file that rows are replayed from is gone or changed.
        UnknownProfile, BadProfileOption, BrokenProfile: the profile cannot be honoured.
    """
    job = order.job
    if len(rows) != job.rows:
        raise BadRow(
            f"{len(rows)} rows can be read, but {job.rows} were checked; drop the file into inbox/ again"
        )
    settings = job_settings(cursor, settings)
    replayed = cursor.replayed if cursor else order.replayed
    plan = make_plan(job, settings, replayed)
    if cursor and cursor.plan != plan.fingerprint:
        raise BadRow(
            f"the checkpoint counts steps of plan {cursor.plan}, but the file and its settings make plan "
            f"{plan.fingerprint}; drop the file into inbox/ again to train it from the start"
        )
    files = resources.earlier.take(replayed if plan.replay else (), order, settings.data.max_line_bytes)
    profile = resources.pipeline.profile_of(settings)
    warning = _warn_of_other_code(cursor, profile) if cursor else None
    cursor = cursor or _new_cursor(job, settings, plan, replayed)
    cursor.profile_code = profile.code
    cursor.micro_batch_tokens = _tokens_at_once(order, cursor, settings, resources.batch_sizes)
    return OpenJob(
        job=job,
        settings=settings,
        plan=plan,
        rows=rows,
        source=resources.pipeline.open_source(
            job, rows, plan, settings, profile, partial(render_replayed, plan, files, order)
        ),
        cursor=cursor,
        first_step=cursor.step,
        micro_batch_tokens=cursor.micro_batch_tokens,
        batch_sizes=resources.batch_sizes,
        left_out=order.left_out,
        warning=warning,
    )


def _warn_of_other_code(cursor: Cursor, profile: DataProfile) -> str | None:
    """Say that a job's profile was changed while it was open. It goes on: the change may be what it needs."""
    if cursor.profile_code in (None, profile.code):
        return None
    return (
        f"the code of the profile {profile.name} has changed since {cursor.name} started; expected the same "
        f"until its end, so that it can be trained again alike; its rows from step {cursor.step + 1} on are "
        "made by the new code"
    )


def _tokens_at_once(order: StartJob, cursor: Cursor, settings: Settings, batch_sizes: BatchSizeStore) -> int:
    """Return the least that settings, checkpoint and the daemon know; what is best here if none knows any."""
    given = settings.training.micro_batch_tokens
    limits = [order.micro_batch_tokens, cursor.micro_batch_tokens, None if given == "auto" else given]
    known = [tokens for tokens in limits if tokens]
    return min(known) if known else batch_sizes.for_new_job()


def _new_cursor(job: Job, settings: Settings, plan: Plan, replayed: tuple[EarlierFile, ...]) -> Cursor:
    return Cursor(
        job_id=job.id,
        name=job.name,
        sha256=job.sha256,
        plan=plan.fingerprint,
        step=0,
        rows_trained=0,
        settings=settings.model_dump(mode="json"),
        replayed=replayed,
    )
