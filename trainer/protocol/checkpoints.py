"""Published checkpoints as any process may read them. Changes nothing, and knows no torch.

models/checkpoints/step-N/      published and immutable
models/checkpoints/step-N.pin   keeps it for ever; see `trainer.protocol.pins`
models/current_model            symbolic link to the newest one
"""

from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from trainer.protocol.files import UnreadableFile, file_sha256, read_json
from trainer.protocol.manifest import (
    CHECKSUM,
    MANIFEST_NAME,
    READABLE_FORMATS,
    FileEntry,
    Manifest,
    checksum,
)

FOLDER = "checkpoints"
ASIDE_PREFIX = "corrupt-"  # of a damaged checkpoint that was put aside
BASES = "bases"  # in models/: base models that adapters were merged into
POINTER = "current_model"
UNREADABLE = float("inf")  # comes before every sequence number


class DamagedCheckpoint(ValueError):
    """A checkpoint is not what its manifest says."""


class NoUsableCheckpoint(RuntimeError):
    """There are checkpoints, and none of them can be used."""


@dataclass(frozen=True)
class Checkpoint:
    """A published checkpoint."""

    path: Path
    manifest: Manifest


@dataclass(frozen=True)
class Search:
    """What a search for the newest verified checkpoint has found."""

    newest: Checkpoint | None
    damaged: dict[Path, DamagedCheckpoint] = field(default_factory=dict)
    """Those that come before it, newest first."""


def find_newest(folder: Path) -> Search:
    """Return the newest checkpoint in `folder` (`models/checkpoints`) that is what its manifest says.

    Raises:
        NoUsableCheckpoint: another release wrote one of them.
    """
    damaged: dict[Path, DamagedCheckpoint] = {}
    for path in published(folder):
        try:
            return Search(Checkpoint(path, verify(path)), damaged)
        except DamagedCheckpoint as error:
            damaged[path] = error
    return Search(None, damaged)


def published(folder: Path) -> list[Path]:
    """Return all checkpoints, newest first by sequence number; unreadable ones come first."""
    found = [path for path in folder.glob("step-*") if path.is_dir()]
    return sorted(found, key=sequence_of, reverse=True)


def sequence_of(path: Path) -> float:
    """Return a checkpoint's sequence number; UNREADABLE when its manifest is damaged."""
    try:
        return read_manifest(path).sequence
    except DamagedCheckpoint:
        return UNREADABLE


def verify(path: Path) -> Manifest:
    """Return the manifest of a checkpoint after comparing every file with it.

    Raises:
        DamagedCheckpoint: something is missing, changed or unreadable.
    """
    manifest = read_manifest(path)
    for name, entry in manifest.files.items():
        try:
            _compare(path / name, name, entry)
        except FileNotFoundError as error:  # removed while it was read
            raise DamagedCheckpoint(f"{name} is missing") from error
    return manifest


def _compare(file: Path, name: str, entry: FileEntry) -> None:
    if not file.is_file():
        raise DamagedCheckpoint(f"{name} is missing")
    if (size := file.stat().st_size) != entry.bytes:
        raise DamagedCheckpoint(f"{name} has {size} bytes instead of {entry.bytes}")
    if file_sha256(file) != entry.sha256:
        raise DamagedCheckpoint(f"{name} has a different SHA-256 than when it was written")


def read_manifest(path: Path) -> Manifest:
    """Return the manifest of a checkpoint without reading its files.

    Raises:
        DamagedCheckpoint: there is none, or it cannot be understood.
        NoUsableCheckpoint: another release wrote it, so it is not damaged and must not be quarantined.
    """
    try:
        content = read_json(path / MANIFEST_NAME)
    except FileNotFoundError as error:
        raise DamagedCheckpoint(
            f"{MANIFEST_NAME} is missing" if path.is_dir() else "it is not there, or no longer"
        ) from error
    except UnreadableFile as error:  # not every OSError: the disk may be at fault
        raise DamagedCheckpoint(f"{MANIFEST_NAME} cannot be read: {error}") from error
    if not isinstance(content, dict) or content.pop(CHECKSUM, None) != checksum(content):
        raise DamagedCheckpoint(f"{MANIFEST_NAME} has different content than when it was written")
    # Before the other fields are read: another format may have other ones
    if (found := content.get("format")) not in READABLE_FORMATS:
        expected = " or ".join(map(str, READABLE_FORMATS))
        raise NoUsableCheckpoint(
            f"{path / MANIFEST_NAME}: format is {found}; expected {expected}; use the release that wrote it"
        )
    try:
        return Manifest.model_validate(content)
    except ValidationError as error:
        raise DamagedCheckpoint(f"{MANIFEST_NAME} cannot be understood: {error}") from error
