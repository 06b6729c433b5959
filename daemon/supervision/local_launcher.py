"""Start the worker as a child process on this machine, connected by a socket pair."""

import os
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from signal import SIGKILL, Signals
from typing import BinaryIO

from daemon.supervision.hang_watch import NO_SIGNS, Signs
from daemon.supervision.launcher import Launched, worker_environment
from daemon.supervision.oom_kills import count_oom_kills
from daemon.supervision.vital_signs import read_rss, read_signs
from trainer.protocol.files import open_anew
from trainer.protocol.layout import Layout


class LocalProcess:
    """A child process on this machine.

    Args:
        child: has just been started, in a session of its own, so that it leads a process group.
        stderr: the file that it writes its standard error to.
    """

    def __init__(self, child: subprocess.Popen[bytes], stderr: Path) -> None:
        self._child = child
        self._stderr = stderr
        self._oom_kills_before = count_oom_kills()

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

    def signs(self) -> Signs:
        return read_signs(self.pid) if self._child.returncode is None else NO_SIGNS

    def memory_bytes(self) -> int | None:
        return read_rss(self.pid) if self._child.returncode is None else None

    def oom_kills(self) -> int:
        return count_oom_kills() - self._oom_kills_before

    def last_words(self, max_bytes: int) -> str:
        try:
            with self._stderr.open("rb") as file:
                file.seek(max(0, self._stderr.stat().st_size - max_bytes))
                return file.read().decode("utf-8", "replace").strip()
        except OSError:
            return ""

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
        return Launched(LocalProcess(child, stderr_file(layout)), ours)


def stderr_file(layout: Layout) -> Path:
    """Return where the last words of the newest worker are."""
    return layout.logs / "worker.stderr"


def open_stderr(layout: Layout) -> BinaryIO:
    """Open that file for a new worker; the words of the one before stay in `worker.stderr.1`."""
    return open_anew(stderr_file(layout))
