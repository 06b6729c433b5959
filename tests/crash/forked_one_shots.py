"""Have the processes that carry out one order forked from a nursery, wherever they are started.

As at a user's, each ends with the process that ordered it, by SIGKILL.
"""

import os
import select
import signal
import subprocess
import threading
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from io import BufferedReader
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import psutil

from tests.crash.nursery import Forked, fork
from trainer.protocol import one_shot

MARK = 200  # a descriptor of each of them, by which it is known whose it is
STDOUT = 1


def fork_one_shots(address: Path) -> None:
    """Have those that this process starts from now on forked by the nursery at `address`."""

    def popen(command: list[str], **how: Any) -> ForkedOneShot:
        assert command[:-1] == one_shot.command_of("")[:-1], command
        return ForkedOneShot(address, command[-1], **how)

    replaced = SimpleNamespace(Popen=popen, PIPE=subprocess.PIPE)
    one_shot.subprocess = replaced  # type: ignore[assignment]


class ForkedOneShot:
    """As much of `subprocess.Popen` as is used for a process that carries out one order."""

    def __init__(
        self,
        address: Path,
        module: str,
        *,
        stdin: IO[bytes],
        stdout: int | IO[bytes],
        stderr: int | None,
        env: Mapping[str, str],
    ) -> None:
        self.stdout: BufferedReader | None = None
        self.stderr: BufferedReader | None = None
        descriptors = {0: stdin.fileno(), MARK: mark_of_this_process()}
        with ExitStack() as stack:

            def pipe(number: int) -> BufferedReader:
                ours, theirs = os.pipe()
                stack.callback(os.close, theirs)
                descriptors[number] = theirs
                return os.fdopen(ours, "rb")

            if stdout == subprocess.PIPE:
                self.stdout = pipe(1)
            elif not isinstance(stdout, int):
                descriptors[1] = stdout.fileno()
            if stderr == subprocess.PIPE:
                self.stderr = pipe(2)
            else:
                descriptors[2] = 2
            self._child: Forked = fork(
                address, module, [], descriptors, environment=env, forks_one_shots=True
            )
        self.pid = self._child.pid

    def __enter__(self) -> "ForkedOneShot":
        return self

    def __exit__(self, *_: object) -> None:
        for pipe in (self.stdout, self.stderr):
            if pipe:
                pipe.close()
        self.wait()

    @property
    def returncode(self) -> int | None:
        return self._child.returncode

    def poll(self) -> int | None:
        return self._child.poll()

    def wait(self) -> int:
        return self._child.wait()

    def kill(self) -> None:
        self._child.kill()

    def terminate(self) -> None:
        self._child.send_signal(signal.SIGTERM)

    def communicate(self) -> tuple[bytes, None]:
        with self.stdout or open(os.devnull, "rb") as pipe:
            said = pipe.read()
        self.wait()
        return said, None


def mark_of_this_process() -> int:
    """Return what tells whose this process is: what it has from its own parent, or else its output."""
    try:
        os.fstat(MARK)
    except OSError:
        return STDOUT
    return MARK


def end_with(parent_pid: int, number: signal.Signals) -> None:
    """Do what `die_with` does, in a child of the nursery instead of a child of `parent_pid`."""
    try:
        parent = os.pidfd_open(parent_pid)
    except ProcessLookupError:
        os.kill(os.getpid(), number)
        return

    def watch() -> None:
        select.select([parent], [], [])
        os.kill(os.getpid(), number)

    threading.Thread(target=watch, daemon=True).start()


def one_shots_of(mark: Path) -> dict[psutil.Process, str]:
    """Return the processes that are marked by a file, with the last part of the name of each's module."""
    found, wanted = {}, str(mark.resolve())
    for pid in psutil.pids():
        with suppress(OSError, psutil.NoSuchProcess):
            if os.readlink(f"/proc/{pid}/fd/{MARK}") == wanted:
                process = psutil.Process(pid)
                found[process] = process.name()
    return found
