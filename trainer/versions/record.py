"""VERSION.json: what a version is, where it came from, and which files made it. Never changed."""

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from trainer.protocol.files import UnreadableFile, read_json, write_json
from trainer.protocol.manifest import CHECKSUM, FileEntry, WhichWeights, checksum

RECORD_NAME = "VERSION.json"
FORMAT = 1

Maker = Literal["hand", "file", "day", "gate", "rollback", "forget", "consolidate"]


class DamagedVersion(ValueError):
    """A version is not what its record says."""


class TrainedFile(BaseModel):
    """A file of which the model was trained on some steps."""

    model_config = ConfigDict(frozen=True)

    job_id: str
    name: str
    """Printable."""
    sha256: str
    first_step: int
    """Of the model's life, as the next one; steps of urgent files may lie between them."""
    last_step: int
    rows: int
    outcome: str
    """completed, failed, skipped, or processing while it is not trained to its end."""


class SuiteScore(BaseModel):
    """How many questions of a suite were answered right."""

    model_config = ConfigDict(frozen=True)

    suite: str
    global_step: int
    rows: int
    exact_match: float
    """Share of rows, 0 to 1."""
    loss: float | None = None


class VersionRecord(BaseModel):
    """A version as it was made."""

    model_config = ConfigDict(frozen=True)

    format: int = FORMAT
    id: str
    """v001, v002, …; never given twice."""
    made_at: str
    """UTC, ISO 8601."""
    made_by: Maker
    checkpoint: str
    """Name of the checkpoint whose files it has."""
    checkpoint_sha256: str
    """Of the checkpoint's MANIFEST.json, which has the hashes of all other files."""
    sequence: int
    """Of the checkpoint."""
    branch: int = 0
    """Counts how often the model went back before; 0 for a model that never did."""
    global_step: int
    tokens_seen: int
    parent: str | None
    """The version before it on its branch, or the one that the branch left from."""
    trained: tuple[TrainedFile, ...]
    """What was trained since the parent, in the order of first steps."""
    validation_loss: float | None = None
    """At this very step; None where it was not measured."""
    validation_weights: WhichWeights | None = None
    """Whose loss it is; None where there is none, and in records of earlier releases."""
    suites: tuple[SuiteScore, ...] = ()
    """The newest score of each suite up to this step."""
    base_model: str
    own_base: str | None = None
    """The base model that was made for it, relative to `models/`; None for `base_model` itself."""
    method: str
    settings: dict[str, Any] = {}
    settings_sha256: str | None = None
    libraries: dict[str, str] = {}
    """Their versions."""
    files: dict[str, FileEntry]
    """Of the model's files, by names relative to the folder."""


def write_record(folder: Path, record: VersionRecord) -> None:
    """Write the record into the folder of its version, durably."""
    content = record.model_dump(mode="json")
    write_json(folder / RECORD_NAME, content | {CHECKSUM: checksum(content)}, durable=True)


def read_record(file: Path) -> VersionRecord:
    """Return a record after comparing it with its checksum.

    Raises:
        DamagedVersion: it is not what was written, or another release wrote it.
    """
    try:
        content = read_json(file)
    except UnreadableFile as error:
        raise DamagedVersion(str(error)) from error  # which names the file
    except OSError as error:
        raise DamagedVersion(
            f"{file} cannot be read: {error.strerror}; restore it from a backup, or remove its folder"
        ) from error
    if not isinstance(content, dict) or content.pop(CHECKSUM, None) != checksum(content):
        raise DamagedVersion(
            f"{file} has different content than when it was written; restore it from a backup"
        )
    if content.get("format") != FORMAT:
        raise DamagedVersion(
            f"{file}: format is {json.dumps(content.get('format'))}; expected {FORMAT}; "
            "use the release that wrote it"
        )
    try:
        return VersionRecord.model_validate(content)
    except ValidationError as error:
        raise DamagedVersion(f"{file} cannot be understood: {error}") from error
