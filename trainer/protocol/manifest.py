"""MANIFEST.json: what a checkpoint contains and what the model had learned by then."""

import hashlib
import json
from typing import Any

from pydantic import BaseModel, ConfigDict

from trainer.protocol.job import Cursor, JobRecord

MANIFEST_NAME = "MANIFEST.json"
FORMAT = 1
CHECKSUM = "checksum"
"""Stands beside the fields below in every format, so that a changed manifest is told from a newer one."""


class FileEntry(BaseModel):
    """One file of a checkpoint, so that damage is noticed."""

    model_config = ConfigDict(frozen=True)

    bytes: int
    sha256: str


class Progress(BaseModel):
    """What the model has learned, apart from its tensors."""

    global_step: int = 0
    """Optimizer steps over the model's life; never resets."""
    tokens_seen: int = 0
    samples_seen: int = 0
    cursors: dict[str, Cursor] = {}
    """Open jobs by id."""
    finished: list[JobRecord] = []
    """The most recently ended jobs, oldest first."""


class Manifest(BaseModel):
    """The content of MANIFEST.json, written last."""

    model_config = ConfigDict(frozen=True)

    format: int = FORMAT
    sequence: int
    """Counts checkpoints; the highest verified one is the newest, whatever the clock says."""
    parent: str | None
    """Name of the checkpoint this one continues."""
    written_at: str
    base_model: str
    method: str
    chat_template: str = "own"
    """As `model.chat_template`."""
    progress: Progress
    files: dict[str, FileEntry]
    versions: dict[str, str]
    """Of the libraries that wrote it."""


def checksum(content: dict[str, Any]) -> str:
    """Return the SHA-256 of a manifest's content without its checksum: the list of hashes is hashed too."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
