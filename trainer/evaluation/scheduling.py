"""Decide when to evaluate and what it may cost, and report the results.

How long something takes differs from run to run, so what is measured, and at which steps, must never change
what is trained.
"""

import time
from collections.abc import Callable, Iterator
from typing import Protocol

from trainer.config.schema import Settings
from trainer.data.rendering.render import Example
from trainer.evaluation.cadence import stretched
from trainer.evaluation.evaluator import ValidationLoss
from trainer.evaluation.regression import Measured
from trainer.protocol.costs import EVALUATION, CostBook, CostKind
from trainer.protocol.faults import is_out_of_memory
from trainer.protocol.manifest import Progress
from trainer.protocol.messages import Evaluated, PreviewMade, SuiteScored, Validated
from trainer.reporting.reporter import Reporter, finite
from trainer.step.feeding_trainer import RowLoss

NEWEST_STEP = 0.05  # weight of one step in the average of how long steps take


class ModelEvaluator(Protocol):
    """Evaluates the model; see `Evaluator`."""

    def validation_loss(self, settings: Settings) -> ValidationLoss | None: ...

    def measure(self, settings: Settings, *, global_step: int) -> tuple[Measured, ValidationLoss]: ...

    @property
    def rows_id(self) -> str: ...

    def row_losses(self, examples: list[Example], settings: Settings) -> list[RowLoss]: ...

    def suite_scores(
        self, settings: Settings, *, global_step: int, is_wanted: Callable[[], bool]
    ) -> Iterator[SuiteScored]: ...

    def previews(
        self, settings: Settings, *, global_step: int, is_wanted: Callable[[], bool]
    ) -> Iterator[PreviewMade]: ...

    def free_memory(self) -> None: ...


class HasEvaluator(Protocol):
    """What is evaluated."""

    progress: Progress

    @property
    def evaluator(self) -> ModelEvaluator:
        """What evaluates it."""
        ...


