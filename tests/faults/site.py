"""A working directory, the daemon processes that run in it one after another, and what must hold there."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from tests.crash.nursery import Forked, ForkServer
from tests.daemon.rig import QUICK
from tests.faults.run_daemon import WORKER
from tests.support import PATIENCE_S, eventually, write_jsonl
from trainer.protocol.files import read_json
from trainer.protocol.job import Outcome
from trainer.protocol.layout import Layout

ROOT = Path(__file__).parent.parent.parent


class Site:
    """One working directory.

    Args:
        output: where the daemon's standard output and error go.
        seen_by_daemon: the directory's path for the daemon, where that is another one.
        enter: words before the daemon's command line, such as those that enter a namespace.
        server: forks the daemon, which is then there at once; None starts it as a process of its own.
    """

    def __init__(
        self,
        base: Path,
        output: Path,
        *,
        seen_by_daemon: Path | None = None,
        enter: tuple[str, ...] = (),
        server: ForkServer | None = None,
    ) -> None:
        self.layout = Layout(base)
        self.output = output
        self.process: subprocess.Popen[bytes] | Forked | None = None
        self.contents: dict[str, bytes] = {}
        self._seen_by_daemon = seen_by_daemon or base
        self._enter = enter
        self._server = server
        self.layout.create()
        self.configure()

    # ---- the daemon

    def configure(self, **daemon: Any) -> None:
        """Write config.json so that everything is quick and a small disk will do."""
        quick = QUICK | {"min_free_bytes": 0, "blocked_retry_s": 0.2, "rescan_s": 0.2}
        self.layout.config_file.write_text(
            json.dumps({"data": {"max_bad_row_fraction": 0.5}, "daemon": quick | daemon})
        )

    def start(self, *words: str, **variables: str) -> None:
        """Start a daemon; `words` and `variables` as in tests/faults/run_daemon.py."""
        module, arguments = "tests.faults.run_daemon", [str(self._seen_by_daemon), *words]
        environment = os.environ | variables
        with self.output.open("ab") as output:
            if self._server:
                both = dict.fromkeys((1, 2), output.fileno())
                self.process = self._server.fork(module, arguments, both, environment=environment)
                return
            command = [*self._enter, sys.executable, "-m", module, *arguments]
            self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output)

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def left(self) -> int:
        """Wait until daemon and worker are gone; return the daemon's exit code."""
        assert self.process
        code = self.process.wait(PATIENCE_S)
        self.until(lambda: not self._workers(), "the worker's end")
        return code

    def stop(self) -> int:
        """Stop the daemon as Ctrl-C would."""
        assert self.process
        self.process.send_signal(signal.SIGTERM)
        return self.left()

    def kill(self) -> None:
        """Pull the plug of whatever still runs."""
        if self.process and self.is_running:
            self.process.kill()
            self.process.wait()
        for worker in self._workers():
            worker.kill()

    def _workers(self) -> list[psutil.Process]:
        wanted = {str(WORKER), str(self._seen_by_daemon)}
        return [
            process
            for process in psutil.process_iter(["cmdline"])
            if wanted <= set(process.info["cmdline"] or [])
        ]

    # ---- what a user does and sees

    def drop(self, name: str, content: list[Any], *, folder: str = "inbox") -> None:
        """Put a file in place by a rename."""
        partial = write_jsonl(self.layout.logs / f".{name}.partial", content)
        self.contents[name] = partial.read_bytes()
        partial.rename(self.layout.base / folder / name)

    def command(self, name: str) -> None:
        (self.layout.control / f".{name}").touch()

    def status(self) -> dict[str, Any]:
        try:
            return dict(read_json(self.layout.status_file))
        except FileNotFoundError:
            return {}

    def until(self, condition: Callable[[], Any], what: str) -> Any:
        try:
            return eventually(condition, timeout_s=PATIENCE_S, what=what)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.status()}\n{self.tail()}") from None

    def is_completed(self, name: str) -> bool:
        return (self.layout.finished(Outcome.COMPLETED) / name).exists()

    def until_completed(self, *names: str) -> None:
        self.until(lambda: all(map(self.is_completed, names)), f"the end of {names}")

    def tail(self) -> str:
        return self.output.read_text()[-3000:] if self.output.exists() else ""

    def read(self, query: str) -> list[sqlite3.Row]:
        """Read the ledger, once the daemon is gone."""
        # A copy, because SQLite cannot open what lies below /proc/PID/root
        copy = self.output.with_name("ledger.sqlite3")
        for suffix in ("", "-wal"):
            original = self.layout.ledger_file.with_name(f"{self.layout.ledger_file.name}{suffix}")
            content = original.read_bytes() if original.exists() else b""
            copy.with_name(f"{copy.name}{suffix}").write_bytes(content)
        database = sqlite3.connect(copy)
        database.row_factory = sqlite3.Row
        try:
            return database.execute(query).fetchall()
        finally:
            database.close()

    # ---- what must hold once everything is trained

    def places(self) -> dict[str, str]:
        """Return the folder of every dropped file, after checking that each lies in exactly one, whole."""
        found: dict[str, str] = {}
        for name, content in self.contents.items():
            paths = [path for top in ("inbox", "queue") for path in (self.layout.base / top).rglob(name)]
            assert len(paths) == 1, f"{name} lies in {paths}"
            assert paths[0].read_bytes() == content, f"{name} has changed"
            found[name] = paths[0].parent.name
        return found

    def assert_consistent(self) -> None:
        """Check folders, ledger and what was learned against each other."""
        places = self.places()
        jobs = self.read("SELECT * FROM jobs")
        learned = read_json(self.layout.models / "fake_progress.json")
        self._assert_ledger_agrees(places, jobs)
        self._assert_learned_once(jobs, learned)
        leftovers = [path for path in self.layout.base.rglob("*") if path.name.endswith((".tmp", ".part"))]
        assert leftovers == []

    def _assert_ledger_agrees(self, places: dict[str, str], jobs: list[sqlite3.Row]) -> None:
        said = {job["display"]: job["state"] for job in jobs}
        assert len(said) == len(jobs), "a file has two jobs"
        finished = {self.layout.finished(outcome).name: outcome.value for outcome in Outcome}
        shown = {name: finished[places[name]] for name in said}
        assert said == shown
        unknown = {places[name] for name in places.keys() - said.keys()}
        assert unknown <= {"failed"}, f"{unknown} hold files without a job"  # refused at the check

    @staticmethod
    def _assert_learned_once(jobs: list[sqlite3.Row], learned: dict[str, Any]) -> None:
        trained = {record["job_id"]: record["steps"] for record in learned["finished"]}
        assert len(trained) == len(learned["finished"]), "a job was learned twice"
        for job in jobs:
            steps = trained.pop(job["id"], 0)
            assert (job["steps"], job["rows_trained"]) == (steps, steps), job["display"]
            assert steps == job["rows"] or job["state"] != "completed", job["display"]
        assert (trained, learned["cursors"]) == ({}, {})
        assert learned["rows"] == sum(record["steps"] for record in learned["finished"])

    def assert_every_step_is_noted(self) -> None:
        """Check that the ledger has each step of each job once."""
        noted: dict[str, list[int]] = {}
        for step in self.read("SELECT job_id, file_step FROM steps ORDER BY global_step"):
            noted.setdefault(step["job_id"], []).append(step["file_step"])
        trained = self.read("SELECT id, steps FROM jobs WHERE steps > 0")
        assert noted == {job["id"]: list(range(1, job["steps"] + 1)) for job in trained}
