"""Locks between processes: take one only if it is free."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def locked_if_free(path: Path) -> Iterator[bool]:
    """Yield whether nobody held the lock; then it is held until the block ends."""
    from filelock import FileLock, Timeout

    lock = FileLock(path, blocking=False)
    try:
        lock.acquire()
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()
