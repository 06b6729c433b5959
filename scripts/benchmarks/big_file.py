"""A file of 300 MB with 100,000 rows: seconds from the drop to the first step, and the worker's memory.

Also how many rows a second are made ready for training: ours (step by step, as it does while it trains) and
TRL's preparation, both on a part of the file.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import psutil

from scripts.benchmarks.contenders.task import Task
from scripts.benchmarks.daemon_process import DaemonProcess, running
from scripts.benchmarks.results import Cell, Table, parser_for, publish
from scripts.benchmarks.shapes import SHAPES, build_model
from scripts.benchmarks.turns import alone, tell
from scripts.benchmarks.workload import Workload, make_rows, write_rows

ROWS = 100_000
WORKLOAD = Workload(median_tokens=720, longest_tokens=2000)  # about 3 kB a row
DIFFERENT_ROWS = 500  # repeated with a number each, because inventing 300 MB would take minutes
ROWS_PREPARED = 4_000
STEPS_WATCHED = 5
MEBI = 1024**2


def main() -> None:
    """Measure, print a table, write JSON."""
    options = parser_for("big_file", __doc__).parse_args()
    rows = ROWS // 100 if options.quick else ROWS
    with tempfile.TemporaryDirectory(prefix="big-file-") as name:
        folder = Path(name)
        model = build_model(folder / "model", SHAPES["tiny"])
        tell("writing the file")
        file = write_numbered(folder / "big.jsonl", rows)
        size_mib = file.stat().st_size / MEBI
        prepared = _prepared(folder, model, rows // 4 if options.quick else ROWS_PREPARED, options)
        tell("the daemon")
        measured = _first_step(folder / "work", model, file, options)
    cells: list[list[Cell]] = [
        ["drop to first step (s)", measured["first_step_s"]],
        ["worker's RSS before (MiB)", measured["rss_before_bytes"] / MEBI],
        ["worker's RSS after 5 steps, growth (MiB)", measured["rss_growth_bytes"] / MEBI],
        ["rows/s made ready: ours", prepared["ours"]],
        ["rows/s made ready: TRL", prepared["TRL"]],
    ]
    table = Table(f"{size_mib:.0f} MiB, {rows:,} rows", ["", ""], cells)
    publish("big_file", options, [table], measured | {"rows_per_s": prepared})


def write_numbered(path: Path, rows: int) -> Path:
    """Write rows of which no two are the same; return `path`."""
    with path.open("w") as lines:
        for row in _numbered(rows):
            lines.write(json.dumps(row) + "\n")
    return path


def _numbered(number: int) -> Iterator[dict[str, Any]]:
    different = list(make_rows(min(number, DIFFERENT_ROWS), WORKLOAD))
    for i, row in enumerate(islice(cycle(different), number)):
        first, *others = row["messages"]
        yield {"messages": [first | {"content": f"{i}. {first['content']}"}, *others]}


def _prepared(folder: Path, model: Path, rows: int, options: argparse.Namespace) -> dict[str, float | None]:
    """Return the rows per second that each makes ready. One step is trained afterwards, and not counted."""
    file = write_numbered(folder / "part.jsonl", rows)
    rates: dict[str, float | None] = {}
    for name, module in (("ours", "hf_trainer"), ("TRL", "trl_sft")):
        tell(f"preparing {rows:,} rows: {name}")
        task = Task(
            model=str(model),
            file=str(file),
            folder=str(folder / module),
            threads=options.threads,
            first_steps=0,
            turns=0,
            rows_per_step=4,
            options={"arguments": {"bf16": False}},
        )
        seconds = alone(module, task).facts.get("prepare_s")
        rates[name] = seconds and rows / seconds
    return rates


def _first_step(base: Path, model: Path, file: Path, options: argparse.Namespace) -> dict[str, Any]:
    config = {
        "model": {"base_model": str(model)},
        "training": {
            "device": "cpu",
            "precision": "fp32",
            "cpu_threads": options.threads,
            "batch_size": 4,
            "gradient_accumulation": 1,
        },
    }
    with running(base, config, threads=options.threads) as daemon:
        daemon.drop(write_rows(base / "first.jsonl", 64, WORKLOAD), "first.jsonl")
        daemon.wait_until_completed(1)
        steps = daemon.count("SELECT max(global_step) FROM steps")
        worker = psutil.Process(daemon.status()["worker_pid"])
        before = worker.memory_info().rss
        dropped = daemon.drop(file, "big.jsonl")
        _wait_for_step(daemon, steps + 1)
        first_step_s = time.time() - dropped
        _wait_for_step(daemon, steps + STEPS_WATCHED)
        growth = worker.memory_info().rss - before
    return {"first_step_s": first_step_s, "rss_before_bytes": before, "rss_growth_bytes": growth}


def _wait_for_step(daemon: DaemonProcess, step: int) -> None:
    daemon.wait_for(f"step {step}", lambda: daemon.count("SELECT max(global_step) FROM steps") >= step)


if __name__ == "__main__":
    main()
