"""What to expect of this machine, within three minutes: speed of training, of the start, and of small files.

Needs none of the libraries that the other benchmarks compare with.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

from scripts.benchmarks.comparison import memory_mib, per_second
from scripts.benchmarks.contenders.task import Task
from scripts.benchmarks.daemon_process import running
from scripts.benchmarks.product_rate import FORMATS, product_rate
from scripts.benchmarks.race import prepare
from scripts.benchmarks.results import Cell, Table, parser_for, publish
from scripts.benchmarks.shapes import SHAPES
from scripts.benchmarks.turns import Outcome, compare, tell
from scripts.benchmarks.workload import write_rows

GIGA = 1e9
ROWS_OF_A_FILE = 1_000
STEPS_PER_TURN = {"tiny": 40, "6M": 6}
SMALL_FILES = 20
ROWS_OF_A_SMALL_FILE = 8


def main() -> None:
    """Measure, print tables, write JSON."""
    options = parser_for("quick", __doc__).parse_args()
    rates = {
        name: product_rate(1_300, 256, 768, threads=options.threads, dtype=dtype)
        for name, dtype in FORMATS.items()
    }
    rows: list[list[Cell]] = []
    for shape in STEPS_PER_TURN:
        rows += _speeds(shape, options)
    products = ", ".join(f"{rate / GIGA:.0f} GFLOP/s in {name}" for name, rate in rates.items())
    columns = ["model", "precision", "tokens/s", f"{ROWS_OF_A_FILE:,} rows (s)", "peak RSS (MiB)"]
    tables = [Table(f"Training; products: {products}", columns, rows), _daemon(options)]
    publish("quick", options, tables, {"products_per_s": rates})


def _speeds(shape: str, options: argparse.Namespace) -> list[list[Cell]]:
    with tempfile.TemporaryDirectory(prefix="quick-") as name:
        task = prepare(Path(name), SHAPES[shape], options, steps_per_turn=STEPS_PER_TURN[shape])
        tasks = {name: task(name, training={"precision": name}) for name in FORMATS}
        outcomes = compare({precision: ("ours", task) for precision, task in tasks.items()})
    return [_row(shape, name, outcome, tasks[name]) for name, outcome in outcomes.items()]


def _row(shape: str, precision: str, outcome: Outcome, task: Task) -> list[Cell]:
    tokens = per_second(outcome, task, "tokens")
    counts = outcome.facts.get("tokens", [])
    seconds = tokens and ROWS_OF_A_FILE * sum(counts) / (len(counts) * task.rows_per_step) / tokens
    return [shape, precision, tokens, seconds, memory_mib(outcome)[1]]


def _daemon(options: argparse.Namespace) -> Table:
    """Return how long people wait for the daemon, with the embedded model."""
    config: dict[str, Any] = {"training": {"device": "cpu", "cpu_threads": options.threads, "batch_size": 4}}
    tell("the daemon")
    with tempfile.TemporaryDirectory(prefix="quick-") as name:
        folder = Path(name)
        small = write_rows(folder / "small.jsonl", ROWS_OF_A_SMALL_FILE)
        with running(folder / "work", config, threads=options.threads) as daemon:
            dropped = daemon.drop(_copy(small, "first"), "first.jsonl")
            daemon.wait_for("the first step", lambda: daemon.count("SELECT count(*) FROM steps"))
            cold_s = time.time() - dropped
            daemon.wait_until_completed(1)
            began = time.time()
            number = 3 if options.quick else SMALL_FILES
            for index in range(number):
                daemon.drop(_copy(small, str(index)), f"{index}.jsonl")
            daemon.wait_until_completed(1 + number)
            each_s = (time.time() - began) / number
    rows: list[list[Cell]] = [
        ["from the drop of the first file to its first step", cold_s],
        [f"a file of {ROWS_OF_A_SMALL_FILE} rows, of {number} dropped at once", each_s],
    ]
    return Table("The daemon, with the embedded model", ["", "seconds"], rows)


def _copy(source: Path, name: str) -> Path:
    """Return a file like `source` with content of its own, which is not trained as a repetition."""
    copy = source.with_name(f"copy-{name}.jsonl")
    copy.write_text(source.read_text().replace("{", f'{{"copy": "{name}", ', 1))
    return copy


if __name__ == "__main__":
    main()
