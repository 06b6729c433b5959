"""A whole daemon in a thread, wired by `daemon/app.py` itself, with a worker that only pretends."""

import json
import os
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from daemon.app import run_daemon
from daemon.supervision.launcher import Launched
from daemon.supervision.local_launcher import LocalProcess, open_stderr, stderr_file
from tests.support import PATIENCE_S, eventually, rows, write_jsonl
from trainer.protocol.job import Outcome
from trainer.protocol.layout import Layout

FAKE_WORKER = Path(__file__).parent.parent / "fake_worker.py"
QUICK = {"settle_s": 0, "settle_slow_s": 0, "rescan_s": 0.5}


class FakeLauncher:
    """Starts fake workers; `environment` says how they misbehave, and `once` how the very next one does."""

    def __init__(self, script: Path = FAKE_WORKER, **environment: str) -> None:
        self.script = script
        self.environment = environment
        self.once: dict[str, str] = {}
        self.launched: list[subprocess.Popen[bytes]] = []
        self.failure: OSError | None = None

    def launch(self, layout: Layout) -> Launched:
        if self.failure:
            raise self.failure
        environment, self.once = self.environment | self.once, {}
        ours, theirs = socket.socketpair()
        arguments = ["--base-dir", str(layout.base), "--channel-fd", str(theirs.fileno())]
        with theirs, open_stderr(layout) as stderr:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(self.script), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=stderr,
                stderr=stderr,
                pass_fds=[theirs.fileno()],
                env=environment,
                start_new_session=True,
            )
        self.launched.append(process)
        return Launched(LocalProcess(process, stderr_file(layout)), ours)


class Rig:
    """One working directory and the daemons that run in it, one after another."""

    def __init__(self, base: Path) -> None:
        self.layout = Layout(base)
        self.layout.create()
        self.launcher: Any = FakeLauncher()
        self.exit_code: int | None = None
        self.stop_soon: Callable[[], None] = lambda: None
        self._thread: threading.Thread | None = None
        self.configure()

    # ---- the daemon

    def configure(self, **sections: dict[str, Any]) -> None:
        """Write config.json as a user would, with quick settling."""
        value = sections | {"daemon": QUICK | sections.get("daemon", {})}
        partial = self._partial("config.json")
        partial.write_text(json.dumps(value))
        os.replace(partial, self.layout.config_file)

    def start(self, *, drain: bool = False, overrides: Sequence[str] = ()) -> "Rig":
        def run() -> None:
            self.exit_code = run_daemon(
                self.layout.base, drain=drain, overrides=overrides, launcher=self.launcher
            )

        self.exit_code = None
        self._thread = threading.Thread(target=run, name="daemon", daemon=True)
        self._thread.start()
        self.until(lambda: self.events("daemon_started") or not self._thread.is_alive(), "the start")
        return self

    def left(self) -> int:
        """Wait until the daemon has left by itself; return its exit code."""
        self._thread.join(PATIENCE_S)
        assert self.exit_code is not None, f"the daemon still runs: {self.status()}"
        return self.exit_code

    def stop(self) -> int:
        """Stop the daemon as Ctrl-C would."""
        self.stop_soon()
        return self.left()

    def stop_if_running(self) -> None:
        """Clean up: Ctrl-C once, and once more if that does not help."""
        self.go()
        for _ in range(2):
            if self._thread and self._thread.is_alive():
                self.stop_soon()
                self._thread.join(PATIENCE_S)

    # ---- what a user does

    def drop(self, name: str, num_rows: int = 3, *, folder: str = "inbox") -> Path:
        """Put a file in place by a rename."""
        partial = write_jsonl(self._partial(name), rows(num_rows))
        os.replace(partial, self.layout.base / folder / name)
        return self.layout.base / folder / name

    def command(self, name: str, content: str = "") -> Path:
        path = self.layout.control / f".{name}"
        partial = self._partial(name)
        partial.write_text(content)
        os.replace(partial, path)
        return path

    def go(self) -> None:
        """Let a worker that holds go on."""
        (self.layout.base / "go").touch()

    def _partial(self, name: str) -> Path:
        """Return where to write what is then renamed into place: where the daemon does not watch."""
        return self.layout.logs / f".{name}.partial"

    # ---- what a user sees

    def status(self) -> dict[str, Any]:
        return json.loads(self.layout.status_file.read_bytes())

    def until(self, condition: Callable[[], Any], what: str = "the condition") -> Any:
        try:
            return eventually(condition, timeout_s=PATIENCE_S, what=what)
        except AssertionError as error:
            raise AssertionError(f"{error}\nstatus: {self.status()}\nevents: {self.events()}") from None

    def until_status(self, status: str, **fields: Any) -> dict[str, Any]:
        wanted = {"status": status} | fields

        def is_so() -> dict[str, Any] | None:
            shown = self.status()
            return shown if all(shown[name] == value for name, value in wanted.items()) else None

        return self.until(is_so, f"status {wanted}")

    def until_training(self, name: str) -> dict[str, Any]:
        """Wait until the worker has begun this file."""
        return self.until(
            lambda: (
                (shown := self.status())["current_file"] == name
                and shown["file_total_steps"]
                and shown["status"] == "training"
                and shown
            ),
            f"training of {name}",
        )

    def until_in(self, outcome: Outcome, *names: str) -> None:
        folder = self.layout.finished(outcome)
        self.until(lambda: all((folder / name).exists() for name in names), f"{names} in {folder.name}")

    def until_answered(self, command: str) -> str:
        """Wait until a command stands as obeyed in the status and its file is gone; return the answer."""
        shown = self.until(
            lambda: (answer := self.status()["last_command"]) and answer["name"] == command and answer,
            f"an answer to {command}",
        )
        assert not (self.layout.control / f".{command.partition('_')[0]}").exists()
        return shown["result"]

    def read(self, query: str, *values: Any) -> list[sqlite3.Row]:
        """Read the ledger as any other program would."""
        if not self.layout.ledger_file.exists():
            return []
        database = sqlite3.connect(f"file:{self.layout.ledger_file}?mode=ro", uri=True)
        database.row_factory = sqlite3.Row
        try:
            return database.execute(query, values).fetchall()
        except sqlite3.OperationalError:
            return []  # it is being created
        finally:
            database.close()

    def events(self, kind: str | None = None) -> list[str]:
        query = "SELECT * FROM events" + (" WHERE kind=?" if kind else "")
        return [row["message"] for row in self.read(query, *([kind] if kind else []))]
