"""Ours in turns that last for a time, however many steps that is: for a machine whose load changes.

Options: `before_s` and `turn_s`, the seconds of a turn that are not measured and those that are;
`is_spinning`, to have torch's threads spin beside other programs, too.
"""

from scripts.benchmarks.contenders.side import Side

side = Side()

import time  # noqa: E402 - the heavy imports are timed
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import torch  # noqa: E402
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments  # noqa: E402

from scripts.benchmarks.contenders.task import SEED  # noqa: E402
from trainer.config.schema import Settings  # noqa: E402
from trainer.protocol.messages import Event, StepsTaken  # noqa: E402
from trainer.session.engine import TrainerEngine  # noqa: E402
from trainer.step.crowding import SampleCrowding  # noqa: E402

ENDLESS = 1_000_000  # epochs


class Turns(TrainerCallback):
    """Counts the tokens of each turn; between two turns it waits until it may continue."""

    def __init__(self, engine: TrainerEngine, options: dict[str, Any]) -> None:
        self._engine = engine
        self._before_s: float = options["before_s"]
        self._turn_s: float = options["turn_s"]
        self._resumed_at = float("-inf")
        self._counted_from: tuple[float, int] | None = None

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        now = time.perf_counter()
        if self._counted_from is None:
            if now - self._resumed_at >= self._before_s:
                self._counted_from = (now, self._tokens())
            return
        began_at, tokens = self._counted_from
        if now - began_at >= self._turn_s:
            self._counted_from = None
            side.say(tokens=self._tokens() - tokens, seconds=now - began_at)
            side.await_turn()
            self._resumed_at = time.perf_counter()

    def _tokens(self) -> int:
        self._engine.reporter.flush()
        return sum(side.result["tokens"])


def note(event: Event) -> None:
    """Keep the tokens of each step."""
    if isinstance(event, StepsTaken):
        side.result["tokens"] += [step.tokens for step in event.steps]
        side.result["losses"] += [step.loss for step in event.steps]


def main() -> None:
    """Train the file again and again, until the measuring process is gone."""
    task = side.task
    torch.set_num_threads(task.threads)
    training = {"batch_size": task.rows_per_step, "gradient_accumulation": 1, "seed": SEED, "device": "cpu"}
    settings = Settings.model_validate(
        {"model": {"base_model": task.model}, "training": training | {"epochs": ENDLESS}}
    )
    engine = TrainerEngine(settings, base_dir=Path(task.folder), on_event=note)
    engine.load()
    if task.options["is_spinning"]:
        engine.trainer.remove_callback(SampleCrowding)
    engine.trainer.add_callback(Turns(engine, task.options))
    engine.run_job(task.file)


main()
