"""A real daemon in a folder of its own, as a user would run it."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from trainer.protocol.files import UnreadableFile, read_json
from trainer.protocol.layout import Layout

LOOK_EVERY_S = 0.002
SELDOM_S = 0.05  # while it trains: a look every 2 ms took a fifth of a step's time


class Impatient(RuntimeError):
    """What was waited for did not come."""


class DaemonProcess:
    """A running `training_daemon`, and the folders it works in."""

    def __init__(self, base: Path, config: dict[str, Any], *, threads: int) -> None:
        self.layout = Layout(base)
        self.layout.create()
        self.layout.config_file.write_text(json.dumps(config))
        self._output = (base / "output.txt").open("ab")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "daemon.cli.training_daemon", "--base-dir", str(base)],
            stdout=self._output,
            stderr=self._output,
            env=os.environ | {"OMP_NUM_THREADS": str(threads)},
        )

    @property
    def pid(self) -> int:
        """The daemon's process."""
        return self._process.pid

    def drop(self, file: Path, name: str) -> float:
        """Rename a file into the inbox, complete at once; return when (Unix seconds)."""
        at = time.time()
        os.rename(file, self.layout.inbox / name)
        return at

    def status(self) -> dict[str, Any]:
        """Return the status file's content; empty before there is one."""
        try:
            return dict(read_json(self.layout.status_file))
        except (FileNotFoundError, UnreadableFile):
            return {}

    def query(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Ask the ledger."""
        database = sqlite3.connect(f"file:{self.layout.ledger_file}?mode=ro", uri=True)
        try:
            return database.execute(sql, parameters).fetchall()
        finally:
            database.close()

    def count(self, sql: str, *parameters: Any) -> int:
        """Return the number that a query of the ledger has found."""
        return int(self.query(sql, *parameters)[0][0])

    def wait_until_idle(self) -> None:
        """Wait until there is nothing to do. A worker is started with the first file only."""
        self.wait_for("an idle daemon", lambda: self.status().get("status") == "idle")

    def wait_until_completed(self, number: int) -> None:
        """Wait until that many files are trained and in a durable checkpoint."""
        sql = "SELECT count(*) FROM jobs WHERE state = 'completed'"
        self.wait_for(f"{number} completed files", lambda: self.count(sql) >= number, every_s=SELDOM_S)

    def wait_for(
        self,
        what: str,
        condition: Callable[[], Any],
        *,
        every_s: float = LOOK_EVERY_S,
        timeout_s: float = 600.0,
    ) -> Any:
        """Return the first true value of `condition`.

        Raises:
            Impatient: it did not come, or the daemon has left.
        """
        deadline = time.monotonic() + timeout_s
        while not (value := condition()):
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise Impatient(f"{what} did not come; the daemon's last words: {self._last_words()}")
            time.sleep(every_s)
        return value

    def close(self) -> None:
        """Have everything saved and the daemon gone; its worker, too."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                for process in [*psutil.Process(self._process.pid).children(recursive=True)]:
                    process.kill()
                self._process.kill()
        self._output.close()

    def _last_words(self) -> str:
        return (self.layout.base / "output.txt").read_text()[-1000:]


@contextmanager
def running(base: Path, config: dict[str, Any], *, threads: int) -> Iterator[DaemonProcess]:
    """Start a daemon and wait until it is ready; end it at last."""
    process = DaemonProcess(base, config, threads=threads)
    try:
        process.wait_until_idle()
        yield process
    finally:
        process.close()
