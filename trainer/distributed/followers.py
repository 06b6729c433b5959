"""The seam between the worker and its followers' machines: how one is started, and where all ranks meet.

A follower needs a connection to the worker, the working directory at the same path, and a file that all ranks
have open to find each other by. Nothing else of it has to be here. `LocalFollowers` starts them as children.
"""

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from trainer.protocol.child_process import own_environment


class FollowerProcess(Protocol):
    """A follower that runs or has run, wherever that is."""

    def kill(self) -> None:
        """End it now, unless it has ended."""
        ...

    def wait(self) -> int:
        """Wait until it has ended or is out of reach; return its exit code, negative for a signal."""
        ...


@dataclass(frozen=True)
class StartedFollower:
    """A follower that has been started."""

    process: FollowerProcess
    endpoint: socket.socket
    """Our end of the connection to it: a connected stream socket of any kind."""


class FollowerLauncher(Protocol):
    """Starts the followers of one worker."""

    def start(self, rank: int, *, num_ranks: int, base_dir: Path) -> StartedFollower:
        """Start a follower.

        Args:
            rank: which one; 0 is the worker.
        Raises:
            OSError: it cannot be started, or has not connected.
        """
        ...

    @property
    def meeting_file(self) -> Path:
        """A new, empty file by which the ranks find each other, under its name in this process.

        Whoever can write it can join them.
        """
        ...

    def close(self) -> None:
        """Give up what the followers needed; they have ended."""
        ...


class LocalFollowers:
    """Starts followers as child processes on this machine, connected by socket pairs.

    Args:
        gpus: that of each rank, as the driver calls it; empty when they compute on the CPU.
    """

    def __init__(self, gpus: Sequence[str]) -> None:
        self._gpus = gpus
        self._meeting = os.memfd_create("ranks")  # nobody but those who inherit it can open it

    @property
    def meeting_file(self) -> Path:
        return Path(f"/proc/self/fd/{self._meeting}")  # whoever inherits it finds it there, too

    def start(self, rank: int, *, num_ranks: int, base_dir: Path) -> StartedFollower:
        ours, theirs = socket.socketpair()
        arguments = ["--base-dir", str(base_dir), "--rank", str(rank), "--num-ranks", str(num_ranks)]
        arguments += ["--channel-fd", str(theirs.fileno()), "--meeting-file", str(self.meeting_file)]
        arguments += ["--parent-pid", str(os.getpid())]
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "trainer.mains.follower", *arguments],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno(), self._meeting],
                env=own_environment() | ({"CUDA_VISIBLE_DEVICES": self._gpus[rank]} if self._gpus else {}),
            )
        return StartedFollower(process, ours)

    def close(self) -> None:
        os.close(self._meeting)
