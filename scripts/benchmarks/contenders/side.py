"""A contender's side of the conversation: it says what it does in JSON lines, and waits for its turns.

Imported first by every contender, before anything heavy: the time of the heavy imports is counted from here.
"""

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import psutil

from scripts.benchmarks.contenders.task import Task


class Side:
    """This process as seen by the one that measures."""

    def __init__(self) -> None:
        self.task = Task.read(Path(sys.argv[1]))
        os.environ["OMP_NUM_THREADS"] = str(self.task.threads)  # before torch is imported
        os.environ["HF_HUB_OFFLINE"] = "1"
        self._out: IO[str] = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)  # what libraries print must not get between the lines
        self.result: dict[str, Any] = {"tokens": [], "supervised": [], "losses": []}

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Note how many seconds something took."""
        started = time.perf_counter()
        yield
        self.result[f"{name}_s"] = time.perf_counter() - started

    def imported(self) -> None:
        """Note the time since this process began: the interpreter and all imports."""
        self.result["import_s"] = time.time() - psutil.Process().create_time()

    def about_to_train(self) -> None:
        """Note the memory that the loaded model takes, and the time."""
        self.result["rss_before_bytes"] = psutil.Process().memory_info().rss
        self.result["training_began_at"] = time.perf_counter()

    def first_step_done(self) -> None:
        self.result["first_step_s"] = time.perf_counter() - self.result["training_began_at"]

    def say(self, **facts: Any) -> None:
        self._out.write(json.dumps(facts) + "\n")
        self._out.flush()

    def await_turn(self) -> None:
        """Wait until this process may compute."""
        if not sys.stdin.readline():
            raise SystemExit("the measuring process is gone")

    def finish(self) -> None:
        """Hand over everything noted."""
        self.result["rss_peak_bytes"] = peak_rss_bytes()
        self.say(result=self.result)


def peak_rss_bytes() -> int:
    """Return the most memory this process has ever had."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("/proc/self/status has no VmHWM; expected Linux")
