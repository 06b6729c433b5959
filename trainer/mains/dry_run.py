"""The dry run: plan what training a file would be like, and keep nothing.

A process of its own, because it loads torch.

    python -m trainer.mains.dry_run <order.json >answer.json

The model is loaded by the code that a worker uses, from a folder of links in place of `models/`.
"""

import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from trainer.config.loader import BadConfig
from trainer.config.schema import Settings
from trainer.data.checks.file_check import FileCheck, RejectedRow, check_file
from trainer.data.reading.rows import BadRow, FileChanged
from trainer.mains.one_shot import refusal_of, serve
from trainer.model.linked_models import linked_models_of
from trainer.protocol.dry_run import DryRunOrder, Planned, TrialSteps
from trainer.protocol.job import FaultKind
from trainer.protocol.layout import Layout
from trainer.protocol.messages import DataChecked, Event, Notice, StartJob
from trainer.protocol.one_shot import OrderRefused
from trainer.step.schedules import learning_rate

if TYPE_CHECKING:
    from trainer.session.engine import TrainerEngine
    from trainer.session.open_job import OpenJob
    from trainer.session.trial_steps import StepStatistics

REJECTIONS_SHOWN = 5


class RefusedFile(ValueError):
    """The file would not be trained, or nothing would be learned from it."""


def dry_run(order: DryRunOrder) -> Planned:
    """Return what training the file would be like.

    Raises:
        OrderRefused: it would not be trained.
    """
    models = Layout(Path(order.base_dir)).models
    with linked_models_of(models) as linked:
        try:
            planned = _plan(order, linked)
        except (RefusedFile, BadRow, FileChanged) as error:
            refused = OrderRefused(str(error), FaultKind.BAD_DATA)
        except Exception as error:
            refused = refusal_of(error)
        else:
            # Errors and notices may name the folder of links; people know the other one
            notices = tuple(notice.replace(str(linked), str(models)) for notice in planned.notices)
            return planned.model_copy(update={"notices": notices})
        message = str(refused).replace(str(linked), str(models))
        raise OrderRefused(message, refused.fault, refused.errno)


def _plan(order: DryRunOrder, models: Path) -> Planned:
    settings, path = Settings.model_validate(order.settings), Path(order.file)
    check, rejections = _check(path, settings)
    notices: list[str] = []

    def hear(event: Event) -> None:
        if isinstance(event, Notice):
            notices.append(event.message)
        elif isinstance(event, DataChecked):
            notices.extend(finding.message for finding in event.report.warnings)

    engine = _engine(order, settings, models, hear)
    ready = engine.load()
    engine.use(settings)
    is_batch_size_known = settings.training.micro_batch_tokens != "auto" or engine.batch_sizes.is_known
    if not is_batch_size_known:
        settings = _with_few_tokens(settings)
    with ThreadPoolExecutor(1) as executor, _opened(engine, order, check, settings, executor) as opened:
        found = _collect_statistics(opened, engine, path)
        planned = Planned(
            file=order.file,
            model_name=ready.model_name,
            method=ready.method,
            device=engine.trainer.args.device.type,
            checkpoint=ready.checkpoint,
            rows=check.rows,
            rejected_rows=len(check.rejected_lines),
            first_rejections=tuple(rejections),
            truncated_rows=opened.counts["truncated"],
            split_rows=opened.counts["split"],
            dropped_rows=opened.counts["dropped"],
            rows_without_target=opened.counts["without_target"],
            tokens=found.tokens,
            supervised_tokens=found.supervised_tokens,
            epochs=settings.training.epochs,
            steps=opened.plan.num_steps,
            rows_per_step=settings.training.rows_per_step,
            micro_batch_tokens=opened.micro_batch_tokens if is_batch_size_known else None,
            micro_batches_per_step=found.micro_batches_per_step if is_batch_size_known else None,
            padding_fraction=found.padding_fraction if is_batch_size_known else None,
            first_learning_rate=engine.trainer.learning_rate,
            last_learning_rate=_last_learning_rate(settings, ready.global_step, opened.plan.num_steps),
            trial_steps=None,
        )
    trial_steps = _take_trial_steps(order, engine, found)
    all_notices = (
        *ready.notices,
        *notices,
        *_reservations(settings, is_batch_size_known=is_batch_size_known),
    )
    return planned.model_copy(update={"trial_steps": trial_steps, "notices": all_notices})


def _engine(
    order: DryRunOrder, settings: Settings, models: Path, hear: Callable[[Event], None]
) -> "TrainerEngine":
    from trainer.distributed.ranks import visible_gpus
    from trainer.session.engine import TrainerEngine  # takes seconds, which a bad file need not wait for

    visible_gpus(settings.training)  # too few are refused, though one process is enough here
    return TrainerEngine(
        settings,
        base_dir=Path(order.base_dir),
        models=models,
        on_event=hear,
        is_alone=True,  # followers would work in the real models/
        may_measure=not order.daemon_runs,
    )


def _with_few_tokens(settings: Settings) -> Settings:
    """Return settings by which a step needs little memory, so that no worker beside this one goes short."""
    from trainer.session.batch_size_finder import FIRST_TOKENS

    training = settings.training.model_copy(update={"micro_batch_tokens": FIRST_TOKENS})
    return settings.model_copy(update={"training": training})


