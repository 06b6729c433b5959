"""Ours: the engine trains the file as the daemon would have it trained."""

from scripts.benchmarks.contenders.side import Side

side = Side()

from pathlib import Path  # noqa: E402 - the heavy imports are timed

import torch  # noqa: E402

from scripts.benchmarks.contenders.arithmetic import ArithmeticClock  # noqa: E402
from scripts.benchmarks.contenders.stopwatch import Stopwatch  # noqa: E402
from scripts.benchmarks.contenders.task import SEED  # noqa: E402
from trainer.config.schema import Settings  # noqa: E402
from trainer.protocol.messages import CheckpointPublished, Event, StepsTaken  # noqa: E402
from trainer.session.engine import TrainerEngine  # noqa: E402


def note(event: Event) -> None:
    """Keep what the comparison needs of the engine's reports."""
    if isinstance(event, StepsTaken):
        for step in event.steps:
            side.result["losses"].append(step.loss)
            side.result["tokens"].append(step.tokens)
            side.result["supervised"].append(step.supervised_tokens)
    elif isinstance(event, CheckpointPublished):
        side.result["save_s"] = event.stall_seconds or event.seconds


def main() -> None:
    """Train the file."""
    side.imported()
    task = side.task
    torch.set_num_threads(task.threads)
    settings = Settings.model_validate(
        {
            "model": {"base_model": task.model},
            "training": {
                "batch_size": task.rows_per_step,
                "gradient_accumulation": 1,
                "warmup_steps": 0,
                "seed": SEED,
                "device": "cpu",
                "precision": "fp32",
                **task.options.get("training", {}),
            },
            "data": task.options.get("data", {}),
        }
    )
    engine = TrainerEngine(settings, base_dir=Path(task.folder), on_event=note)
    with side.timed("load"):
        engine.load()
    engine.trainer.add_callback(Stopwatch(side))
    if task.options.get("time_arithmetic"):
        engine.trainer.add_callback(ArithmeticClock(side))
    side.result["prepare_s"] = 0.0  # it prepares while it trains
    side.about_to_train()
    engine.run_job(task.file)
    side.finish()


main()
