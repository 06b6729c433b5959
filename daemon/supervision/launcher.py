"""Start a worker process.

Whatever starts one is given data only, so that it may as well be another machine.
"""

import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import trainer
from trainer.protocol.layout import Layout

SEND_TIMEOUT_S = 20.0  # a worker that reads nothing for so long must not hold up the daemon


@dataclass(frozen=True)
class Launched:
    """A worker that has been started."""

    process: subprocess.Popen[bytes]
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


class LocalLauncher:
    """Starts the worker as a child process on this machine."""

    def launch(self, layout: Layout) -> Launched:
        ours, theirs = socket.socketpair()
        ours.settimeout(SEND_TIMEOUT_S)
        arguments = ["--base-dir", str(layout.base), "--channel-fd", str(theirs.fileno())]
        with theirs, stderr_file(layout).open("wb") as stderr:
            process = subprocess.Popen(
                # -P: a file in the working directory must not be mistaken for a module
                [sys.executable, "-P", "-m", "trainer.worker", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=stderr,
                stderr=stderr,
                pass_fds=[theirs.fileno()],
                env=_environment(),
                start_new_session=True,  # Ctrl-C in the daemon's terminal is not meant for the worker
            )
        return Launched(process, ours)


def stderr_file(layout: Layout) -> Path:
    """Return where the last words of the newest worker are."""
    return layout.logs / "worker.stderr"


def _environment() -> dict[str, str]:
    packages = str(Path(trainer.__file__).parent.parent)
    found = os.environ.get("PYTHONPATH")
    return {
        # Torch's threads wait for each other by spinning. On a busy machine the default (for milliseconds)
        # starves the thread they wait for: with one other process on two cores a step took 14 times as long
        "GOMP_SPINCOUNT": "10000",
        **os.environ,
        "PYTHONPATH": f"{packages}{os.pathsep}{found}" if found else packages,
        "TOKENIZERS_PARALLELISM": "false",  # a few rows at a time are not worth its threads
    }
