"""The seam between the daemon and its worker's machine: how one is started, and what is asked of it then.

The daemon knows a worker by two things only. The *connection*: commands go out over it, and events come back.
It is a connected stream socket, a socket pair or TCP alike. And the *process*: it says whether the worker
runs, how it ended, what it uses. Neither has to be on this machine. A worker elsewhere needs the
connection, the working directory at the same path, and something on its machine that answers for its process.

`LocalLauncher` (`local_launcher.py`) starts workers here; `run_daemon(launcher=...)` takes any other.
"""

import os
import socket
from dataclasses import dataclass
from pathlib import Path
from signal import Signals
from typing import Protocol

import trainer
from daemon.supervision.hang_watch import Signs
from trainer.protocol.layout import Layout

FAREWELL_S = 10.0  # until one has ended that has said its last word or, on this machine, has hung up

# How a service manager speaks with the daemon; a worker that answered would speak in its name
NOT_FOR_WORKERS = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


class Process(Protocol):
    """A worker that runs or has run, wherever that is.

    The daemon's loop waits for each answer, so none but `wait` may take longer than a moment. None raises:
    what cannot be found out is unknown. One that is out of reach for good counts as ended, with the exit code
    CONNECTION_LOST; should it live on, the lock of the models folder keeps the next from writing beside it.
    """

    @property
    def pid(self) -> int:
        """Its number where it runs, for people to read. The daemon looks nothing up by it."""
        ...

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

    def signs(self) -> Signs:
        """Return what it and everything it has started have used so far; `NO_SIGNS` when that is unknown."""
        ...

    def memory_bytes(self) -> int | None:
        """Return the memory that it and everything it has started hold; None when that is unknown."""
        ...

    def oom_kills(self) -> int:
        """Return how many processes the kernel there has killed since the start because memory ran out."""
        ...

    def last_words(self, max_bytes: int) -> str:
        """Return the end of what it has written to its standard error so far."""
        ...


@dataclass(frozen=True)
class Launched:
    """A worker that has been started."""

    process: Process
    endpoint: socket.socket
    """Our end of the connection to it: a connected stream socket of any kind."""
    outlives_connection_s: float = FAREWELL_S
    """Seconds the process may live on after its connection has ended. A worker that a network has cut off
    saves what it has trained and leaves by itself; one elsewhere needs as long as a step and a save take."""


class Launcher(Protocol):
    """Starts workers for one working directory."""

    def launch(self, layout: Layout) -> Launched:
        """Start a worker. The daemon does nothing else meanwhile, so this takes seconds at most.

        Raises:
            OSError: the process cannot be started, or has not connected.
        """
        ...


def worker_environment() -> dict[str, str]:
    """Return the environment of a process that loads torch."""
    packages = str(Path(trainer.__file__).parent.parent)
    found = os.environ.get("PYTHONPATH")
    inherited = {name: value for name, value in os.environ.items() if name not in NOT_FOR_WORKERS}
    return {
        # Torch's threads wait for each other by spinning. On a busy machine the default (for milliseconds)
        # starves the thread they wait for: with one other process on two cores a step took 14 times as long.
        # This is for the first seconds beside others; then they do not spin (trainer/step/crowding.py)
        "GOMP_SPINCOUNT": "10000",
        # Memory of tensors is kept and used again, in large pages: to be given new memory took 7 % of a step
        "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=268435456"
        ":glibc.malloc.trim_threshold=536870912",
        # Products in bf16 are compiled for each shape, and kept: 1,024 of them in two places, a MB or so each
        "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "64",
        "LRU_CACHE_CAPACITY": "8",
        **inherited,
        "PYTHONPATH": f"{packages}{os.pathsep}{found}" if found else packages,
        "TOKENIZERS_PARALLELISM": "false",  # a few rows at a time are not worth its threads
    }
