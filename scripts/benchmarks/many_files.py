"""Fifty small files dropped at once: seconds until the last one's weights are on the disk.

Ours is a real daemon, measured twice. Cold: it has just been started; its worker starts with the first file,
which is part of the time and told apart, too. Warm: its worker has trained a file before.
Beside it one TRL process per file (a few are measured and scaled to all), and a new stock Trainer per file in
one process (likewise).
The gap before a file is told by the ledger: the time between the last step of one file and that of the next,
less the seconds of the latter's steps. So it holds everything between steps, too.
"""

import argparse
import shutil
import tempfile
import time
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from scripts.benchmarks.contenders.task import Task
from scripts.benchmarks.daemon_process import DaemonProcess, running
from scripts.benchmarks.results import Cell, Table, median, parser_for, percentile, publish
from scripts.benchmarks.shapes import SHAPES, build_model
from scripts.benchmarks.turns import alone, tell
from scripts.benchmarks.workload import Workload, write_rows

ROWS_PER_FILE = 50
ROWS_PER_STEP = 16
MEASURED_PROCESSES = 3
MEASURED_TRAINERS = 8


def main() -> None:
    """Measure, print tables, write JSON."""
    options = parser_for("many_files", __doc__).parse_args()
    num_files = 5 if options.quick else 50
    data, tables = {}, []
    for name in ("tiny",) if options.quick else ("tiny", "6M"):
        with tempfile.TemporaryDirectory(prefix="many-files-") as folder:
            measured = _measure(Path(folder), name, num_files, options)
        data[name] = measured
        tables.append(_table(name, num_files, measured))
    publish("many_files", options, tables, data)


