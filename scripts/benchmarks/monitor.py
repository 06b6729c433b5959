"""What the web page costs: memory, processor time with three open pages, delay, and the speed of training.

Open pages are streams, as a browser holds them; where Chromium is installed, the first picture is also timed
in it. Training is measured in the daemon, file after file, in turns with and without the page and a tracker.
"""

import argparse
import http.client
import json
import os
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from daemon.client.client import Client
from daemon.client.monitor_process import MonitorNow, start_monitor, stop_monitor
from daemon.ledger.ledger import Ledger
from daemon.monitor.tokens import load_tokens
from scripts.benchmarks.daemon_process import DaemonProcess, running
from scripts.benchmarks.results import Cell, Table, median, parser_for, publish
from scripts.benchmarks.turns import tell
from scripts.benchmarks.workload import write_rows
from trainer.protocol.layout import Layout
from trainer.protocol.messages import StepReport
from trainer.protocol.status import State, TrainingStatus
from trainer.protocol.text import utc_text

MANY_STEPS = 1_000_000
PAGES = 3
STEPS_PER_S = 5
ADDRESSES = ("/api/status", "/api/health", "/api/settings", "/api/curves/loss?points=2000", "/metrics")
TRACKERS: dict[str, Any] = {"tensorboard": {}}


def main() -> None:
    """Measure, print tables, write JSON."""
    options = parser_for("monitor", __doc__).parse_args()
    rows: list[list[Cell]] = []
    with tempfile.TemporaryDirectory(prefix="monitor-") as folder:
        rows += _costs(Layout(Path(folder)), seconds=3 if options.quick else 60)
    with tempfile.TemporaryDirectory(prefix="monitor-") as folder:
        rows += _first_picture(Layout(Path(folder)), steps=10_000 if options.quick else MANY_STEPS)
    beside, data = _beside_training(options)
    columns = ["", "measured", "goal"]
    publish("monitor", options, [Table("The web page", columns, rows), beside], data)


# ---- memory and processor time


def _costs(layout: Layout, *, seconds: float) -> list[list[Cell]]:
    tell("memory and processor time")
    layout.create()
    with _pretended_training(layout), _served(layout) as (monitor, ask):
        process = psutil.Process(monitor.pid)
        started = process.memory_info().rss
        for address in ADDRESSES:
            ask(address)
        with ExitStack() as stack:
            for _ in range(PAGES):
                stack.enter_context(_stream(layout, monitor))
            time.sleep(1.0)
            before = sum(process.cpu_times()[:2])
            time.sleep(seconds)
            share = (sum(process.cpu_times()[:2]) - before) / seconds
        return [
            ["memory after the start (MB)", started / 1e6, 60],
            ["memory after all pages were open (MB)", process.memory_info().rss / 1e6, 60],
            [f"processor time with {PAGES} open pages (% of a core)", 100 * share, 1],
        ]


@contextmanager
def _pretended_training(layout: Layout) -> Iterator[None]:
    """Write status and ledger as a daemon does while a model is trained."""
    end = threading.Event()

    def write() -> None:
        ledger = Ledger(layout.ledger_file, clock=time.time)
        step = 0
        while not end.wait(1.0):
            ledger.add_steps([_step(step + number) for number in range(1, STEPS_PER_S + 1)])
            ledger.commit()
            step += STEPS_PER_S
            _write_status(layout, step)
        ledger.close()

    _write_status(layout, 0)
    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()


def _step(number: int) -> StepReport:
    return StepReport(
        global_step=number, job_id="job", file_step=number, rows=8, tokens=500, supervised_tokens=300,
        loss=2.0, learning_rate=1e-4, grad_norm=0.5, seconds=0.2, not_applied=None, lines=(),
    )  # fmt: skip


def _write_status(layout: Layout, step: int) -> None:
    status = TrainingStatus(
        status=State.TRAINING, heartbeat_at=utc_text(time.time()), daemon_pid=os.getpid(), current_step=step,
        current_file="rows.jsonl", loss=2.0,
    )  # fmt: skip
    partial = layout.logs / "status.partial"
    partial.write_text(status.model_dump_json())
    partial.replace(layout.status_file)


# ---- the server, and those who ask it


@contextmanager
def _served(layout: Layout) -> Iterator[tuple[MonitorNow, Callable[[str], bytes]]]:
    monitor = start_monitor(layout, host="127.0.0.1", port=0)

    def ask(address: str) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", monitor.port, timeout=60)
        connection.request("GET", address, headers=_headers(layout))
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        if answer.status != http.client.OK:
            raise RuntimeError(f"{address}: {answer.status} {content[:200]!r}")
        return content

    try:
        yield monitor, ask
    finally:
        stop_monitor(layout)


def _headers(layout: Layout) -> dict[str, str]:
    return {"Authorization": f"Bearer {load_tokens(layout.status).control}"}


@contextmanager
def _stream(layout: Layout, monitor: MonitorNow) -> Iterator[None]:
    """Hold a page's stream open, and take what comes."""
    connection = http.client.HTTPConnection("127.0.0.1", monitor.port)
    connection.request("GET", "/api/stream", headers=_headers(layout))
    answer = connection.getresponse()

    def take() -> None:
        with suppress(http.client.HTTPException, OSError):  # until it is ended
            while answer.read1(65536):
                pass

    thread = threading.Thread(target=take, daemon=True)
    thread.start()
    try:
        yield
    finally:
        connection.sock.shutdown(2)
        thread.join(5)


