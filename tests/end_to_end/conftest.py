"""The real daemon with the real worker, in a working directory of its own."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.crash.nursery import workers_of
from tests.support import PATIENCE_S, eventually, rows, write_jsonl
from trainer.protocol.files import UnreadableFile, read_json
from trainer.protocol.layout import Layout

if TYPE_CHECKING:
    from tests.crash.lab import Nursery

ROOT = Path(__file__).parent.parent.parent
CONFIG = {
    "training": {
        "learning_rate": 1e-3,
        "warmup_steps": 5,
        "batch_size": 2,
        "gradient_accumulation": 1,
        "cpu_threads": 1,
    },
    "checkpoints": {"group_commit_s": 1.0},
    "daemon": {"rescan_s": 1.0, "blocked_retry_s": 1.0},
}


class RunningDaemon:
    """A daemon process and the folders it works in.

    Args:
        nursery: the address of the process that forks its workers; None to have them started as ever.
    """

    def __init__(self, base: Path, nursery: Path | None = None) -> None:
        self.layout = Layout(base)
        self._command = [sys.executable, "-m", "daemon.cli.training_daemon"]
        if nursery:
            self._command = [sys.executable, "-m", "tests.end_to_end.run_command", str(nursery)]
        self.layout.create()
        self.layout.config_file.write_text(json.dumps(CONFIG))
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        command = [*self._command, "--base-dir", str(self.layout.base), *arguments]
        with (self.layout.base / "output.txt").open("ab") as output:
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output)
        return self.process

    def run(self, *arguments: str) -> int:
        """Start it and wait until it leaves; return its exit code."""
        return self.start(*arguments).wait(timeout=PATIENCE_S)

    def stop(self) -> int:
        """Ask it politely; return its exit code."""
        assert self.process
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=PATIENCE_S)

    def end(self) -> None:
        """Pull the plug of it and its worker."""
        self.kill()
        for worker in workers_of(self.layout.base):
            worker.kill()

    def kill(self) -> None:
        """Pull its plug. The worker is not touched."""
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def command(self, *arguments: str) -> str:
        """Run one of the commands and return what it prints."""
        name, *rest = arguments
        result = subprocess.run(
            [sys.executable, "-m", f"daemon.cli.{name}", *rest, "--base-dir", str(self.layout.base)],
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
        assert result.returncode == 0, result.stderr
        return result.stdout

    def status(self) -> dict[str, Any]:
        try:
            return dict(read_json(self.layout.status_file))
        except (FileNotFoundError, UnreadableFile):
            return {}

    def wait_for(self, what: str, condition: Any, timeout_s: float = PATIENCE_S) -> Any:
        return eventually(
            lambda: condition(self.status()), timeout_s=timeout_s, what=f"{what}; {self.tail()}"
        )

    def wait_for_step(self, step: int) -> None:
        self.wait_for(f"step {step}", lambda status: (status.get("current_step") or 0) >= step)

    def wait_for_completed(self, number: int, timeout_s: float = PATIENCE_S) -> None:
        self.wait_for(
            f"{number} completed files",
            lambda status: (status.get("queue") or {}).get("recently_completed", 0) >= number,
            timeout_s,
        )

    def tail(self) -> str:
        return (self.layout.base / "output.txt").read_text()[-1500:]

    def drop(self, name: str, number_of_rows: int, folder: str = "") -> Path:
        """Move a file into the inbox, complete at once."""
        partial = self.layout.inbox / f".{name}.part"
        write_jsonl(partial, rows(number_of_rows))
        target = self.layout.inbox / folder / name
        os.rename(partial, target)
        return target

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        database = sqlite3.connect(f"file:{self.layout.ledger_file}?mode=ro", uri=True)
        try:
            return database.execute(sql).fetchall()
        finally:
            database.close()

    def rows_trained(self) -> dict[str, int]:
        """Return the rows trained by file name, counted from the steps."""
        return dict(
            self.query(
                "SELECT display, sum(steps.rows) FROM steps JOIN jobs ON jobs.id = job_id GROUP BY display"
            )
        )

    def files_in(self, folder: str) -> list[str]:
        names = (path.name for path in (self.layout.queue / folder).iterdir())
        return sorted(
            name for name in names if not name.startswith(".") and not name.endswith(".reason.json")
        )

    def weights(self) -> bytes:
        return (self.layout.models / "current_model" / "model.safetensors").read_bytes()


@pytest.fixture
def make_daemon(tmp_path: Path, nursery: "Nursery") -> Iterator[Callable[[str], RunningDaemon]]:
    """Make several daemons, each in its own folder."""
    with ExitStack() as stack:

        def make(name: str) -> RunningDaemon:
            running = RunningDaemon(tmp_path / name, nursery.address)
            stack.callback(running.end)
            return running

        yield make


@pytest.fixture
def daemon(make_daemon: Callable[[str], RunningDaemon]) -> RunningDaemon:
    """A daemon whose workers start quickly."""
    return make_daemon("work")


@pytest.fixture
def daemon_as_users_have_it(tmp_path: Path) -> Iterator[RunningDaemon]:
    """One whose workers are processes of their own from the first line on."""
    running = RunningDaemon(tmp_path / "work")
    yield running
    running.end()
