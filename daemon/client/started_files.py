"""Files that a daemon has started, moved while none runs."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from daemon.checkpoints.review import newest_whole, review_sizes
from daemon.client.errors import UnreadableHistory, raising
from daemon.files.identity import identity_of, made_new
from daemon.ledger.reader import LedgerJob, UnreadableLedger, read_jobs
from trainer.protocol.layout import Layout
from trainer.protocol.locks import locked_if_free
from trainer.protocol.places import Priority


@contextmanager
def without_a_daemon(layout: Layout) -> Iterator[bool]:
    """Yield whether no daemon runs; none starts meanwhile."""
    with locked_if_free(layout.lock_file) as is_free:
        yield is_free


def priority_of(layout: Layout, path: Path) -> Priority:
    """Return how urgent a file of the queue is, also one that was started.

    Raises:
        UnreadableHistory: the ledger cannot be read.
    """
    if path.parent != layout.processing:
        return Priority(path.parent.name)
    job = _open_job(layout, path)
    return job.priority if job else Priority.NORMAL


def is_in_the_model(layout: Layout, path: Path) -> bool:
    """Whether the newest checkpoint has all steps of a file that was started, which only has to be moved.

    Raises:
        UnreadableHistory: the ledger cannot be read.
    """
    job = _open_job(layout, path)
    newest = newest_whole(review_sizes(layout.models))
    return bool(
        job and newest and any(record.job_id == job.id for record in newest.manifest.progress.finished)
    )


def make_new(layout: Layout, path: Path) -> None:
    """Have the next daemon take a file for one that it does not know, and train it from its first row.

    One that was moved away and back while no daemon ran would else seem never to have left.

    Raises:
        UnreadableHistory: the ledger cannot be read.
    """
    if not path.is_symlink() and _open_job(layout, path):
        with suppress(FileNotFoundError):  # then moving it says so
            found = path.stat()
            os.utime(path, ns=(found.st_atime_ns, made_new(identity_of(found)).mtime_ns))


def _open_job(layout: Layout, path: Path) -> LedgerJob | None:
    try:
        identity = identity_of(path.lstat())
    except FileNotFoundError:
        return None  # it has just been moved
    with raising(UnreadableHistory, UnreadableLedger):
        jobs = read_jobs(layout.ledger_file, inodes=())
    return next((job for job in jobs if job.identity == identity and not job.is_ended), None)