def _measure(folder: Path, name: str, num_files: int, options: argparse.Namespace) -> dict[str, Any]:
    model = build_model(folder / "model", SHAPES[name])
    files = [write_rows(folder / f"{i:03}.jsonl", ROWS_PER_FILE, Workload(seed=i)) for i in range(num_files)]
    task = Task(
        model=str(model),
        file=str(files[0]),
        folder=str(folder / "peer"),
        rows_per_step=ROWS_PER_STEP,
        threads=options.threads,
        first_steps=-(-ROWS_PER_FILE // ROWS_PER_STEP) - 1,
        turns=0,
    )
    tell(f"{name}: new Trainers")
    trainers = _few(files, 2 if options.quick else MEASURED_TRAINERS)
    one_process = alone("trainer_per_file", replace(task, options={"files": trainers}))
    processes = []
    for file in _few(files, 1 if options.quick else MEASURED_PROCESSES):
        tell(f"{name}: a TRL process")
        processes.append(_trl_process(replace(task, file=file)))
    tell(f"{name}: the daemon")
    copies = [folder / "again" / file.name for file in files]
    (folder / "again").mkdir()
    for file, copy in zip(files, copies, strict=True):
        shutil.copyfile(file, copy)
    # Last, because these move the files
    cold = _ours(folder / "cold", model, files, options.threads)
    first = write_rows(folder / "first.jsonl", ROWS_PER_FILE, Workload(seed=num_files))
    warm = _ours(folder / "warm", model, copies, options.threads, first=first)
    return {
        "ours": cold,
        "ours_warm": warm,
        "one_process": {"why_not": one_process.why_not, **one_process.facts},
        "trl_process_s": [seconds for seconds in processes if seconds is not None],
    }


def _few(files: list[Path], number: int) -> list[str]:
    """Return a few of the files, spread over all."""
    return [str(file) for file in files[:: max(1, len(files) // number)][:number]]


def _trl_process(task: Task) -> float | None:
    """Return how long one process needs for one file, from its start to its end; None if it fails."""
    started = time.perf_counter()
    arguments = {"bf16": False, "gradient_checkpointing": False}
    outcome = alone("trl_sft", replace(task, options={"arguments": arguments}))
    return time.perf_counter() - started if outcome.why_not is None else None


def _ours(
    base: Path, model: Path, files: list[Path], threads: int, *, first: Path | None = None
) -> dict[str, Any]:
    """Drop the files; before that, have `first` trained, after which the worker is warm."""
    config = {
        "model": {"base_model": str(model)},
        "training": {
            "batch_size": ROWS_PER_STEP,
            "gradient_accumulation": 1,
            "device": "cpu",
            "precision": "fp32",
        },
    }
    config["training"]["cpu_threads"] = threads
    started = time.time()
    with running(base, config, threads=threads) as daemon:
        ready = time.time()
        if first:
            daemon.drop(first, first.name)
            daemon.wait_until_completed(1)
        warm_up_steps = daemon.count("SELECT count(*) FROM steps")
        dropped = min(daemon.drop(file, file.name) for file in files)
        daemon.wait_for("the first step", lambda: daemon.count("SELECT count(*) FROM steps") > warm_up_steps)
        first_step = time.time()
        daemon.wait_until_completed(len(files) + bool(first))
        return {
            "daemon_start_s": ready - started,
            "first_step_s": first_step - dropped,
            "all_durable_s": time.time() - dropped,
            "steps_s": daemon.query("SELECT sum(seconds) FROM steps WHERE global_step > ?", warm_up_steps)[0][
                0
            ],
            "checkpoints": daemon.count("SELECT count(*) FROM events WHERE kind = 'checkpoint'"),
            "gap_s": gaps(*_ledger_times(daemon)),
        }


def _ledger_times(daemon: DaemonProcess) -> tuple[list[float], list[float]]:
    rows = daemon.query(
        "SELECT events.at, (SELECT sum(seconds) FROM steps WHERE steps.job_id = events.job_id)"
        " FROM events WHERE kind = 'trained' ORDER BY events.id"
    )
    return [datetime.fromisoformat(at).timestamp() for at, _ in rows], [seconds for _, seconds in rows]


def gaps(trained_at: list[float], step_s: list[float]) -> list[float]:
    """Return the seconds before each file but the first in which no step was taken.

    Args:
        trained_at: when each file's last step was over, in order.
        step_s: seconds of all steps of each file.
    """
    pairs = zip(trained_at, trained_at[1:], step_s[1:], strict=False)
    return [after - before - seconds for before, after, seconds in pairs]


def _table(name: str, num_files: int, measured: dict[str, Any]) -> Table:
    ours, warm, one_process = measured["ours"], measured["ours_warm"], measured["one_process"]
    per_file = median(one_process.get("file_s", []))
    per_process = median(measured["trl_process_s"])
    start_s = one_process.get("import_s", 0.0) + one_process.get("load_s", 0.0)
    cold_s, warm_s = ours["daemon_start_s"] + ours["all_durable_s"], warm["all_durable_s"]
    trainers_s = per_file and start_s + per_file * num_files
    processes_s = per_process and per_process * num_files
    gap = {percent: percentile(ours["gap_s"], percent) for percent in (50, 99)}
    scaled = f"scaled from {len(measured['trl_process_s'])} and {len(one_process.get('file_s', []))} files"
    rows: list[list[Cell]] = [
        ["ours: drop to all durable, the worker's cold start included", ours["all_durable_s"]],
        ["ours: start of the daemon, before that", ours["daemon_start_s"]],
        ["ours: drop to first step, the worker's cold start included", ours["first_step_s"]],
        ["ours: all steps together", ours["steps_s"]],
        ["ours: gap before a file, median", gap[50]],
        ["ours: gap before a file, 99th percentile", gap[99]],
        ["ours, warm: drop to all durable", warm_s],
        ["ours, warm: all steps together", warm["steps_s"]],
        ["new Trainer per file in one process", trainers_s],
        ["one TRL process per file", processes_s],
        ["ours is faster than new Trainers by: cold", trainers_s and trainers_s / cold_s],
        ["ours is faster than new Trainers by: warm", trainers_s and trainers_s / warm_s],
        ["ours is faster than TRL processes by: cold", processes_s and processes_s / cold_s],
        ["ours is faster than TRL processes by: warm", processes_s and processes_s / warm_s],
    ]
    return Table(f"{num_files} files, shape {name}; the peers are {scaled}", ["", "seconds"], rows)


if __name__ == "__main__":
    main()