def _reservations(settings: Settings, *, is_batch_size_known: bool) -> Iterator[str]:
    """Say in what respect training will differ from what was tried."""
    training = settings.training
    if not is_batch_size_known:
        yield (
            'training.micro_batch_tokens is "auto": the best number is measured when training starts, not '
            f"while a daemon is running; {training.micro_batch_tokens} were tried here, and training will "
            "be faster and take more memory"
        )
    if training.processes > 1:
        yield (
            f"training.processes is {training.processes}, but one was tried here: expect up to "
            f"{training.processes} times its speed; each needs as much memory"
        )


def _check(path: Path, settings: Settings) -> tuple[FileCheck, list[str]]:
    """Check every row; return what was found and the first reasons for rejecting one."""
    rejections: list[str] = []

    def on_reject(row: RejectedRow) -> None:
        if len(rejections) < REJECTIONS_SHOWN:
            rejections.append(f"line {row.line}: {row.reason}")

    try:
        check = check_file(
            path,
            max_line_bytes=settings.data.max_line_bytes,
            max_unpacked_bytes=settings.data.max_unpacked_bytes,
            fields=settings.data.fields,
            on_reject=on_reject,
        )
    except OSError as error:
        raise RefusedFile(f"{path}: {error.strerror}; expected a readable JSONL file") from error
    if why := check.verdict(settings.data.max_bad_row_fraction):
        raise RefusedFile(f"{path}: {why}")
    return check, rejections


@contextmanager
def _opened(
    engine: "TrainerEngine", asked: DryRunOrder, check: FileCheck, settings: Settings, executor: Executor
) -> Iterator["OpenJob"]:
    from trainer.data.rendering.render import ExampleRenderer
    from trainer.pipeline.example_pipeline import ExamplePipeline, open_rows
    from trainer.pipeline.replay import EarlierFiles
    from trainer.session.data_checks import DataChecks, RefusedData
    from trainer.session.open_job import SessionResources, open_job

    path = Path(asked.file)
    job = check.to_job(id="dry run", name=path.name)
    order = StartJob(
        job=job,
        path=asked.file,
        settings=settings.model_dump(mode="json"),
        replayed=asked.replayed,
        replay_folder=asked.replay_folder,
    )
    # What is unpacked needs no name there, and there is more room than in most folders
    scratch = base_dir = Path(asked.base_dir)
    earlier = EarlierFiles(executor, engine.reporter.tick, scratch)
    with closing(earlier), closing(open_rows(job, path, settings, scratch)) as rows:
        pipeline = ExamplePipeline(ExampleRenderer(engine.tokenizer), executor, base_dir=base_dir)
        resources = SessionResources(pipeline, earlier, engine.batch_sizes)
        opened = open_job(order, rows, settings, None, resources)
        try:
            DataChecks(pipeline, engine.reporter).check(opened, is_admitted=asked.is_admitted)
        except RefusedData as error:
            raise RefusedFile(f"{job.name} would fail when its turn comes: {error}") from error
        yield opened


def _collect_statistics(opened: "OpenJob", engine: "TrainerEngine", path: Path) -> "StepStatistics":
    """Go through all steps of one epoch.

    Raises:
        RefusedFile: there is nothing to be learned from the file, or a row of it cannot be rendered.
        BadConfig: the chat template cannot be used.
    """
    from trainer.session.open_job import UnreadableRows
    from trainer.session.trial_steps import collect_statistics

    try:
        with closing(opened.bundles()) as bundles:
            found = collect_statistics(
                itertools.islice(bundles, opened.plan.steps_per_epoch), engine.trainer.forward
            )
    except (UnreadableRows, BadConfig) as error:
        # Training comes to it in an order of its own; a person reads the file from its beginning
        first = opened.source.first_failure() or error
        if isinstance(first, BadConfig):
            raise first from error
        message = opened.source.message_of(first) if isinstance(first, BadRow) else str(first)
        raise RefusedFile(f"{opened.job.name}: {message}") from error
    if not found.supervised_tokens:
        raise RefusedFile(
            opened.report_of_untrainable_rows()
            or f"{path}: all rows are dropped, being longer than data.max_length; raise it, or set "
            "data.overlong to another value"
        )
    return found


def _last_learning_rate(settings: Settings, global_step: int, num_steps: int) -> float:
    last = num_steps - 1
    return learning_rate(settings.training, global_step=global_step + last, step=last, num_steps=num_steps)


def _take_trial_steps(
    order: DryRunOrder, engine: "TrainerEngine", found: "StepStatistics"
) -> TrialSteps | None:
    """Take a few steps; None where they could harm a worker."""
    from trainer.session.trial_steps import take_trial_steps
    from trainer.step.device_memory import meter_for

    device = engine.trainer.args.device
    if order.daemon_runs and device.type == "cuda":
        return None  # a worker whose GPU is full would split its steps further, for good
    return take_trial_steps(engine.trainer, found, meter=meter_for(device))


if __name__ == "__main__":
    serve(DryRunOrder, lambda order, tell: dry_run(order))
