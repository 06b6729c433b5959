"""What a tracker costs training: the same file, trained by one daemon with TensorBoard and without, in turns.

Each turn changes `tracking` in config.json and trains a file. The goal is 1 % at most.
"""

import json
import tempfile
from collections import defaultdict
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil

from scripts.benchmarks.daemon_process import DaemonProcess, running
from scripts.benchmarks.results import Cell, Table, median, parser_for, publish
from scripts.benchmarks.shapes import SHAPES, build_model
from scripts.benchmarks.turns import tell
from scripts.benchmarks.workload import write_rows
from trainer.protocol.files import write_atomically

ROWS, PAIRS = 2_000, 8
QUICK_ROWS, QUICK_PAIRS = 200, 2
WITHOUT, WITH = "without", "with TensorBoard"
TRACKER = "the tracker itself"
QUIET_S = 0.1  # of processor time between two looks
TRACKING: dict[str, dict[str, Any]] = {WITHOUT: {}, WITH: {"tensorboard": {}}}
TIMES = "SELECT at FROM events WHERE job_id = ? AND kind IN ('started', 'trained') ORDER BY id"


def main() -> None:
    """Measure, print a table, write JSON."""
    options = parser_for("tracking", __doc__).parse_args()
    num_rows, pairs = (QUICK_ROWS, QUICK_PAIRS) if options.quick else (ROWS, PAIRS)
    with tempfile.TemporaryDirectory(prefix="tracking-") as name:
        seconds = _measure(Path(name), num_rows, pairs, options.threads)
    publish("tracking", options, [_table(seconds)], seconds)


def _measure(folder: Path, num_rows: int, pairs: int, threads: int) -> dict[str, list[float]]:
    """Return the seconds from the start to the last step of each file, by what ran beside it."""
    training = {"device": "cpu", "precision": "fp32", "cpu_threads": threads}
    model = {"base_model": str(build_model(folder / "model", SHAPES["tiny"]))}
    config: dict[str, Any] = {"model": model, "training": training}
    seconds: dict[str, list[float]] = defaultdict(list)
    with running(folder / "work", config, threads=threads) as daemon:
        for number in range(2 * pairs + 1):
            side = (WITHOUT, WITH)[number % 2]
            if number:
                _use(daemon, config | {"tracking": TRACKING[side]})
            before = _processor_s(daemon)
            daemon.drop(write_rows(folder / "rows.jsonl", num_rows), f"{number}.jsonl")
            daemon.wait_until_completed(number + 1)
            took = _seconds_of(daemon)
            if number:  # the first file also loads the model
                seconds[side].append(took)
                seconds[TRACKER].append(_processor_s(daemon) - before)
                tell(f"{side}: {took:.2f} s, of which the tracker computes {seconds[TRACKER][-1]:.2f} s")
    return seconds


def _use(daemon: DaemonProcess, config: dict[str, Any]) -> None:
    """Change the settings, and wait until they are in force and a tracker has loaded what it needs."""
    sql = "SELECT count(*) FROM events WHERE kind = 'settings_changed'"
    before = daemon.count(sql)
    write_atomically(daemon.layout.config_file, json.dumps(config).encode(), durable=False)
    daemon.wait_for("the settings", lambda: daemon.count(sql) > before, every_s=0.05)
    computed = -1.0

    def is_quiet() -> bool:
        nonlocal computed
        last, computed = computed, _processor_s(daemon)
        return computed - last < QUIET_S and bool(computed) == bool(config["tracking"])

    daemon.wait_for("a quiet tracker", is_quiet, every_s=2.0)


def _processor_s(daemon: DaemonProcess) -> float:
    """Return the processor time that trackers have taken; 0 without one."""
    for child in psutil.Process(daemon.pid).children():
        with suppress(psutil.Error):
            if "daemon.tracking" in child.cmdline():
                times = child.cpu_times()
                return times.user + times.system
    return 0.0


def _seconds_of(daemon: DaemonProcess) -> float:
    [[job]] = daemon.query("SELECT id FROM jobs ORDER BY id DESC LIMIT 1")
    began, ended = (datetime.fromisoformat(at).timestamp() for [at] in daemon.query(TIMES, job))
    return ended - began


def _table(seconds: dict[str, list[float]]) -> Table:
    alone = min(seconds[WITHOUT])
    rows: list[list[Cell]] = [
        [side, min(took), median(took), f"{100 * (min(took) / alone - 1):+.1f} %"]
        for side, took in seconds.items()
        if side in TRACKING
    ]
    share = sum(seconds[TRACKER]) / sum(seconds[WITH])
    rows.append([TRACKER, None, None, f"{100 * share:.1f} % of a core"])
    return Table("A file beside a tracker, tiny", ["", "seconds, fastest", "median", "cost"], rows)


if __name__ == "__main__":
    main()
