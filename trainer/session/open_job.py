"""One job while it trains: its plan, its rows, and how far it has come."""

import hashlib
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from trainer import data, profiles
from trainer.config.loader import BadConfig
from trainer.config.schema import Settings
from trainer.data.conversation import Conversation
from trainer.data.plan import Plan, plan_of
from trainer.data.reading.rows import BadRow, RowFile
from trainer.data.rendering.render import (
    ExampleRenderer,
    OverlongRow,
    RowExamples,
    UnrenderableConversation,
    UnusableTemplate,
    learnable,
)
from trainer.data.rendering.source import ExampleSource, PlannedStep, Renderer, Replayed, nothing_replayed
from trainer.data.rendering.token_cache import OpenedCache, TokenCache
from trainer.profiles.base import DataProfile
from trainer.profiles.registry import make_profile
from trainer.protocol.job import Cursor, EarlierFile, Job, JobRecord, Outcome, Window
from trainer.protocol.messages import StartJob
from trainer.session.batch_size_store import Budget
from trainer.session.replay import EarlierFiles, render_replayed
from trainer.step.feeding_trainer import StepBundle


def hash_of_source(*folders: Path) -> str:
    """Return a hash of the modules in some folders and below."""
    digest = hashlib.sha256()
    for path in sorted(path for folder in folders for path in folder.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


# Taken when the code is loaded: the files of a worker that waits may be replaced by those of another release
RENDERING_CODE = hash_of_source(*(Path(package.__path__[0]) for package in (data, profiles)))


REFUSALS = (UnrenderableConversation, UnusableTemplate, OverlongRow)
LINES_SHOWN = 10  # of rows that were set aside


# How rows were treated by releases whose cursors do not say it
BEFORE_IT_COULD_BE_SET = {"overlong": "truncate_right"}


class UnreadableRows(ValueError):
    """The rest of a job's file cannot be trained; the message says why."""


@dataclass
class OpenJob:
    """A job with its file open.

    Args:
        settings: those the job started with.
        first_step: steps that an earlier run has already trained.
        micro_batch_tokens: what the next step may have at once.
        budget: asked only where the settings leave the tokens of a micro-batch open.
    """

    job: Job
    settings: Settings
    plan: Plan
    rows: RowFile
    source: ExampleSource
    cursor: Cursor
    first_step: int
    micro_batch_tokens: int
    budget: Budget
    left_out: tuple[Window, ...] = ()
    """Steps that are not trained."""
    counts: Counter[str] = field(default_factory=Counter)
    """Rows `truncated`, `split`, `dropped` and `without_target` in this run, in the first of its epochs."""
    first_lines_without_target: list[int] = field(default_factory=list)
    warning: str | None = None
    """What a person should know before it goes on."""

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
            raise UnreadableRows(str(error)) from error

    def _leaves_out(self, step: int) -> bool:
        return any(step in window for window in self.left_out)

    def _bundle(self, planned: PlannedStep) -> StepBundle:
        if planned.index < self.first_step + self.plan.steps_per_epoch:  # else each epoch would count them
            self._count(planned)
        examples = learnable([*planned.examples, *planned.replayed])
        return StepBundle(
            index=planned.index,
            num_steps=self.plan.num_steps,
            lines=planned.lines,
            replayed=len(planned.replayed),
            examples=examples,
            num_items=sum(example.supervised_tokens for example in examples),
            micro_batch_tokens=self.budget.limited(self.micro_batch_tokens)
            if self.is_auto
            else self.micro_batch_tokens,
        )

    def _count(self, planned: PlannedStep) -> None:
        for line, examples in zip(planned.lines, planned.examples, strict=True):
            self.counts["truncated"] += any(example.is_truncated for example in examples)
            self.counts["split"] += len(examples) > 1
            self.counts["dropped"] += not examples
            if examples and not learnable([examples]):
                self.counts["without_target"] += 1
                if len(self.first_lines_without_target) < LINES_SHOWN:
                    self.first_lines_without_target.append(line)

    def told_of_rows_without_target(self) -> str | None:
        """Say for a person which rows were set aside; None if none was."""
        if not (number := self.counts["without_target"]):
            return None
        more = [] if number == len(self.first_lines_without_target) else ["…"]
        lines = ", ".join([*map(str, self.first_lines_without_target), *more])
        return (
            f"{self.job.name}: {number} rows had nothing left to learn and were set aside: lines {lines}; "
            f"expected a turn to learn among the first {self.settings.data.max_length} tokens "
            "(data.max_length); look at their roles and lengths"
        )

    @property
    def is_auto(self) -> bool:
        """Whether the settings leave the tokens of a micro-batch open."""
        return self.settings.training.micro_batch_tokens == "auto"

    def advance(self, bundle: StepBundle) -> None:
        """Note that a step was trained, and what it has taught about memory."""
        self.cursor.step = bundle.index + 1
        if bundle.not_applied:
            self.cursor.bad_steps = (*self.cursor.bad_steps, bundle.index)
        else:
            self.cursor.rows_trained += len(bundle.lines)
        if bundle.micro_batch_tokens < self.micro_batch_tokens:
            self.micro_batch_tokens = self.cursor.micro_batch_tokens = bundle.micro_batch_tokens
            if self.is_auto:
                self.budget.learn(bundle.micro_batch_tokens)

    def bad_steps(self, *, since: int) -> list[int]:
        """Return the steps after `since` that were not applied, but for those already given up."""
        return [step for step in self.cursor.bad_steps if step > since and not self._leaves_out(step)]

    def trained_here(self) -> Window:
        """Return the steps trained since the job was opened."""
        return Window(first=self.first_step, last=max(self.first_step, self.cursor.step - 1))

    def record(self, outcome: Outcome, message: str | None = None) -> JobRecord:
        """Return what is to be remembered of the job."""
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
class Means:
    """What all jobs of a session are opened with.

    Args:
        renderer: of the model's tokenizer; used by the executor alone.
        executor: the one thread that reads and renders rows.
        cache: of rendered rows; None keeps none.
        base_dir: where a relative path in `profile.name` starts.
    """

    renderer: ExampleRenderer
    executor: Executor
    earlier: EarlierFiles
    budget: Budget
    cache: TokenCache | None = None
    base_dir: Path = Path()


def open_job(
    order: StartJob,
    rows: RowFile,
    settings: Settings,
    cursor: Cursor | None,
    means: Means,
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
    settings = settings_of(cursor, settings)
    replayed = cursor.replayed if cursor else order.replayed
    plan = make_plan(job, settings, replayed)
    if cursor and cursor.plan != plan.fingerprint:
        raise BadRow(
            f"the checkpoint counts steps of plan {cursor.plan}, but the file and its settings make plan "
            f"{plan.fingerprint}; drop the file into inbox/ again to train it from the start"
        )
    files = means.earlier.take(replayed if plan.replay else (), order, settings.data.max_line_bytes)
    profile = make_profile_of(settings, means)
    warning = _warn_of_other_code(cursor, profile) if cursor else None
    cursor = cursor or _new_cursor(job, settings, plan, replayed)
    cursor.profile_code = profile.code
    cursor.micro_batch_tokens = _tokens_at_once(order, cursor, settings, means.budget)
    return OpenJob(
        job=job,
        settings=settings,
        plan=plan,
        rows=rows,
        source=open_source(
            job, rows, plan, settings, means, profile, partial(render_replayed, plan, files, order)
        ),
        cursor=cursor,
        first_step=cursor.step,
        micro_batch_tokens=cursor.micro_batch_tokens,
        budget=means.budget,
        left_out=order.left_out,
        warning=warning,
    )


def make_profile_of(settings: Settings, means: Means) -> DataProfile:
    return make_profile(settings.profile.name, settings.profile.options, base_dir=means.base_dir)


def _warn_of_other_code(cursor: Cursor, profile: DataProfile) -> str | None:
    """Say that a job's profile was changed while it was open. It goes on: the change may be what it needs."""
    if cursor.profile_code in (None, profile.code):
        return None
    return (
        f"the code of the profile {profile.name} has changed since {cursor.name} began; expected the same "
        f"until its end, so that it can be trained again alike; its rows from step {cursor.step + 1} on are "
        "made by the new code"
    )


def _tokens_at_once(order: StartJob, cursor: Cursor, settings: Settings, budget: Budget) -> int:
    """Return the least that settings, checkpoint and the daemon know; what is best here if none knows any."""
    given = settings.training.micro_batch_tokens
    limits = [order.micro_batch_tokens, cursor.micro_batch_tokens, None if given == "auto" else given]
    known = [tokens for tokens in limits if tokens]
    return min(known) if known else budget.for_new_job()


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


def make_plan(job: Job, settings: Settings, replayed: Sequence[EarlierFile]) -> Plan:
    """Return the plan by which a job is trained."""
    training = settings.training
    return plan_of(
        job.sha256,
        job.rows,
        replayed,
        rows_per_step=training.rows_per_step,
        epochs=training.epochs,
        seed=training.seed,
        replay_fraction=training.replay_fraction,
    )


def render_ahead(
    job: Job, settings: Settings, cursor: Cursor | None, means: Means
) -> Callable[[RowFile], None]:
    """Return what renders a job's first steps into the cache, once its file is open.

    If the job turns out to be trained with other settings, nothing of it is found in the cache.
    """
    settings = settings_of(cursor, settings)
    plan = make_plan(job, settings, cursor.replayed if cursor else ())
    first = cursor.step if cursor else 0
    end = min(first + settings.data.prefetch_steps, plan.num_steps)

    def render(rows: RowFile) -> None:
        if means.cache:
            profile = make_profile_of(settings, means)
            open_source(job, rows, plan, settings, means, profile).warm(range(first, end))

    return render


def settings_of(cursor: Cursor | None, settings: Settings) -> Settings:
    """Return what a job is trained with: of what its cursor brings, what decides about that."""
    if cursor is None:
        return settings
    data = BEFORE_IT_COULD_BE_SET | cursor.settings.get("data", {})
    begun = Settings.model_validate(cursor.settings | {"data": data})
    kept = {name: getattr(begun, name) for name in ("training", "data", "profile")}
    return settings.model_copy(update=kept)


def open_source(
    job: Job,
    rows: RowFile,
    plan: Plan,
    settings: Settings,
    means: Means,
    profile: DataProfile,
    replayed: Replayed = nothing_replayed,
) -> ExampleSource:
    """Return where the steps of a job come from."""
    render = make_renderer(profile, means.renderer, settings)
    return ExampleSource(
        rows,
        plan,
        render,
        executor=means.executor,
        lookahead=settings.data.prefetch_steps,
        fields=settings.data.fields,
        replayed=replayed,
        cache=_open_cache(job, settings, means, profile),
    )


def _open_cache(job: Job, settings: Settings, means: Means, profile: DataProfile) -> OpenedCache | None:
    if means.cache is None:
        return None
    if (fingerprint := means.renderer.fingerprint) is None:
        return None
    data = settings.data
    way = (data.max_length, data.overlong, data.train_on, data.fields)
    code = (RENDERING_CODE, profile.code)
    facts = (*code, job.sha256, fingerprint, settings.profile, way)
    key = hashlib.sha256(repr(facts).encode()).hexdigest()
    return means.cache.open(key, max_bytes=data.cache_max_bytes)


def open_rows(job: Job, path: Path, settings: Settings, scratch: Path | None = None) -> RowFile:
    """Open and index a job's file.

    Args:
        scratch: as for `RowFile.open`.
    Raises:
        FileChanged: it is not the file that was checked.
        OSError: it cannot be read.
    """
    return RowFile.open(
        path,
        sha256=job.sha256,
        rejected_lines=job.rejected_lines,
        max_line_bytes=settings.data.max_line_bytes,
        must_hash=settings.data.validation != "quick",
        scratch=scratch,
    )


def make_renderer(profile: DataProfile, renderer: ExampleRenderer, settings: Settings) -> Renderer:
    """Return what turns conversations into examples: first the profile, then the chat template."""

    data = settings.data

    def render(numbered: Sequence[tuple[int, Conversation]]) -> list[RowExamples]:
        transformed = [
            profile.transform(conversation, line_number=number) for number, conversation in numbered
        ]
        try:
            return renderer.render(
                transformed, max_length=data.max_length, overlong=data.overlong, train_on=data.train_on
            )
        except REFUSALS as error:
            if len(numbered) > 1:  # together they are faster, but alone they say which one it is
                return [examples for one in numbered for examples in render([one])]
            message = f"line {numbered[0][0]}: {error}"
            raise (BadConfig if isinstance(error, UnusableTemplate) else BadRow)(message) from error

    return render
