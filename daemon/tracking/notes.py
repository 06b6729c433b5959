"""Which events of the journal become notes beside the curves: files, checkpoints, versions."""

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from daemon.ledger.event_stream import RecordedEvent

ABOUT: Mapping[str, str] = {
    "started": "file",
    "finished": "file",
    "reopened": "file",
    "checkpoint": "checkpoint",
    "version_made": "version",
    "consolidated": "model",
    "went_back": "model",
    "gate_passed": "gate",
    "gate_refused": "gate",
}


@dataclass(frozen=True, kw_only=True)
class Note:
    """A line beside the curves."""

    about: str
    at: float
    """Unix seconds."""
    text: str


def note_of(event: RecordedEvent) -> Note | None:
    """Return the note on an event; None for most events."""
    about = ABOUT.get(event.kind)
    if about is None:
        return None
    at = datetime.fromisoformat(event.at).timestamp()
    return Note(about=about, at=round(at, 3), text=event.message)


def settings_of_job(database: sqlite3.Connection, job_id: str | None) -> str | None:
    """Return the settings that a job is trained with, as JSON; None if the ledger does not know them."""
    row = database.execute("SELECT settings FROM jobs WHERE id = ?", (job_id,)).fetchone()
    if row is None or not row["settings"]:
        return None
    return json.dumps(json.loads(row["settings"]), sort_keys=True)
