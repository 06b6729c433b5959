"""Processes of ours: how one that another starts finds the same packages and ends with it, and who runs."""

import os
import signal
from pathlib import Path

import trainer

PR_SET_PDEATHSIG = 1  # prctl(2)
LARGEST_PID = 2**31 - 1
EXIT_CODE_OF_SIGNALS = 128  # plus the number: what a shell reports of a process that a signal has ended


def own_environment() -> dict[str, str]:
    """Return this process's environment for one that is to find the same packages."""
    packages, inherited = str(Path(trainer.__file__).parent.parent), os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [packages, inherited]))}


def die_with(parent_pid: int, number: signal.Signals) -> None:
    """Have the system send this process a signal when its parent ends: two must never write one folder."""
    import ctypes  # only here: every command loads this module

    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)
    if os.getppid() != parent_pid:
        os.kill(os.getpid(), number)  # it had ended before we asked


def is_running(pid: object) -> bool:
    """Whether a number from a file, which may say anything, is that of a process that runs."""
    if not isinstance(pid, int) or not 0 < pid <= LARGEST_PID:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # somebody else's, but there
    return not _has_ended(pid) and not _is_thread(pid)


def _has_ended(pid: int) -> bool:
    """Whether only the exit code is left, which the parent has not asked for; some containers never do."""
    return any(line.startswith(("State:\tZ", "State:\tX")) for line in _facts(pid))


def _is_thread(number: int) -> bool:
    """Whether a number is that of a thread inside a process, which can be sent a signal, too."""
    facts = _facts(number)
    return bool(facts) and f"Tgid:\t{number}" not in facts


def _facts(number: int) -> list[str]:
    """Return what the system says of a process or thread; nothing if it does not say."""
    try:
        return Path(f"/proc/{number}/status").read_text(errors="replace").splitlines()
    except OSError:
        return []
