"""The files that wait or are processed, each as little as a queue needs that may hold a hundred thousand."""

import sys
from collections.abc import Iterator
from typing import NamedTuple

from daemon.files.identity import MASK_64, Identity
from daemon.ledger.database import Database

ENCODING, ERRORS = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()


class OpenFile(NamedTuple):
    """The file of an open job."""

    job_id: str
    name: str
    """As the file system has it."""
    priority: str
    is_waiting: int
    """0 while it is being processed."""
    rows: int
    identity: Identity
    start_number: int | None
    """Its number in the order of starts; None before the first."""


def read_open_files(database: Database) -> Iterator[OpenFile]:
    """Yield the files in order of arrival."""
    found = database.read(
        "SELECT device, inode, size_bytes, mtime_ns, id, CAST(name AS BLOB), priority, state = 'waiting',"
        " rows, began FROM jobs WHERE state IN ('waiting','processing') ORDER BY id"
    )
    found.row_factory = None
    new = tuple.__new__  # the classes' own way takes as long as reading the row does
    for device, inode, size, mtime_ns, job_id, name, priority, is_waiting, rows, began in found:
        identity = new(Identity, (device & MASK_64, inode & MASK_64, size, mtime_ns))
        name = name.decode(ENCODING, ERRORS)  # as os.fsdecode does, in a third of the time
        yield new(OpenFile, (job_id, name, priority, is_waiting, rows, identity, began))


def read_trained_rows(database: Database) -> dict[str, int]:
    """Return how many rows of each open job that was started are trained, as a part of those of its file."""
    found = database.read(
        # Its steps tell the rows of all its epochs
        "SELECT id, (SELECT coalesce(sum(steps.rows), 0) FROM steps WHERE job_id = jobs.id)"
        " / coalesce(json_extract(settings, '$.training.epochs'), 1) AS trained"
        " FROM jobs WHERE state IN ('waiting','processing') AND began IS NOT NULL"
    )
    return {row["id"]: row["trained"] for row in found}
