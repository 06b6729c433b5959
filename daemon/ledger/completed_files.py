"""Which completed files a job may replay rows from."""

import json
import os
import sqlite3
from dataclasses import dataclass

from daemon.files.identity import Identity, identity_of_row
from trainer.protocol.job import EarlierFile

LOOKED_AT = 1_000  # completed jobs, of which many files may have been removed
NEWEST_COMPLETED = f"SELECT * FROM jobs WHERE state='completed' ORDER BY id DESC LIMIT {LOOKED_AT}"


@dataclass(frozen=True)
class Completed:
    """A completed job's file, as the ledger knows it."""

    file: EarlierFile
    name: str
    """As the system has it; not printable."""
    identity: Identity


def completed(row: sqlite3.Row) -> Completed:
    """Return the file of a row of the ledger's table of jobs."""
    file = EarlierFile(
        job_id=row["id"],
        name=row["display"],
        sha256=row["sha256"],
        rows=row["rows"],
        rejected_lines=tuple(json.loads(row["rejected"])),
        fields=tuple(_fields_of(row["settings"]).items()),
    )
    return Completed(file, os.fsdecode(row["name"]), identity_of_row(row))


def _fields_of(settings: str | None) -> dict[str, str]:
    """Return `data.fields` of a job's settings; earlier releases had none."""
    fields: dict[str, str] = json.loads(settings or "{}").get("data", {}).get("fields", {})
    return fields


def replayed_files(text: str | None) -> tuple[EarlierFile, ...]:
    """Return what the ledger's column `replayed` of a job says."""
    return tuple(EarlierFile.model_validate(file) for file in json.loads(text or "[]"))
