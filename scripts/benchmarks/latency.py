"""How soon the daemon reacts: to a file, to a pause, and with very many files waiting.

Inbox to queue is measured while paused, so that files stay in the queue; a copied file has to settle first
(`daemon.settle_s`). The first step is seen in the ledger, where steps arrive four times a second.
"""

import argparse
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from daemon.files.identity import identity_of
from daemon.jobs.job_queue import JobQueue
from daemon.jobs.listing import queued_files
from daemon.journal.journal import Journal
from daemon.ledger.ledger import Ledger
from scripts.benchmarks.daemon_process import DaemonProcess, running
from scripts.benchmarks.results import Cell, Table, parser_for, percentile, publish
from scripts.benchmarks.turns import tell
from scripts.benchmarks.workload import write_rows
from trainer.protocol.job import Job, Priority
from trainer.protocol.layout import Layout

LONG_FILE_ROWS = 20_000  # is never trained to its end
NEXT_CALLS = 1_000


def main() -> None:
    """Measure, print tables, write JSON."""
    options = parser_for("latency", __doc__).parse_args()
    with tempfile.TemporaryDirectory(prefix="latency-") as folder:
        waits = _reactions(Path(folder), options)
    sizes = (1_000,) if options.quick else (10_000, 100_000)
    queues = {}
    for size in sizes:
        tell(f"a queue of {size:,} files")
        with tempfile.TemporaryDirectory(prefix="latency-") as folder:
            queues[size] = _full_queue(Path(folder), size)
    rows: list[list[Cell]] = [
        [name, len(seconds), percentile(seconds, 50), percentile(seconds, 99)]
        for name, seconds in waits.items()
    ]
    tables = [
        Table("Reactions", ["seconds", "measured", "median", "99th percentile"], rows),
        Table(
            "Files waiting",
            ["", "choose the next (s)", "take over at the start (s)", "list (s)"],
            [[f"{size:,}", *measured.values()] for size, measured in queues.items()],
        ),
    ]
    publish("latency", options, tables, {"seconds": waits, "queues": queues})


def _reactions(folder: Path, options: argparse.Namespace) -> dict[str, list[float]]:
    config = {
        "training": {
            "device": "cpu",
            "precision": "fp32",
            "cpu_threads": options.threads,
            "batch_size": 4,
            "gradient_accumulation": 1,
        }
    }
    times = 5 if options.quick else 120
    source = write_rows(folder / "source.jsonl", 4)
    with running(folder / "work", config, threads=options.threads) as daemon:
        daemon.drop(Path(shutil.copy(source, folder / "warm.jsonl")), "warm.jsonl")
        daemon.wait_until_completed(1)
        tell("inbox to first step")
        first_steps = [_to_first_step(daemon, source, i) for i in range(3 if options.quick else 20)]
        tell("pause")
        daemon.drop(write_rows(folder / "long.jsonl", LONG_FILE_ROWS), "long.jsonl")
        daemon.wait_for("training", lambda: daemon.status().get("current_file") == "long.jsonl")
        pauses = [_to_paused(daemon) for _ in range(3 if options.quick else 20)]
        _command(daemon, "pause", "paused")
        tell("inbox to queue")
        renamed = [_to_queue(daemon, source, f"renamed-{i}.jsonl", is_copy=False) for i in range(times)]
        copied = [_to_queue(daemon, source, f"copied-{i}.jsonl", is_copy=True) for i in range(times)]
    return {
        "renamed into the inbox -> queue": renamed,
        "copied into the inbox -> queue": copied,
        "renamed into the inbox -> first step": first_steps,
        "pause -> paused": pauses,
    }


def _to_first_step(daemon: DaemonProcess, source: Path, index: int) -> float:
    name = f"step-{index}.jsonl"
    completed = daemon.count("SELECT count(*) FROM jobs WHERE state = 'completed'")
    dropped = daemon.drop(Path(shutil.copy(source, source.with_name(name))), name)
    sql = "SELECT count(*) FROM steps JOIN jobs ON jobs.id = job_id WHERE display = ?"
    daemon.wait_for("its first step", lambda: daemon.count(sql, name))
    seconds = time.time() - dropped
    daemon.wait_until_completed(completed + 1)
    daemon.wait_until_idle()
    return seconds


def _to_paused(daemon: DaemonProcess) -> float:
    seconds = _command(daemon, "pause", "paused")
    _command(daemon, "resume", "training")
    return seconds


def _command(daemon: DaemonProcess, name: str, state: str) -> float:
    started = time.perf_counter()
    (daemon.layout.control / f".{name}").touch()
    daemon.wait_for(state, lambda: daemon.status().get("status") == state)
    return time.perf_counter() - started


def _to_queue(daemon: DaemonProcess, source: Path, name: str, *, is_copy: bool) -> float:
    queued = daemon.layout.waiting(Priority.NORMAL) / name
    prepared = Path(shutil.copy(source, source.with_name(name)))
    started = time.perf_counter()
    if is_copy:
        shutil.copy(prepared, daemon.layout.inbox / name)
    else:
        os.rename(prepared, daemon.layout.inbox / name)
    daemon.wait_for(f"{name} in the queue", queued.exists)
    return time.perf_counter() - started


def _full_queue(base: Path, size: int) -> dict[str, Any]:
    """Return the seconds of what depends on how many files wait."""
    layout = Layout(base)
    layout.create()
    ledger = Ledger(layout.ledger_file, clock=time.time)
    journal = Journal([])
    queue = JobQueue(layout, ledger, journal)
    for i in range(size):
        path = layout.waiting(Priority.NORMAL) / f"{i:06}.jsonl"
        path.write_text("{}\n")
        job = Job(
            id=f"20260101-000000-{i:06}",
            name=path.name,
            priority=Priority.NORMAL,
            sha256="0" * 64,
            rows=1,
            size_bytes=3,
        )
        queue.add(job, path, identity_of(path.lstat()))
    ledger.commit()
    next_s = _seconds_of(lambda: [queue.next() for _ in range(NEXT_CALLS)]) / NEXT_CALLS
    recover_s = _seconds_of(JobQueue(layout, ledger, journal).recover)
    list_s = _seconds_of(lambda: queued_files(layout))
    ledger.close()
    return {"next_s": next_s, "recover_s": recover_s, "list_s": list_s}


def _seconds_of(act: Any) -> float:
    started = time.perf_counter()
    act()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
