"""The model and the rows that contenders train in turns, and the task of each."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scripts.benchmarks.contenders.task import Task
from scripts.benchmarks.shapes import Shape, build_model
from scripts.benchmarks.workload import write_rows

QUICK_TURNS = QUICK_STEPS = 2


def prepare(
    folder: Path, shape: Shape, options: argparse.Namespace, *, turns: int = 4, steps_per_turn: int = 8
) -> Callable[..., Task]:
    """Write the model and the rows; return what makes a task from a name and the contender's options.

    Args:
        options: of the command; with `--quick` there are fewer turns and steps.
    """
    model, file = build_model(folder / "model", shape), folder / "rows.jsonl"

    def task(name: str, **of_contender: Any) -> Task:
        return Task(
            model=str(model),
            file=str(file),
            folder=str(folder / name),
            threads=options.threads,
            turns=QUICK_TURNS if options.quick else turns,
            steps_per_turn=QUICK_STEPS if options.quick else steps_per_turn,
            options=of_contender,
        )

    write_rows(file, task("rows").rows)
    return task
