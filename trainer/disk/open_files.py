"""Whether some process has a file open, so that removing it would free nothing yet."""

import errno
import fcntl
import os
import signal
from pathlib import Path


def ignore_lease_breaks() -> None:
    """Keep SIGIO from killing this process when somebody opens a file at the instant it is asked about."""
    signal.signal(signal.SIGIO, signal.SIG_IGN)


def is_open(path: Path) -> bool:
    """Whether a process has a file open; False where the system cannot tell.

    The kernel grants a write lease only on a file that nobody else has open: see fcntl(2), F_SETLEASE.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)  # at once: whoever opens it now would wait
    except OSError as error:
        return error.errno == errno.EAGAIN
    finally:
        os.close(descriptor)
    return False


def is_open_below(folder: Path) -> bool:
    """Whether a process has any file in a folder open."""
    return any(is_open(path) for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
