"""Let one system call of a process go wrong, by strace."""

import multiprocessing
import shutil
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults import transitions
from tests.faults.transitions import Transition
from tests.support import PATIENCE_S

CALLS = (
    "openat", "write", "pwrite64", "ftruncate", "fsync", "fdatasync", "rename", "renameat", "renameat2",
    "link", "linkat", "symlink", "symlinkat", "unlink", "unlinkat", "mkdir", "mkdirat", "rmdir",
)  # fmt: skip
FAULTS = {"KILL": "signal=KILL", "EIO": "error=EIO", "ENOSPC": "error=ENOSPC"}


@dataclass(frozen=True)
class Result:
    """How a process ended that was interfered with."""

    exit_code: int
    was_hit: bool
    """False when it made fewer such calls."""


class Injector:
    """Makes transitions in processes of their own, forked from one that has loaded everything already."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([transitions.__name__])

    def run(self, prepare: Callable[[Path], Transition], base: Path, injection: str) -> Result:
        """Make a transition.

        Args:
            injection: as `strace --inject` has it. It counts from the transition's beginning. A call that
                this kind of machine does not know is never made.
        """
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=transitions.run, args=(prepare, base, theirs))
        process.start()
        theirs.close()
        assert ours.recv() == "ready"
        call, _, _ = injection.partition(":")
        command = ["strace", "-p", str(process.pid), "-o", str(self._log)]
        what = ["-e", f"trace=?{call}", "-e", f"inject=?{injection}"]
        with subprocess.Popen([*command, *what], stderr=subprocess.PIPE) as strace:
            assert strace.stderr
            said = strace.stderr.readline()
            if b"attached" not in said:
                process.kill()
                pytest.skip(f"strace may not look at a process here: {said.decode().strip()}")
            ours.send("go")
            process.join(PATIENCE_S)
        log = self._log.read_text()
        assert process.exitcode is not None
        return Result(process.exitcode, "(INJECTED)" in log or process.exitcode == -signal.SIGKILL)


def require_strace() -> None:
    """Skip the test where there is no strace."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
