"""A row of the ledger's table of jobs as a job."""

import json
import os
import sqlite3

from trainer.protocol.job import Job, Priority

FORGOTTEN = "forgotten, and erased: "  # how the reason of a job begins whose file was


def job_of(row: sqlite3.Row) -> Job:
    """Return the job as it was accepted."""
    return Job(
        id=row["id"],
        name=os.fsdecode(row["name"]),
        priority=Priority(row["priority"]),
        sha256=row["sha256"],
        rows=row["rows"],
        size_bytes=row["size_bytes"],
        rejected_lines=tuple(json.loads(row["rejected"])),
        format=row["format"],
        metadata=json.loads(row["metadata"]),
    )
