"""Measure what the model can do: the loss of rows it does not train, its answers to questions and prompts.

Nothing here changes a weight, or a random number that training depends on.
"""

import hashlib
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from trainer.config.loader import BadConfig
from trainer.config.schema import Settings
from trainer.data.rendering.render import Example
from trainer.evaluation.evaluation_files import EvaluationFiles, EvaluationSet, SuiteItem
from trainer.evaluation.generation import Generated, GenerationLimits, TextGenerator, generating
from trainer.evaluation.questions import Question
from trainer.evaluation.regression import Measured, storable
from trainer.evaluation.together import Prompt
from trainer.protocol.manifest import WhichWeights
from trainer.protocol.messages import LENGTH_PERCENT, PreviewMade, Score, SuiteAnswer, SuiteScored
from trainer.reporting.reporter import finite
from trainer.step.feeding_trainer import FeedingTrainer, RowLoss
from trainer.step.forward import base_of

EXACT_MATCH = "exact_match"
MOST_SHOWN_CHARACTERS = 2_000  # of a question, and of an answer, that the ledger keeps
QUESTIONS_AT_ONCE = 32  # whose loss is computed before somebody who waits is noticed


@dataclass(frozen=True)
class ScoredAnswer:
    """What was measured of one answer to a suite's question.

    Args:
        loss: of the expected answer, summed over its tokens.
    """

    difficulty: str | None
    metrics: dict[str, float]
    loss: float
    tokens: int


@dataclass(frozen=True)
class ValidationLoss:
    """The mean loss over the supervised tokens of the validation file."""

    loss: float
    """Of the weights that the settings prefer."""
    rows: int
    weights: WhichWeights = "last"
    """Which these are."""
    other_loss: float | None = None
    """Of the others; None where no average is kept."""


