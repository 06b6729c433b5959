"""One stopwatch for every Trainer, ours included: all are timed by the same code at the same points."""

import time
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from scripts.benchmarks.contenders.side import Side


class Stopwatch(TrainerCallback):
    """Times turns from the begin of one step to the begin of another, so that fetching rows is included.

    Between two turns it waits until it may continue.
    """

    def __init__(self, side: Side) -> None:
        self._side = side
        self._step = 0
        self._turn = 0
        self._turn_began_at = 0.0

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        task = self._side.task
        turn, within = divmod(self._step - task.first_steps, task.steps_per_turn)
        if within == 0 and 0 <= turn <= task.turns:
            self._side.say(turn=turn, seconds=time.perf_counter() - self._turn_began_at)
            self._side.await_turn()
            self._turn_began_at = time.perf_counter()
        self._step += 1

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self._step == 1:
            self._side.first_step_done()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if logs and "loss" in logs:
            self._side.result["losses"].append(logs["loss"])
