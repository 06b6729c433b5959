"""How long training stands still for a checkpoint: ours, written here or beside, and the stock Trainer's own.

Each save follows a few real steps, the kinds take turns, and medians are shown. The stock Trainer's save is
neither verified nor flushed to the disk; ours is both. `step beside` is the time of a step while a checkpoint
is being written.
"""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from scripts.benchmarks.results import Table, median, parser_for, publish
from scripts.benchmarks.shapes import SHAPES, build_model
from scripts.benchmarks.turns import tell
from trainer.config.model_settings import ModelSettings
from trainer.config.schema import CheckpointSettings, Settings, TrainingSettings
from trainer.data.rendering.render import Example
from trainer.session.engine import TrainerEngine
from trainer.step.feeding_trainer import StepBundle

STEPS_BETWEEN = 3


def a_step() -> StepBundle:
    tokens = list(range(5, 69))
    example = Example(token_ids=tokens, labels=tokens, supervised_tokens=len(tokens) - 1, is_truncated=False)
    return StepBundle(examples=[example] * 4, num_items=4 * 63, micro_batch_tokens=8192)


class Bench:
    """One model, saved in turn in every way."""

    def __init__(self, base: Path, shape: str) -> None:
        build_model(base / "model", SHAPES[shape])
        settings = Settings(
            model=ModelSettings(base_model=str(base / "model")), training=TrainingSettings(warmup_steps=0)
        )
        self.engine = TrainerEngine(settings, base_dir=base)
        self.engine.load()
        self.stock_folder = base / "stock"
        self.times: dict[str, list[float]] = {}

    def note(self, name: str, seconds: float) -> None:
        self.times.setdefault(name, []).append(seconds)

    def steps(self, name: str | None) -> Iterator[StepBundle]:
        for _ in range(STEPS_BETWEEN):
            self.engine.progress.global_step += 1
            started = time.perf_counter()
            yield a_step()
            if name:
                self.note(name, time.perf_counter() - started)

    def bundles(self, repeats: int) -> Iterator[StepBundle]:
        """Yield steps, and save between them."""
        yield from self.steps(None)  # so that the optimizer has its state
        for repeat in range(repeats):
            os.sync()  # the disk is idle before each save, as it is after minutes of training
            yield from self.steps("step")
            self.stock()
            os.sync()
            yield from self.steps("step")
            self.note("here", self.ours("never"))
            os.sync()
            yield from self.steps("step")
            started = time.perf_counter()
            saving = self.begin("always")
            self.note("beside", time.perf_counter() - started)
            while not saving.is_done():
                yield from self.steps("step beside")
            saving.result()
            self.note("beside, until durable", time.perf_counter() - started)
            tell(f"save {repeat + 1} of {repeats}")

    def begin(self, background: Any) -> Any:
        return self.engine.save(CheckpointSettings(background=background))

    def ours(self, background: Any) -> float:
        started = time.perf_counter()
        self.begin(background).result()
        return time.perf_counter() - started

    def stock(self) -> None:
        trainer = self.engine.trainer
        trainer.args.output_dir = str(self.stock_folder)
        started = time.perf_counter()
        trainer._save_checkpoint(trainer.model, trial=None)
        self.note("stock", time.perf_counter() - started)
        shutil.rmtree(self.stock_folder)


def main() -> None:
    """Measure, print a table, write JSON."""
    parser = parser_for("save", __doc__)
    parser.add_argument("--shapes", nargs="+", choices=["6M", "60M", "240M"], default=["6M", "60M"])
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    shapes = ["6M"] if options.quick else options.shapes
    times = {}
    for shape in shapes:
        with tempfile.TemporaryDirectory(prefix="save-") as folder:
            bench = Bench(Path(folder), shape)
            bench.engine.trainer.feed(bench.bundles(2 if options.quick else 5))
            times[shape] = bench.times
    rows = [[name, *(median(times[shape].get(name, [])) for shape in shapes)] for name in times[shapes[0]]]
    publish("save", options, [Table("Seconds (median)", ["", *shapes], rows)], {"seconds": times})


if __name__ == "__main__":
    main()
