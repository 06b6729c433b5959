"""Keep commands from moving files of the queue while a daemon that starts finds out where each file is.

A file that is being moved has two names for a moment. To a daemon that finishes what a crash has cut off, the
earlier one would be left over; it removed that, and the command then the other one.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from trainer.protocol.layout import Layout


@contextmanager
def moving(layout: Layout) -> Iterator[None]:
    """Move a file in this block; several commands may at the same time."""
    with _locked(layout, fcntl.LOCK_SH):
        yield


@contextmanager
def nothing_moving(layout: Layout) -> Iterator[None]:
    """Wait until no command moves a file; none does before the block ends."""
    with _locked(layout, fcntl.LOCK_EX):
        yield


@contextmanager
def _locked(layout: Layout, kind: int) -> Iterator[None]:
    descriptor = os.open(layout.moves_lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, kind)
        yield
    finally:
        os.close(descriptor)  # which ends the lock, as does the end of the process
