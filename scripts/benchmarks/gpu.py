"""One GPU: the speed of a Qwen3-0.6B shape in bf16 (random weights), a case of little memory, correctness.

Needs no installation: run it from the source tree. Without a GPU it says so and exits 2. MFU counts every
token and weight six times, the head included, and attention without regard to causality, over the GPU's
nominal rate (dense bf16).
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from scripts.benchmarks.correctness import check_all
from scripts.benchmarks.engine_run import Run, Spec, run_engine
from scripts.benchmarks.results import Cell, Table, parser_for, publish
from scripts.benchmarks.shapes import SHAPES, build_model
from scripts.benchmarks.turns import tell
from scripts.benchmarks.workload import Workload, write_rows

SHAPE = SHAPES["Qwen3-0.6B"]
NOMINAL_FLOPS = {"H100": 989e12, "H200": 989e12, "A100": 312e12}  # dense bf16, as NVIDIA tells
STEPS_SKIPPED = 3
GIBI = 1024**3


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is trained, and what is expected of it."""

    name: str
    max_length: int
    rows_per_step: int
    median_tokens: float | None = None
    """None: every row fills its whole length."""
    training: dict[str, Any] = field(default_factory=dict)
    goal: str
    memory_bytes: int | None = None


FILLING = 1.25  # times its greatest length: as long is a row before it is cut, so that none is shorter
CASES = (
    Case(
        name="full, rows of 4,096 tokens",
        max_length=4096,
        rows_per_step=16,
        goal="62,000 tokens/s (40 % MFU)",
    ),
    Case(
        name="full, rows of all lengths up to 4,096",
        max_length=4096,
        rows_per_step=64,
        median_tokens=700.0,
        goal="62,000 tokens/s",
    ),
    Case(
        name="LoRA, rank 16, rows of 2,048 tokens",
        max_length=2048,
        rows_per_step=32,
        training={"method": "lora", "lora_rank": 16},
        goal="65,000 tokens/s",
    ),
    Case(
        name="full, 19 rows of 4,096 tokens, 24 GB of memory",
        max_length=4096,
        rows_per_step=19,
        goal="it completes",
        memory_bytes=24 * GIBI,
    ),
)


def main() -> None:
    """Measure, print tables, write JSON."""
    options = parser_for("gpu", __doc__).parse_args()
    if not torch.cuda.is_available():
        print("no GPU is to be seen here (torch.cuda.is_available() is false)", file=sys.stderr)
        raise SystemExit(2)
    with tempfile.TemporaryDirectory(prefix="gpu-") as folder:
        model = build_model(Path(folder) / "model", SHAPE)
        runs = [_run(case, Path(folder) / str(i), model, options) for i, case in enumerate(CASES)]
        tell("correctness")
        checks = check_all(Path(folder) / "correctness", device="cuda")
    data = {"runs": {case.name: vars(run) for case, run in zip(CASES, runs, strict=True)}}
    publish("gpu", options, [_speeds(runs), checks], data)


def _run(case: Case, folder: Path, model: Path, options: argparse.Namespace) -> Run:
    tell(case.name)
    steps = STEPS_SKIPPED + (3 if options.quick else 20)
    folder.mkdir()
    file = write_rows(folder / "rows.jsonl", case.rows_per_step * steps, _workload(case))
    settings = {
        "model": {"base_model": str(model)},
        "training": {
            "device": "cuda",
            "batch_size": case.rows_per_step,
            "gradient_accumulation": 1,
            **case.training,
        },
        "data": {"max_length": case.max_length},
    }
    return run_engine(
        Spec(folder=str(folder / "work"), file=str(file), settings=settings, memory_bytes=case.memory_bytes)
    )


def _workload(case: Case) -> Workload:
    if case.median_tokens:
        return Workload(median_tokens=case.median_tokens, longest_tokens=case.max_length)
    filled = FILLING * case.max_length
    return Workload(
        median_tokens=filled,
        spread=0.01,
        longest_tokens=round(2 * filled),
        prompt_share=0.1,
        multi_turn_share=0.0,
    )


def _speeds(runs: Sequence[Run]) -> Table:
    rows: list[list[Cell]] = []
    for case, run in zip(CASES, runs, strict=True):
        speed = run.tokens_per_s(skip=STEPS_SKIPPED)
        is_counted = case.median_tokens is None and not case.training
        share = mfu(speed, case.max_length) if speed and is_counted else None
        rows.append(
            [
                case.name,
                case.goal,
                run.why_not or speed,
                "-" if share is None else f"{100 * share:.0f} %",
                run.peak_bytes / GIBI if run.peak_bytes else None,
                len(run.losses),
            ]
        )
    columns = ["", "goal", "tokens/s", "MFU", "peak memory (GiB)", "steps"]
    return Table(f"Qwen3-0.6B shape on {torch.cuda.get_device_name()}", columns, rows)


def mfu(tokens_per_s: float, length: int) -> float | None:
    """Return the share of the GPU's nominal rate; None if that is not known."""
    name = torch.cuda.get_device_name()
    nominal = next((rate for known, rate in NOMINAL_FLOPS.items() if known in name), None)
    flops = SHAPE.training_flops([length], supervised=length, is_causal=False) / length
    return tokens_per_s * flops / nominal if nominal else None


if __name__ == "__main__":
    main()
