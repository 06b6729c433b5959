"""Start a worker process.

Whatever starts one is given data only, so that it may as well be another machine.
"""

import os
import socket
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from signal import SIGKILL, Signals
from typing import BinaryIO, Protocol

import trainer
from trainer.protocol.layout import Layout

SEND_TIMEOUT_S = 20.0  # a worker that reads nothing for so long must not hold up the daemon

# How a service manager speaks with the daemon; a worker that answered would speak in its name
NOT_FOR_WORKERS = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


class Process(Protocol):
    """A worker that runs or has run, wherever that is."""

    @property
    def pid(self) -> int: ...

    def poll(self) -> int | None:
        """Return its exit code, negative for a signal; None while it runs.

        Everything it has started ends with it.
        """
        ...

    def signal(self, number: Signals) -> None:
        """Send it a signal, unless it has ended; SIGKILL also goes to everything it has started."""
        ...

    def wait(self, timeout_s: float) -> int | None:
        """Wait for its end; return its exit code, or None if it still runs after `timeout_s`."""
        ...


@dataclass(frozen=True)
class Launched:
    """A worker that has been started."""

    process: Process
    endpoint: socket.socket
    """Our end of the connection to it."""


class Launcher(Protocol):
    """Starts workers for one working directory."""

    def launch(self, layout: Layout) -> Launched:
        """Start a worker.

        Raises:
            OSError: the process cannot be started.
        """
        ...


class LocalProcess:
    """A child process on this machine.

    Args:
        child: was started in a session of its own, so that it leads a process group.
    """

    def __init__(self, child: subprocess.Popen[bytes]) -> None:
        self._child = child

    @property
    def pid(self) -> int:
        return self._child.pid

    def poll(self) -> int | None:
        if self._child.returncode is None and self._has_ended():
            self._kill_group()
        return self._child.poll()

    def signal(self, number: Signals) -> None:
        if number is SIGKILL:
            self._kill_group()
        elif self._child.returncode is None:
            os.kill(self.pid, number)

    def wait(self, timeout_s: float) -> int | None:
        with suppress(subprocess.TimeoutExpired):
            self._child.wait(timeout_s)
        return self.poll()

    def _has_ended(self) -> bool:
        """Whether it has, without taking note of it: until then its number is nobody else's."""
        with suppress(ChildProcessError):
            return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        return False

    def _kill_group(self) -> None:
        if self._child.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, SIGKILL)


class LocalLauncher:
    """Starts the worker as a child process on this machine."""

    def launch(self, layout: Layout) -> Launched:
        ours, theirs = socket.socketpair()
        ours.settimeout(SEND_TIMEOUT_S)
        arguments = ["--base-dir", str(layout.base), "--channel-fd", str(theirs.fileno())]
        arguments += ["--parent-pid", str(os.getpid())]
        with theirs, open_stderr(layout) as stderr:
            child = subprocess.Popen(
                # -P: a file in the working directory must not be mistaken for a module
                [sys.executable, "-P", "-m", "trainer.mains.worker", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=stderr,
                stderr=stderr,
                pass_fds=[theirs.fileno()],
                env=worker_environment(),
                start_new_session=True,  # Ctrl-C in the daemon's terminal is not meant for the worker
            )
        return Launched(LocalProcess(child), ours)


def stderr_file(layout: Layout) -> Path:
    """Return where the last words of the newest worker are."""
    return layout.logs / "worker.stderr"


def open_stderr(layout: Layout) -> BinaryIO:
    """Open that file for a new worker; the words of the one before stay in `worker.stderr.1`."""
    path = stderr_file(layout)
    with suppress(FileNotFoundError):
        path.replace(path.with_name(f"{path.name}.1"))
    return path.open("wb")


def worker_environment() -> dict[str, str]:
    """Return the environment of a process that loads torch."""
    packages = str(Path(trainer.__file__).parent.parent)
    found = os.environ.get("PYTHONPATH")
    inherited = {name: value for name, value in os.environ.items() if name not in NOT_FOR_WORKERS}
    return {
        # Torch's threads wait for each other by spinning. On a busy machine the default (for milliseconds)
        # starves the thread they wait for: with one other process on two cores a step took 14 times as long
        "GOMP_SPINCOUNT": "10000",
        # Memory of tensors is kept and used again, in large pages: to be given new memory took 7 % of a step
        "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=268435456"
        ":glibc.malloc.trim_threshold=536870912",
        **inherited,
        "PYTHONPATH": f"{packages}{os.pathsep}{found}" if found else packages,
        "TOKENIZERS_PARALLELISM": "false",  # a few rows at a time are not worth its threads
    }
