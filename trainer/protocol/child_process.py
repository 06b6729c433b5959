"""A process of ours that another one starts: it finds the same packages, and ends with its parent."""

import ctypes
import os
import signal
from pathlib import Path

import trainer

PR_SET_PDEATHSIG = 1  # prctl(2)


def own_environment() -> dict[str, str]:
    """Return this process's environment for one that is to find the same packages."""
    packages, inherited = str(Path(trainer.__file__).parent.parent), os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [packages, inherited]))}


def die_with(parent_pid: int, number: signal.Signals) -> None:
    """Have the system send this process a signal when its parent ends: two must never write one folder."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)
    if os.getppid() != parent_pid:
        os.kill(os.getpid(), number)  # it had ended before we asked