class Evaluator:
    """Puts questions to the model that is being trained.

    Args:
        base_dir: relative paths in the settings start here.
        trainer: returns what holds the model, which is loaded later.
        max_tokens: returns how many tokens may go through the model at once under some settings.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        base_dir: Path,
        *,
        trainer: Callable[[], FeedingTrainer],
        max_tokens: Callable[[Settings], int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._files = EvaluationFiles(base_dir)
        self._trainer_of = trainer
        self._max_tokens = max_tokens
        self._clock = clock
        self._loaded: EvaluationSet | None = None
        self._next_preview = 0  # which prompt the next round begins with

    @property
    def _trainer(self) -> FeedingTrainer:
        return self._trainer_of()

    @property
    def _measures(self) -> EvaluationSet:
        assert self._loaded is not None, "nothing is measured before it is loaded"
        return self._loaded

    def load(self, settings: Settings) -> None:
        """Read and render what the settings name: now, rather than after a file was trained for nothing.

        Raises:
            BadConfig: something of it cannot be used.
        """
        trainer = self._trainer
        self._loaded = self._files.load(settings, base_of(trainer.model), trainer.processing_class)
        if settings.gate.enabled:
            refuse_too_few_rows(settings, len(self._loaded.validation))

    def validation_loss(self, settings: Settings) -> ValidationLoss | None:
        """Return the mean loss of the validation file's rows; None when there is none."""
        examples, trainer = self._measures.validation, self._trainer
        if not examples:
            return None
        max_tokens = self._max_tokens(settings)
        last = trainer.mean_loss(examples, max_tokens=max_tokens)
        if trainer.average is None:
            return ValidationLoss(last, len(examples))
        with trainer.average.in_place():
            average = trainer.mean_loss(examples, max_tokens=max_tokens)
        if trainer.prefers_average:
            return ValidationLoss(average, len(examples), weights="average", other_loss=last)
        return ValidationLoss(last, len(examples), other_loss=average)

    def measure(self, settings: Settings, *, global_step: int) -> tuple[Measured, ValidationLoss]:
        """Return what the gate compares, row by row, and the mean loss of the validation file.

        A question of a suite counts as answered if each token of its answer is the likeliest one after those
        before it. That is what greedy generation would yield, for a fraction of its time. Where averaged
        weights are preferred, the last ones are measured, too: the average hides what a short file does.
        """
        last, loss = self._measure_model(settings, self._measures.rows_id, global_step)
        number = len(last.losses)
        if not self._trainer.prefers_average:
            return last, ValidationLoss(loss, number)
        with self._trainer.with_preferred_weights():
            average, preferred = self._measure_model(settings, self.rows_id, global_step)
        return average.model_copy(update={"last": last}), ValidationLoss(
            preferred, number, weights="average", other_loss=loss
        )

    def _measure_model(self, settings: Settings, rows_id: str, global_step: int) -> tuple[Measured, float]:
        """Return what the gate compares of the weights that the model has now, and the mean loss."""
        measures, max_tokens = self._measures, self._max_tokens(settings)
        found = self._trainer.row_losses(measures.validation, max_tokens=max_tokens)
        answers = {}
        for name, items in measures.suites.items():
            examples = [row for _, rows in items for row in rows]
            right = iter(self._trainer.row_losses(examples, max_tokens=max_tokens))
            answers[name] = tuple(all([next(right).is_right for _ in rows]) for _, rows in items)
        measured = Measured(
            rows_id=rows_id,
            global_step=global_step,
            losses=tuple(storable(row.mean) for row in found),
            answers=answers,
        )
        return measured, sum(row.total for row in found) / max(1, sum(row.tokens for row in found))

    @property
    def rows_id(self) -> str:
        """Says which rows `measure` would measure, and whether with the averaged weights as well."""
        return self._measures.rows_id + (":average" if self._trainer.prefers_average else "")

    def row_losses(self, examples: list[Example], settings: Settings) -> list[RowLoss]:
        """Return what the model makes of examples, with the weights that are preferred."""
        with self._trainer.with_preferred_weights():
            return self._trainer.row_losses(examples, max_tokens=self._max_tokens(settings))

    def suite_scores(
        self, settings: Settings, *, global_step: int, is_wanted: Callable[[], bool]
    ) -> Iterator[SuiteScored]:
        """Yield the scores of one suite after the other, until nobody wants them any more.

        Args:
            is_wanted: asked after each token; a suite without all of its answers has no score.
        """
        for name, items in self._measures.suites.items():
            with self._trainer.with_preferred_weights():
                texts = self._texts(items, settings, is_wanted)
                answers = [] if texts is None else self._scored(items, texts, settings, is_wanted)
            if texts is None or len(answers) < len(items):
                return
            yield SuiteScored(
                global_step=global_step,
                suite=name,
                overall=score_of(answers),
                by_difficulty={
                    difficulty: score_of([answer for answer in answers if answer.difficulty == difficulty])
                    for difficulty in sorted({answer.difficulty for answer in answers if answer.difficulty})
                },
                answers=tuple(
                    shown_answer(question, text, answer)
                    for (question, _), text, answer in zip(items, texts, answers, strict=True)
                ),
            )

    def _texts(
        self, items: Sequence[SuiteItem], settings: Settings, is_wanted: Callable[[], bool]
    ) -> list[str] | None:
        """Return the model's answers to a suite's questions; None if nobody wants them any more."""
        most = settings.validation.suite_max_new_tokens
        prompts = [Prompt(question.token_ids, self._room(question, most, settings)) for question, _ in items]
        with self._generating() as generator:
            found = generator.generate_each(
                prompts,
                max_tokens=self._max_tokens(settings),
                may_go_on=lambda: self._tick() and is_wanted(),
            )
        is_whole = all(generated.ended_by != "time" for generated in found)
        return [generated.text for generated in found] if is_whole else None

    def _scored(
        self,
        items: Sequence[SuiteItem],
        texts: Sequence[str],
        settings: Settings,
        is_wanted: Callable[[], bool],
    ) -> list[ScoredAnswer]:
        """Return what the answers are worth; not all of them if nobody wants them any more.

        This is not done while texts are generated, as the losses are computed the way training does.
        """
        scored: list[ScoredAnswer] = []
        for first in range(0, len(items), QUESTIONS_AT_ONCE):
            if not is_wanted():
                break
            few = items[first : first + QUESTIONS_AT_ONCE]
            losses = iter(self.row_losses([row for _, rows in few for row in rows], settings))
            for (question, rows), text in zip(few, texts[first:], strict=False):
                own = [next(losses) for _ in rows]
                scored.append(
                    ScoredAnswer(
                        question.difficulty,
                        self._metrics(question, text),
                        sum(loss.total for loss in own),
                        sum(loss.tokens for loss in own),
                    )
                )
        return scored

    def previews(
        self, settings: Settings, *, global_step: int, is_wanted: Callable[[], bool]
    ) -> Iterator[PreviewMade]:
        """Yield the answers to as many prompts as there is time for, or until nobody wants them any more.

        The next round begins with the first prompt that got none. An answer that the time cuts off is not
        shown, unless it is the only one; it has no metrics.

        Args:
            is_wanted: asked before each prompt.
        """
        prompts = self._measures.prompts
        ends_at = self._clock() + settings.previews.max_seconds
        first = self._next_preview % len(prompts) if prompts else 0
        numbers = [(first + place) % len(prompts) for place in range(len(prompts))]
        with self._trainer.with_preferred_weights(), self._generating() as generator:
            for place, at_once in growing(len(prompts), grows=not settings.previews.temperature):
                if self._clock() >= ends_at or not is_wanted():
                    return
                few, started = numbers[place : place + at_once], self._clock()
                texts = self._answers_to(few, generator, settings, global_step=global_step, ends_at=ends_at)
                seconds = (self._clock() - started) / len(few)
                for number, generated in zip(few, texts, strict=True):
                    if generated.ended_by == "time" and number != first:
                        return
                    self._next_preview = number + 1
                    yield self._preview(number, generated, global_step=global_step, seconds=seconds)

    def _answers_to(
        self,
        numbers: Sequence[int],
        generator: TextGenerator,
        settings: Settings,
        *,
        global_step: int,
        ends_at: float,
    ) -> list[Generated]:
        wanted, has_time = settings.previews, partial(self._has_time, ends_at)
        questions = [self._measures.prompts[number] for number in numbers]
        prompts = [
            Prompt(question.token_ids, self._room(question, wanted.max_new_tokens, settings))
            for question in questions
        ]
        if len(prompts) > 1:
            return generator.generate_each(prompts, max_tokens=self._max_tokens(settings), may_go_on=has_time)
        seed = seed_of(settings.training.seed, global_step, numbers[0])
        limits = GenerationLimits(prompts[0].max_new_tokens, has_time)
        return [generator.generate(prompts[0].token_ids, limits, temperature=wanted.temperature, seed=seed)]

    def _preview(self, number: int, generated: Generated, *, global_step: int, seconds: float) -> PreviewMade:
        question = self._measures.prompts[number]
        is_complete = generated.ended_by != "time"
        return PreviewMade(
            global_step=global_step,
            prompt=question.shown,
            text=generated.text,
            ended_by=generated.ended_by,
            seconds=seconds,
            metrics=self._metrics(question, generated.text) if is_complete else {},
        )

    def free_memory(self) -> None:
        """Let go of what is not needed any more, after memory ran out."""
        self._trainer.free_memory(self._trainer.model)

    # ---- parts

    def _generating(self) -> AbstractContextManager[TextGenerator]:
        return generating(self._trainer, self._measures.profile.generation())

    def _room(self, question: Question, tokens: int, settings: Settings) -> int:
        """Return how many tokens an answer may have: none beyond the length that is trained."""
        return min(tokens, settings.data.max_length - len(question.token_ids))

    def _tick(self) -> bool:
        self._trainer.tick()
        return True

    def _has_time(self, until: float) -> bool:
        return self._tick() and self._clock() < until

    def _metrics(self, question: Question, text: str) -> dict[str, float]:
        """Return what is measured of an answer. What the profile calls an exact match takes ours's place."""
        measured = self._measures.profile.measure(text, expected=question.answer)
        known = {name: value for name, value in measured.items() if finite(value) is not None}
        own = {}
        if question.answer is not None:
            own[EXACT_MATCH] = float(question.is_answered_by(text))
            if expected := max(map(len, question.right), default=0):
                own[LENGTH_PERCENT] = 100 * len(text) / expected
        return own | known


