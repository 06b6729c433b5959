"""Rows that the embedded model is taught, and what weights are worth at others of their kind.

An answer is right if each of its tokens is the likeliest one, which is what greedy generation would yield.
"""

import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from daemon.data_tools.puzzles import generation
from daemon.data_tools.puzzles.skills import Skill
from scripts.benchmarks.results import median
from trainer.config.schema import Settings
from trainer.data.formats import read_conversation
from trainer.data.plan import Plan
from trainer.data.rendering.render import Example, learnable, render_examples
from trainer.session.engine import TrainerEngine
from trainer.step.feeding_trainer import FeedingTrainer, StepBundle

ROWS_PER_STEP = 16
TRAIN_ROWS, TEST_ROWS = 8_000, 1_000
MAX_TOKENS = 8_192
DIFFICULTY = 1

MakeRows = Callable[[int, int], Iterable[dict[str, Any]]]
"""(seed, number) -> so many rows"""


def puzzles(skill: Skill) -> MakeRows:
    """Return what makes puzzles of a skill."""

    def make(seed: int, number: int) -> Iterable[dict[str, Any]]:
        asked = generation.Run(skill=skill, difficulty=DIFFICULTY, seed=seed, count=number)
        return generation.generate(asked)

    return make


@dataclass(frozen=True)
class Marks:
    """What weights are worth."""

    right: float
    """Share of the rows that are answered right."""
    loss: float


class SkillRun:
    """The embedded model, about to be taught rows of a kind at a constant learning rate.

    Args:
        folder: to work in.
        make: the rows.
        seed: of the rows and of the training.
        max_tokens: of a micro-batch.
        training: settings of it.
    """

    def __init__(
        self,
        folder: Path,
        make: MakeRows,
        seed: int,
        steps: int,
        *,
        threads: int,
        max_tokens: int = MAX_TOKENS,
        **training: Any,
    ) -> None:
        self._max_tokens = max_tokens
        training |= {"cpu_threads": threads, "seed": seed}
        self.settings = Settings.model_validate({"model": {"base_model": "tiny"}, "training": training})
        self._seed = seed
        self._steps = steps
        engine = TrainerEngine(self.settings, base_dir=folder)
        engine.load()
        self.trainer: FeedingTrainer = engine.trainer
        self._tokenizer = engine.tokenizer
        self._train, self._test = self._rows(make)
        self.step_s = 0.0
        """The median of the last steps."""

    def _rows(self, make: MakeRows) -> tuple[list[Example], list[Example]]:
        """Return different rows to be trained and to be tested with."""
        texts: set[str] = set()
        sets = []
        for number, count in enumerate((TEST_ROWS, TRAIN_ROWS)):
            rows = [row for row in make(2 * self._seed + number, count) if json.dumps(row) not in texts]
            texts |= {json.dumps(row) for row in rows}
            conversations = [read_conversation(row) for row in rows]
            sets.append(learnable(render_examples(conversations, self._tokenizer, max_length=2048)))
        test, train = sets
        return train, test

    def train(self, first: int, last: int, after: Callable[[int], None] = lambda step: None) -> None:
        """Take the steps from `first` up to `last`.

        Args:
            after: called with the number of steps taken.
        """
        self.trainer.feed(self._bundles(first, last, after))

    def _bundles(self, first: int, last: int, after: Callable[[int], None]) -> Iterator[StepBundle]:
        plan = Plan(
            sha256=f"{self._seed:064x}",
            num_rows=len(self._train),
            rows_per_step=ROWS_PER_STEP,
            epochs=self._steps,
            seed=self._seed,
        )
        seconds = []
        for step in range(first, last):
            examples = [self._train[position] for position in plan.positions(step)]
            began = time.perf_counter()
            yield StepBundle(
                examples=examples,
                num_items=sum(example.supervised_tokens for example in examples),
                micro_batch_tokens=self._max_tokens,
                index=step,
                num_steps=self._steps,
            )
            seconds.append(time.perf_counter() - began)
            after(step + 1)
        self.step_s = median(seconds) or 0.0

    def marks(self) -> Marks:
        """Return what the weights that the model has now are worth on rows it was not trained on."""
        found = self.trainer.row_losses(self._test, max_tokens=MAX_TOKENS)
        loss = sum(row.total for row in found) / sum(row.tokens for row in found)
        return Marks(right=mean(row.is_right for row in found), loss=loss)
