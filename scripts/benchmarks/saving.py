#!/usr/bin/env python
"""How long training stands still for a checkpoint: ours, written here or beside, and the stock Trainer's own.

    .venv/bin/python scripts/benchmarks/saving.py [--sizes 6 60 240] [--repeats 5] [--threads 2] [--json FILE]

Each save follows a few real steps, the kinds take turns, and medians are shown. The stock Trainer's save is
neither verified nor flushed to the disk; ours is both. `step beside` is the time of a step while a checkpoint
is being written.
"""

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, Qwen3Config, Qwen3ForCausalLM

from trainer.config.schema import CheckpointSettings, ModelSettings, Settings, TrainingSettings
from trainer.core.engine import TrainerEngine
from trainer.core.feeding_trainer import StepBundle
from trainer.core.tiny import build_tiny
from trainer.data.render import Example

SHAPES = {  # millions of parameters -> hidden size, layers
    6: (256, 6),
    60: (768, 8),
    240: (1536, 8),
}
STEPS_BETWEEN = 3


def build_model(folder: Path, millions: int) -> None:
    """Write a model of about that many parameters, with random weights."""
    build_tiny(folder)
    hidden, layers = SHAPES[millions]
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=4 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 64,
        num_key_value_heads=hidden // 64,
        head_dim=64,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    Qwen3ForCausalLM(config).save_pretrained(folder)


def a_step() -> StepBundle:
    tokens = list(range(5, 69))
    example = Example(token_ids=tokens, labels=tokens, supervised_tokens=len(tokens) - 1, is_truncated=False)
    return StepBundle(examples=[example] * 4, num_items=4 * 63, micro_batch_tokens=8192)


class Bench:
    """One model, saved in turn in every way."""

    def __init__(self, base: Path, millions: int) -> None:
        build_model(base / "model", millions)
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
            print(f"  repeat {repeat + 1} of {repeats}", file=sys.stderr, flush=True)

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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", choices=sorted(SHAPES), default=sorted(SHAPES))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    wanted = parser.parse_args()
    torch.set_num_threads(wanted.threads)
    results = {}
    for millions in wanted.sizes:
        with tempfile.TemporaryDirectory(prefix="saving-") as folder:
            bench = Bench(Path(folder), millions)
            bench.engine.trainer.feed(bench.bundles(wanted.repeats))
            results[millions] = {name: statistics.median(times) for name, times in bench.times.items()}
    names = list(results[wanted.sizes[0]])
    print("seconds (median)".ljust(24) + "".join(f"{millions:>9} M" for millions in results))
    for name in names:
        print(
            name.ljust(24)
            + "".join(f"{result.get(name, float('nan')):>11.3f}" for result in results.values())
        )
    if wanted.json:
        wanted.json.write_text(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