def refuse_too_few_rows(settings: Settings, num_rows: int) -> None:
    """Make sure that the gate has enough to compare.

    Raises:
        BadConfig: it has not.
    """
    least, file = settings.gate.min_rows, settings.validation.file
    if file is None:
        raise BadConfig(
            "gate.enabled is true, but validation.file is null; the gate compares the loss of its rows; "
            f"expected a JSONL file with at least {least} rows that are not trained"
        )
    if num_rows < least:
        raise BadConfig(
            f"validation.file is {file}: {num_rows} of its rows are used (validation.max_rows is "
            f"{settings.validation.max_rows}); expected at least {least} for the gate (gate.min_rows); "
            "add some, or lower gate.min_rows"
        )


def shown_answer(question: Question, text: str, scored: ScoredAnswer) -> SuiteAnswer:
    """Return an answer as people see it beside the question."""
    return SuiteAnswer(
        prompt=_cut(question.shown),
        expected=_cut(question.answer or ""),
        text=_cut(text),
        is_right=scored.metrics[EXACT_MATCH] >= 1.0,
        difficulty=question.difficulty,
    )


def _cut(text: str) -> str:
    return text if len(text) <= MOST_SHOWN_CHARACTERS else text[:MOST_SHOWN_CHARACTERS] + "…"


def score_of(answers: Sequence[ScoredAnswer]) -> Score:
    """Return the score of some answers: means over them, or over the tokens of the expected ones."""
    tokens = sum(answer.tokens for answer in answers)
    metrics: dict[str, list[float]] = defaultdict(list)
    for answer in answers:
        for name, value in answer.metrics.items():
            metrics[name].append(value)
    means = {name: sum(values) / len(values) for name, values in metrics.items()}
    return Score(
        rows=len(answers),
        loss=finite(sum(answer.loss for answer in answers) / tokens) if tokens else None,
        exact_match=means.pop(EXACT_MATCH),
        metrics=means,
    )


def growing(number: int, *, grows: bool) -> Iterator[tuple[int, int]]:
    """Yield where to begin among prompts, and how many to answer at once: 1, 2, 4, 8 and so on.

    If there is no time for some of them, the ones before, as many as these, have been answered nevertheless.

    Args:
        grows: whether it is more than one at all.
    """
    first, at_once = 0, 1
    while first < number:
        yield first, at_once
        first += at_once
        at_once *= 2 if grows else 1


def seed_of(seed: int, global_step: int, number: int) -> int:
    """Return the seed of one preview: 63 bits that depend on nothing else."""
    text = f"preview:{seed}:{global_step}:{number}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1
