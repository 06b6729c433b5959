"""The part of a step that is not arithmetic: (step - forward, loss, backward and optimizer) / step.

Clipping the gradient, which all do likewise, is in that part; it is also told apart.

With 6 M parameters, and with `tiny`, whose steps are so short that it shows most. Ours also as the daemon's
worker, with status, ledger and logs on: there the ledger tells the part of the time that lies between steps.
"""

import argparse
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any

from scripts.benchmarks.comparison import HF, OURS, facts_of
from scripts.benchmarks.contenders.task import Task
from scripts.benchmarks.daemon_process import running
from scripts.benchmarks.peers import TUNED
from scripts.benchmarks.results import Cell, Table, median, parser_for, publish
from scripts.benchmarks.shapes import SHAPES, build_model
from scripts.benchmarks.turns import Outcome, compare, tell
from scripts.benchmarks.workload import write_rows


def main() -> None:
    """Measure, print a table, write JSON."""
    options = parser_for("overhead", __doc__).parse_args()
    tables, data = [], {}
    for shape in ("tiny",) if options.quick else ("6M", "tiny"):
        with tempfile.TemporaryDirectory(prefix="overhead-") as name:
            table, data[shape] = _measure(Path(name), shape, options)
        tables.append(table)
    publish("overhead", options, tables, data)


def _measure(folder: Path, shape: str, options: argparse.Namespace) -> tuple[Table, dict[str, Any]]:
    contenders = _contenders(folder, shape, options)
    outcomes = compare(contenders)
    tell("the daemon")
    task = contenders[OURS][1]
    between = _between_steps(folder / "work", task)
    rows: list[list[Cell]] = [
        [
            name,
            _percent(overhead(outcome, task, "arithmetic_s")),
            _percent(overhead(outcome, task, "arithmetic_s", "clipping_s")),
            median(outcome.turn_s) / task.steps_per_turn if outcome.turn_s else None,
        ]
        for name, outcome in outcomes.items()
    ]
    rows.append(["ours, in the daemon: time between steps alone", _percent(between), None, None])
    columns = ["", "share of the time", "without clipping", "seconds per step"]
    table = Table(f"Overhead, {shape}", columns, rows)
    return table, {"between_steps": between, "contenders": facts_of(outcomes)}


def _contenders(folder: Path, shape: str, options: argparse.Namespace) -> dict[str, tuple[str, Task]]:
    model = build_model(folder / "model", SHAPES[shape])
    file = folder / "rows.jsonl"

    def task(name: str, **of_contender: object) -> Task:
        return Task(
            model=str(model),
            file=str(file),
            folder=str(folder / name),
            threads=options.threads,
            turns=2 if options.quick else 5,
            steps_per_turn=3 if options.quick else 8,
            options={"time_arithmetic": True, **of_contender},
        )

    write_rows(file, task("rows").rows)
    return {
        OURS: ("ours", task("ours")),
        HF: ("hf_trainer", task("hf")),
        "TRL, tuned": ("trl_sft", task("trl", arguments=TUNED)),
    }


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{100 * share:.1f} %"


def overhead(outcome: Outcome, task: Task, *needed_for: str) -> float | None:
    """Return the median over the turns of the share that is none of `needed_for`.

    Args:
        needed_for: facts, each a list of seconds per step.
    """
    arithmetic = [
        sum(parts) for parts in zip(*(outcome.facts.get(name, []) for name in needed_for), strict=True)
    ]
    shares = []
    for turn, seconds in enumerate(outcome.turn_s):
        first = task.first_steps + turn * task.steps_per_turn
        needed = arithmetic[first : first + task.steps_per_turn]
        if len(needed) == task.steps_per_turn:
            shares.append(1 - sum(needed) / seconds)
    return median(shares)


def _between_steps(base: Path, task: Task) -> float:
    """Return the share of a file's time in the daemon in which no step is taken."""
    training = {
        "device": "cpu",
        "precision": "fp32",
        "cpu_threads": task.threads,
        "batch_size": task.rows_per_step,
    }
    config = {
        "model": {"base_model": task.model},
        "training": training | {"gradient_accumulation": 1},
    }
    with running(base, config, threads=task.threads) as daemon:
        daemon.drop(Path(task.file), "rows.jsonl")
        daemon.wait_until_completed(1)
        [[seconds]] = daemon.query("SELECT sum(seconds) FROM steps")
        sql = "SELECT at FROM events WHERE kind IN ('started', 'trained') ORDER BY id"
        began, ended = (datetime.fromisoformat(at).timestamp() for [at] in daemon.query(sql))
    return float(1 - seconds / (ended - began))


if __name__ == "__main__":
    main()
