"""The code of one commit, used as people use it: by its commands, on a working directory.

Nothing of it is imported here, and folders and keys are written out, because they are what must stay.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from tests.crash.evidence import unknown_files
from tests.support import eventually

ROOT = Path(__file__).parent.parent.parent
PATIENCE_S = 240.0  # a worker imports torch and transformers, on a machine that may be busy
COMMAND_TIMEOUT_S = 120.0


class WrongCode(RuntimeError):
    """There is no code, or another checkout's would be run."""


class NoSuchCommit(RuntimeError):
    """The commit cannot be checked out."""


class Checkout:
    """A folder that holds the project's code.

    Raises:
        WrongCode: it holds none, or its commands are imported from elsewhere.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        described = self.root / "pyproject.toml"
        if not described.exists():
            raise WrongCode(f"{described} is missing; expected a checkout of this project")
        project = tomllib.loads(described.read_text())["project"]
        self._entry_points: dict[str, str] = project["scripts"]
        foreign = ("TRAINING_", "PYTHON")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        # Comes before the packages of the environment, in which another checkout may be installed
        self.environment = inherited | {"PYTHONPATH": str(self.root)}
        self._refuse_foreign_code()

    def command(self, name: str, *arguments: str) -> list[str]:
        """Return what starts one of the commands, wherever its module is."""
        module, _, function = self._entry_points[name].partition(":")
        code = f"import sys; from {module} import {function}; sys.argv[0] = {name!r}; sys.exit({function}())"
        return [sys.executable, "-P", "-c", code, *arguments]

    def _refuse_foreign_code(self) -> None:
        module = self._entry_points["training_daemon"].partition(":")[0]
        code = f"import {module}; print({module}.__file__)"
        told = subprocess.run(
            [sys.executable, "-P", "-c", code],
            env=self.environment, capture_output=True, text=True, check=True,
        )  # fmt: skip
        found = Path(told.stdout.strip()).resolve()
        if not found.is_relative_to(self.root):
            raise WrongCode(f"{module} is imported from {found}; expected it below {self.root}")


@contextmanager
def checked_out(commit: str) -> Iterator[Checkout]:
    """Check a commit out beside the present code, for as long as the block lasts.

    Raises:
        NoSuchCommit: git does not have it.
    """
    with tempfile.TemporaryDirectory(prefix="upgradetest-code-") as folder:
        place = Path(folder, "code")
        added = _git("worktree", "add", "--quiet", "--detach", str(place), commit)
        if added.returncode:
            raise NoSuchCommit(
                f"{commit}: {added.stderr.strip()}; expected a commit of this repository; fetch its history"
            )
        try:
            yield Checkout(place)
        finally:
            _git("worktree", "remove", "--force", str(place))


def _git(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True)


class Workplace:
    """A working directory, and the daemon of one checkout in it."""

    def __init__(self, checkout: Checkout, base: Path) -> None:
        self._checkout = checkout
        self.base = base
        self._output = base.with_name(f"{base.name}.output.txt")  # beside it: what is inside is compared
        self._daemon: subprocess.Popen[bytes] | None = None

    # ---- commands

    def ask(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command that ends by itself."""
        return subprocess.run(
            self._checkout.command(name, *arguments, "--base-dir", str(self.base)),
            env=self._checkout.environment, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S,
        )  # fmt: skip

    def tell(self, name: str, *arguments: str) -> None:
        """Run a command that must succeed."""
        answer = self.ask(name, *arguments)
        if answer.returncode:
            raise AssertionError(f"{name} {' '.join(arguments)} failed: {answer.stdout}{answer.stderr}")

    def touch(self, request: str) -> None:
        """Ask with a control file, which waits until there is a daemon."""
        (self.base / "control" / f".{request}").touch()

    # ---- the daemon

    def start(self, *arguments: str) -> None:
        command = self._checkout.command("training_daemon", "--base-dir", str(self.base), *arguments)
        with self._output.open("ab") as output:
            self._daemon = subprocess.Popen(
                command, env=self._checkout.environment, stdout=output, stderr=output
            )

    def wait(self) -> int:
        """Wait until the daemon leaves; return its exit code."""
        daemon = self._daemon
        assert daemon
        try:
            eventually(lambda: daemon.poll() is not None, timeout_s=PATIENCE_S, what="the daemon's leave")
        except AssertionError as error:
            raise AssertionError(f"{error}; {self.status()}; {self.last_words()}") from None
        self._daemon = None
        return daemon.returncode

    def go_on_to_the_end(self) -> None:
        """Start a daemon, find it paused as it was left, resume, and wait until everything is trained."""
        try:
            self.start("--once")
            self.until(lambda status: status["status"] == "paused", "the pause is remembered")
            # Else it would depend on the machine which of them come too late to be trained in their turn
            self.until(lambda status: not unknown_files(self.base), "all files are taken in")
            self.tell("training_controller", "resume")
            code = self.wait()
        finally:
            self.pull_the_plug()
        if code:
            raise AssertionError(f"the daemon left with exit code {code}: {self.last_words()}")

    def pull_the_plug(self) -> None:
        """End daemon and worker at once: neither lives to see that the other one died."""
        if self._daemon is None:
            return
        if self._daemon.poll() is None:
            self._daemon.send_signal(signal.SIGSTOP)
            for process in psutil.Process(self._daemon.pid).children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            self._daemon.kill()
        self._daemon.wait()
        self._daemon = None

    # ---- waiting

    def status(self) -> dict[str, Any]:
        """Return what the daemon says of itself; nothing before its first word."""
        with suppress(FileNotFoundError):
            said: dict[str, Any] = json.loads((self.base / "status" / "training_status.json").read_text())
            if self._daemon and said["daemon_pid"] == self._daemon.pid:
                return said
        return {}

    def until(self, condition: Callable[[dict[str, Any]], Any], what: str) -> None:
        """Wait for something that the status shows."""

        def holds() -> bool:
            if self._daemon and self._daemon.poll() is not None:
                raise AssertionError(f"the daemon left before {what}: {self.last_words()}")
            status = self.status()
            return bool(status and condition(status))

        try:
            eventually(holds, timeout_s=PATIENCE_S, what=what)
        except AssertionError as error:
            raise AssertionError(f"{error}; {self.status()}; {self.last_words()}") from None

    def last_words(self) -> str:
        """Return the end of what the daemons wrote."""
        return self._output.read_text()[-2000:]
