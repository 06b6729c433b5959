"""One job while it trains: its plan, its rows, and how far it has come."""

from collections import Counter
from collections.abc import Generator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path

from trainer.config.loader import BadConfig
from trainer.config.schema import Settings
from trainer.core.feeding_trainer import StepBundle
from trainer.data.conversation import Conversation
from trainer.data.plan import Plan
from trainer.data.render import (
    Example,
    Tokenizer,
    UnrenderableConversation,
    UnusableTemplate,
    render_examples,
)
from trainer.data.rows import BadRow, RowFile
from trainer.data.source import ExampleSource, Renderer
from trainer.profiles.base import DataProfile
from trainer.profiles.registry import make_profile
from trainer.protocol.job import Cursor, Job, JobRecord, Outcome


class UnreadableRows(ValueError):
    """The rest of a job's file cannot be trained; the message says why."""


@dataclass
class OpenJob:
    """A job with its file open.

    Args:
        settings: those the job started with.
        first_step: steps that an earlier run has already trained.
    """

    job: Job
    settings: Settings
    plan: Plan
    rows: RowFile
    source: ExampleSource
    cursor: Cursor
    first_step: int
    counts: Counter[str] = field(default_factory=Counter)
    """Rows `truncated` and rows `without_target` in this run."""

    def bundles(self) -> Generator[StepBundle, None, None]:
        """Yield the steps that are still to be trained.

        Raises:
            UnreadableRows: a row is not what was checked, or cannot be rendered.
        BadConfig: the chat template cannot be used.
        OSError: the file cannot be read, which need not be its own fault.
        """
        try:
            for planned in self.source.steps(self.first_step):
                yield self._bundle(planned.examples)
        except BadRow as error:
            raise UnreadableRows(str(error)) from error

    def _bundle(self, examples: list[Example]) -> StepBundle:
        self.counts["truncated"] += sum(example.is_truncated for example in examples)
        self.counts["without_target"] += sum(not example.supervised_tokens for example in examples)
        return StepBundle(
            examples=examples,
            num_items=sum(example.supervised_tokens for example in examples),
            micro_batch_tokens=self.settings.training.micro_batch_tokens,
        )

    def advance(self, bundle: StepBundle) -> None:
        """Note that a step was trained."""
        self.cursor.step += 1
        self.cursor.rows_trained += len(bundle.examples)

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


def open_job(
    job: Job,
    rows: RowFile,
    settings: Settings,
    cursor: Cursor | None,
    tokenizer: Tokenizer,
    executor: Executor,
) -> OpenJob:
    """Set a job up to be trained from its cursor, or from the start if it has none.

    A cursor brings the settings that decide what is trained: a job keeps those it started with.

    Raises:
        BadRow: the rows are not those that were checked, or not those the cursor counts.
        UnknownProfile, BadProfileOption: the profile cannot be honoured.
    """
    if len(rows) != job.rows:
        raise BadRow(
            f"{len(rows)} rows can be read, but {job.rows} were checked; drop the file into inbox/ again"
        )
    if cursor:
        begun = Settings.model_validate(cursor.settings)
        kept = {name: getattr(begun, name) for name in ("training", "data", "profile")}
        settings = settings.model_copy(update=kept)
    plan = Plan(
        sha256=job.sha256,
        num_rows=len(rows),
        rows_per_step=settings.training.batch_size * settings.training.gradient_accumulation,
        epochs=settings.training.epochs,
        seed=settings.training.seed,
    )
    if cursor and cursor.plan != plan.fingerprint:
        raise BadRow(
            f"the checkpoint counts steps of plan {cursor.plan}, but the file and its settings make plan "
            f"{plan.fingerprint}; drop the file into inbox/ again to train it from the start"
        )
    render = make_renderer(make_profile(settings.profile.name, settings.profile.options), tokenizer, settings)
    return OpenJob(
        job=job,
        settings=settings,
        plan=plan,
        rows=rows,
        source=ExampleSource(rows, plan, render, executor=executor, lookahead=settings.data.prefetch_steps),
        cursor=cursor
        or Cursor(
            job_id=job.id,
            name=job.name,
            sha256=job.sha256,
            plan=plan.fingerprint,
            step=0,
            rows_trained=0,
            settings=settings.model_dump(mode="json"),
        ),
        first_step=cursor.step if cursor else 0,
    )


def open_rows(job: Job, path: Path, settings: Settings) -> RowFile:
    """Open and index a job's file.

    Raises:
        FileChanged: it is not the file that was checked.
        OSError: it cannot be read.
    """
    return RowFile.open(
        path,
        sha256=job.sha256,
        rejected_lines=job.rejected_lines,
        max_line_bytes=settings.data.max_line_bytes,
    )


def make_renderer(profile: DataProfile, tokenizer: Tokenizer, settings: Settings) -> Renderer:
    """Return what turns conversations into examples: first the profile, then the chat template."""

    def render(numbered: Sequence[tuple[int, Conversation]]) -> list[Example]:
        transformed = [
            profile.transform(conversation, line_number=number) for number, conversation in numbered
        ]
        try:
            return render_examples(transformed, tokenizer, max_length=settings.data.max_length)
        except UnusableTemplate as error:
            raise BadConfig(str(error)) from error
        except UnrenderableConversation as error:
            lines = ", ".join(str(number) for number, _ in numbered)
            raise BadRow(f"one of the lines {lines}: {error}") from error

    return render