class EvaluationSchedule:
    """Evaluates one session's model between its steps.

    Args:
        clock: monotonic seconds.
    """

    def __init__(
        self, engine: HasEvaluator, reporter: Reporter, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._engine = engine
        self._reporter = reporter
        self._clock = clock
        self._book = CostBook(clock)
        self._costs: dict[CostKind, float] = {}  # seconds, when it was done last
        self._done_at: dict[CostKind, int] = {}  # steps of the model's life
        self._step_s: float | None = None
        self._is_started = False

    def before_step(self, settings: Settings) -> None:
        """Measure the validation loss before the first step of the model's life; later ones compare with it.

        A worker that starts anew before anything was saved measures it again, and finds the same.
        """
        progress = self._engine.progress
        if progress.global_step or progress.validated_step is not None or self._is_started:
            return
        self._is_started = True  # also if memory was too small for it
        if "validation" in wanted_intervals(settings):
            self._do("validation", settings, lambda: True)
            self._costs.clear()  # what is done for the first time takes longer

    def after_step(self, settings: Settings, *, seconds: float, is_wanted: Callable[[], bool]) -> None:
        """Do what is due after a step.

        Args:
            seconds: that the step took.
            is_wanted: asked again and again whether there is still time for this.
        """
        self._book.add("training", seconds)
        before = seconds if self._step_s is None else self._step_s
        self._step_s = before + NEWEST_STEP * (seconds - before)
        for kind, interval in self._intervals(settings).items():
            if self._engine.progress.global_step % interval == 0:
                self._do(kind, settings, is_wanted)

    def measure(self, settings: Settings) -> Measured | None:
        """Measure, row by row, what the gate compares; None if memory was too small for it.

        That is the validation loss of this step, too.
        """
        started = self._clock()
        progress = self._engine.progress
        measured = left_out = None
        with self._reporter.doing("evaluating"):
            try:
                measured, loss = self._engine.evaluator.measure(settings, global_step=progress.global_step)
                self._note_validation(loss)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                left_out = "memory was too small for the gate's rows; training continues without a verdict"
        self._done_at["validation"] = progress.global_step
        self._note_cost("validation", settings, self._clock() - started, left_out=left_out)
        return measured

    def inspect_rows(self, examples: list[Example], settings: Settings) -> list[RowLoss]:
        """Return what the model makes of rows that are not trained yet; nothing if memory is too small."""
        started = self._clock()
        found: list[RowLoss] = []
        left_out = None
        with self._reporter.doing("evaluating"):
            try:
                found = self._engine.evaluator.row_losses(examples, settings)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                left_out = "memory was too small to inspect the rows of a file"
        self._note_cost("validation", settings, self._clock() - started, left_out=left_out)
        return found

    def at_end_of_file(
        self, settings: Settings, *, is_wanted: Callable[[], bool], without_validation: bool = False
    ) -> None:
        """Measure the validation loss, and put the suites to the model if there is time left for such."""
        for kind in wanted_intervals(settings):
            if kind == "validation" and without_validation:
                continue
            if kind == "previews" or self._done_at.get(kind) == self._engine.progress.global_step:
                continue
            if kind == "validation" or self._is_affordable(kind, settings):
                self._do(kind, settings, is_wanted)
            else:
                limit = settings.monitoring.max_overhead_percent
                why = f"no time was left for {kind} at the end of the file (monitoring.max_overhead_percent "
                self._tell(kind, settings, 0.0, left_out=f"{why}is {limit:g})")

    # ---- what it may cost

    def _intervals(self, settings: Settings) -> dict[CostKind, int]:
        if self._step_s is None:
            return wanted_intervals(settings)
        return stretched(
            wanted_intervals(settings),
            self._costs,
            step_s=self._step_s,
            max_share=settings.monitoring.max_overhead_percent / 100,
        )

    def _is_affordable(self, kind: CostKind, settings: Settings) -> bool:
        if kind not in self._costs:
            return True  # it has to be measured first
        expected_s = self._costs[kind]
        spent_s = self._book.last_hour(*EVALUATION) + expected_s
        limit_s = settings.monitoring.max_overhead_percent / 100 * (self._book.last_hour() + expected_s)
        return spent_s <= limit_s

    # ---- doing it

    def _do(self, kind: CostKind, settings: Settings, is_wanted: Callable[[], bool]) -> None:
        started = self._clock()
        self._done_at[kind] = self._engine.progress.global_step
        left_out = None
        with self._reporter.doing("previewing" if kind == "previews" else "evaluating"):
            try:
                self._measure(kind, settings, is_wanted)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                left_out = f"memory was too small for {kind}; training continues without it"
        self._note_cost(kind, settings, self._clock() - started, left_out=left_out)

    def _note_cost(self, kind: CostKind, settings: Settings, seconds: float, *, left_out: str | None) -> None:
        if left_out:
            self._engine.evaluator.free_memory()  # out here, where the exception no longer holds the tensors
        self._book.add(kind, seconds)
        self._costs[kind] = seconds
        self._tell(kind, settings, seconds, left_out=left_out)

    def _measure(self, kind: CostKind, settings: Settings, is_wanted: Callable[[], bool]) -> None:
        evaluator, step = self._engine.evaluator, self._engine.progress.global_step
        if kind == "validation":
            self._validate(settings)
            return
        measure = evaluator.suite_scores if kind == "suites" else evaluator.previews
        for found in measure(settings, global_step=step, is_wanted=is_wanted):
            self._reporter.event(found)

    def _validate(self, settings: Settings) -> None:
        if found := self._engine.evaluator.validation_loss(settings):
            self._note_validation(found)

    def _note_validation(self, found: ValidationLoss) -> None:
        progress = self._engine.progress
        progress.validation_loss = finite(found.loss)
        progress.validation_weights = found.weights
        progress.validation_other_loss = finite(found.other_loss)
        progress.validated_step = progress.global_step
        self._reporter.event(
            Validated(
                global_step=progress.global_step,
                loss=finite(found.loss),
                rows=found.rows,
                weights=found.weights,
                other_loss=finite(found.other_loss),
            )
        )

    def _tell(self, kind: CostKind, settings: Settings, seconds: float, *, left_out: str | None) -> None:
        self._reporter.event(
            Evaluated(
                what=kind,
                global_step=self._engine.progress.global_step,
                seconds=seconds,
                interval_steps=self._intervals(settings)[kind],
                left_out=left_out,
            )
        )


def wanted_intervals(settings: Settings) -> dict[CostKind, int]:
    """Return what is to be evaluated, with the steps between two times, as the settings say."""
    validation, previews = settings.validation, settings.previews
    wanted: dict[CostKind, int] = {}
    if validation.file is not None:
        wanted["validation"] = validation.interval_steps
    if validation.suites:
        wanted["suites"] = validation.interval_steps
    if previews.prompts or previews.file is not None:
        wanted["previews"] = previews.interval_steps
    return wanted