# ---- how soon


def _first_picture(layout: Layout, *, steps: int) -> list[list[Cell]]:
    tell(f"the first picture of {steps:,} steps")
    layout.create()
    Ledger(layout.ledger_file, clock=time.time).close()
    database = sqlite3.connect(layout.ledger_file)
    database.executemany(
        "INSERT INTO steps VALUES (?, 'job', ?, 8, 500, 300, ?, 1e-4, 0.5, 0.2, 0, 0)",
        ((number, number, 2 + number % 97 / 50) for number in range(1, steps + 1)),
    )
    database.commit()
    database.close()
    _write_status(layout, steps)
    with _served(layout) as (monitor, ask):
        started = time.perf_counter()
        points = len(json.loads(ask("/api/curves/loss?points=2000"))["x"])
        first = time.perf_counter() - started
        started = time.perf_counter()
        ask("/api/curves/loss?points=2000")
        again = time.perf_counter() - started
        shown, visible = _in_a_browser(layout, monitor, steps)
    return [
        [f"loss curve of {steps:,} steps, first time ({points:,} points, s)", first, 1.5],
        ["the same again (s)", again, ""],
        ["page in Chromium until the curve is drawn (s)", shown, 1.5],
        ["a change of the status until it is visible (s)", visible, 1],
    ]


def _in_a_browser(layout: Layout, monitor: MonitorNow, steps: int) -> tuple[float | None, float | None]:
    """Return the seconds until the curve is drawn, and until a change is seen; None without a browser."""
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError:
        return None, None
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        except Error:
            return None, None
        page = browser.new_page()
        link = f"http://127.0.0.1:{monitor.port}/login?token={load_tokens(layout.status).control}"
        page.goto(link)
        page.wait_for_url(f"http://127.0.0.1:{monitor.port}/")
        page.locator("canvas").first.wait_for()
        started = time.perf_counter()
        page.goto(f"http://127.0.0.1:{monitor.port}/")
        page.locator("canvas").first.wait_for()
        shown = time.perf_counter() - started
        waits = []
        for number in range(5):
            time.sleep(0.3 + 0.13 * number)  # at different times between two looks
            _write_status(layout, steps + 1 + number)
            started = time.perf_counter()
            page.get_by_text(f"{steps + 1 + number:,}").first.wait_for()
            waits.append(time.perf_counter() - started)
        browser.close()
        return shown, max(waits)


# ---- training beside it


def _beside_training(options: argparse.Namespace) -> tuple[Table, dict[str, Any]]:
    """Train the same file again and again, in turns alone and watched; compare the time of its steps."""
    turns, num_rows = (1, 60) if options.quick else (8, 600)
    seconds: dict[str, list[float]] = {"alone": [], "watched": []}
    with tempfile.TemporaryDirectory(prefix="monitor-") as folder:
        base = Path(folder) / "work"
        config = {
            "model": {"base_model": "tiny"},
            "training": {"device": "cpu", "cpu_threads": options.threads},
        }
        with running(base, config, threads=options.threads) as daemon:
            _train(daemon, Path(folder), num_rows, number=0)  # the first file loads everything
            for turn in range(turns):
                for name in ("alone", "watched") if turn % 2 else ("watched", "alone"):
                    tell(f"training, turn {turn + 1} of {turns}: {name}")
                    with ExitStack() as stack:
                        if name == "watched":
                            stack.enter_context(_watched(daemon, config))
                        number = sum(map(len, seconds.values())) + 1
                        seconds[name].append(_train(daemon, Path(folder), num_rows, number=number))
    ratios = [watched / alone for alone, watched in zip(*seconds.values(), strict=True)]
    alone, watched = (median(found) for found in seconds.values())
    rows: list[list[Cell]] = [
        ["alone (median, s a file)", alone],
        [f"beside the page, {PAGES} open, and TensorBoard's tracker", watched],
        ["median of the ratios of two neighbours, - 1 (%; goal: 1)", 100 * (median(ratios) - 1)],
    ]
    return Table("Training beside it", ["", "measured"], rows), {"seconds": seconds, "ratios": ratios}


@contextmanager
def _watched(daemon: DaemonProcess, config: dict[str, Any]) -> Iterator[None]:
    layout = daemon.layout
    layout.config_file.write_text(json.dumps(config | {"tracking": TRACKERS}))
    with _served(layout) as (monitor, _), ExitStack() as stack:
        for _ in range(PAGES):
            stack.enter_context(_stream(layout, monitor))
        time.sleep(5.0)  # until the tracker has loaded what it needs
        yield
    layout.config_file.write_text(json.dumps(config))


def _train(daemon: DaemonProcess, folder: Path, num_rows: int, *, number: int) -> float:
    """Train one file; return the seconds from its first step to its last."""
    name = f"rows-{number}.jsonl"
    write_rows(folder / name, num_rows)
    daemon.drop(folder / name, name)
    daemon.wait_until_completed(number + 1)
    job = Client(daemon.layout.base).history.job_ids_of(name)[0]
    [[seconds]] = daemon.query("SELECT sum(seconds) FROM steps WHERE job_id = ?", job)
    return float(seconds)


if __name__ == "__main__":
    main()
