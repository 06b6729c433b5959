"""One mover at a time: a file of the queue that is being moved has two names for some milliseconds.

Whoever moved it by its earlier name meanwhile would leave it in two places, to be trained twice. And a daemon
that starts would take one name for what a crash has left and remove it, while the mover removes the other.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from trainer.protocol.layout import Layout


@contextmanager
def moving(layout: Layout) -> Iterator[None]:
    """Wait until nobody else moves files between the folders of the queue, and keep others from it."""
    descriptor = os.open(layout.moves_lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)  # which ends the lock, as does the end of the process
