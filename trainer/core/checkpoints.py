"""Checkpoints on disk: staged, listed in a manifest, made durable, then published by one rename.

Knows no torch.

models/.staging/            being written; worth nothing until renamed
models/checkpoints/step-N/  published and immutable
models/current_model        symbolic link to the newest one
"""

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from trainer.core.faults import NoUsableCheckpoint
from trainer.protocol.files import (
    UnreadableFile,
    file_sha256,
    read_json,
    sync_directory,
    sync_file,
    write_json,
)
from trainer.protocol.manifest import (
    CHECKSUM,
    FORMAT,
    MANIFEST_NAME,
    FileEntry,
    Manifest,
    Progress,
    checksum,
)
from trainer.protocol.text import utc_text

FOLDER = "checkpoints"
POINTER = "current_model"
UNREADABLE = float("inf")  # comes before every sequence number


class DamagedCheckpoint(ValueError):
    """A checkpoint is not what its manifest says."""


@dataclass(frozen=True)
class Checkpoint:
    """A published checkpoint."""

    path: Path
    manifest: Manifest


class CheckpointStore:
    """The checkpoints of one models folder. One process writes it at a time.

    Args:
        models: the folder; must exist.
        clock: Unix seconds, for display only.
    """

    def __init__(self, models: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._models = models
        self._folder = models / FOLDER
        self._staging = models / ".staging"
        self._clock = clock
        self._sequence = 0
        self._newest: str | None = None
        self.notices: list[str] = []
        """What a person should know about, such as a damaged checkpoint that was set aside."""

    def newest_verified(self) -> Checkpoint | None:
        """Return the newest checkpoint that is what its manifest says; set damaged newer ones aside.

        Raises:
            NoUsableCheckpoint: some exist, but none verifies. Starting from zero is not ours to decide.
        """
        shutil.rmtree(self._staging, ignore_errors=True)
        candidates = self._published()
        for path in candidates:
            try:
                manifest = verify(path)
            except DamagedCheckpoint as error:
                aside = self._set_aside(path)
                self.notices.append(
                    f"checkpoint {path.name} is damaged and was renamed {aside.name}: {error}"
                )
                continue
            self._sequence, self._newest = manifest.sequence, path.name
            self._point_to(path)
            return Checkpoint(path, manifest)
        if candidates or any(self._folder.glob("corrupt-*")):
            raise NoUsableCheckpoint(
                f"none of the checkpoints in {self._folder} can be trusted "
                f"({'; '.join(self.notices) or 'all are damaged'}); "
                "restore one from a backup, or move them all away to start from the base model"
            )
        return None

    def publish(
        self,
        write: Callable[[Path], None],
        *,
        progress: Progress,
        base_model: str,
        method: str,
        chat_template: str = "own",
        versions: dict[str, str],
    ) -> Checkpoint:
        """Write a checkpoint and make it the current one. Nothing is visible before everything is durable.

        Args:
            write: fills the folder it is given with the model's files.
        """
        shutil.rmtree(self._staging, ignore_errors=True)
        self._staging.mkdir(mode=0o700)
        try:
            write(self._staging)
        except BaseException:
            shutil.rmtree(self._staging, ignore_errors=True)  # on a full disk others need the room
            raise
        files = {name: _entry(self._staging / name) for name in _names(self._staging)}
        manifest = Manifest(
            sequence=self._sequence + 1,
            parent=self._newest,
            written_at=utc_text(self._clock()),
            base_model=base_model,
            method=method,
            chat_template=chat_template,
            progress=progress,
            files=files,
            versions=versions,
        )
        content = manifest.model_dump(mode="json")
        write_json(self._staging / MANIFEST_NAME, content | {CHECKSUM: checksum(content)}, durable=True)
        for name in files:
            sync_file(self._staging / name)
        for folder in {(self._staging / name).parent for name in files}:
            sync_directory(folder)
        self._folder.mkdir(mode=0o700, exist_ok=True)
        path = self._free_path(progress.global_step, manifest.sequence)
        os.rename(self._staging, path)
        sync_directory(self._folder)
        self._sequence, self._newest = manifest.sequence, path.name
        self._point_to(path)
        return Checkpoint(path, manifest)

    def retain(self, keep_last: int) -> None:
        """Remove all but the newest `keep_last` (at least 2) checkpoints, never the current one."""
        # An unreadable one takes nobody's place, and is left to be set aside at the next start
        readable = [path for path in self._published() if _order(path) < UNREADABLE]
        for path in readable[max(2, keep_last) :]:
            trash = self._folder / f".trash-{path.name}"
            os.rename(path, trash)  # first: a half-removed folder must not look like a checkpoint
            shutil.rmtree(trash, ignore_errors=True)
        for trash in self._folder.glob(".trash-*"):
            shutil.rmtree(trash, ignore_errors=True)

    def _published(self) -> list[Path]:
        """Return all published folders, newest first by sequence number; unreadable ones come first."""
        found = [path for path in self._folder.glob("step-*") if path.is_dir()]
        return sorted(found, key=_order, reverse=True)

    def _free_path(self, global_step: int, sequence: int) -> Path:
        path = self._folder / f"step-{global_step:09d}"
        # A file that fails or ends exactly at an interval checkpoint is recorded without a new step
        return path.with_name(f"{path.name}-{sequence}") if path.exists() else path

    def _set_aside(self, path: Path) -> Path:
        aside, number = path.with_name(f"corrupt-{path.name}"), 1
        while aside.exists():
            number += 1
            aside = path.with_name(f"corrupt-{path.name}-{number}")
        os.rename(path, aside)
        sync_directory(self._folder)
        return aside

    def _point_to(self, path: Path) -> None:
        pointer = self._models / POINTER
        target = os.path.join(FOLDER, path.name)
        if pointer.is_symlink() and os.readlink(pointer) == target:
            return
        fresh = self._models / f".{POINTER}.tmp"
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(target)
        os.replace(fresh, pointer)
        sync_directory(self._models)


def verify(path: Path) -> Manifest:
    """Return the manifest of a checkpoint after comparing every file with it.

    Raises:
        DamagedCheckpoint: something is missing, changed or unreadable.
    """
    manifest = read_manifest(path)
    for name, entry in manifest.files.items():
        file = path / name
        if not file.is_file():
            raise DamagedCheckpoint(f"{name} is missing")
        if (size := file.stat().st_size) != entry.bytes:
            raise DamagedCheckpoint(f"{name} has {size} bytes instead of {entry.bytes}")
        if file_sha256(file) != entry.sha256:
            raise DamagedCheckpoint(f"{name} has another SHA-256 than when it was written")
    return manifest


def read_manifest(path: Path) -> Manifest:
    """Return the manifest of a checkpoint without looking at its files.

    Raises:
        DamagedCheckpoint: there is none, or it cannot be understood.
        NoUsableCheckpoint: another release wrote it, so it is not damaged and must not be set aside.
    """
    try:
        content = read_json(path / MANIFEST_NAME)
    except (FileNotFoundError, UnreadableFile) as error:  # not every OSError: the disk may be at fault
        raise DamagedCheckpoint(f"{MANIFEST_NAME} cannot be read: {error}") from error
    if not isinstance(content, dict) or content.pop(CHECKSUM, None) != checksum(content):
        raise DamagedCheckpoint(f"{MANIFEST_NAME} has another content than when it was written")
    # Before the other fields are looked at: another format may have other ones
    if (found := content.get("format")) != FORMAT:
        raise NoUsableCheckpoint(
            f"{path / MANIFEST_NAME}: format is {found}; expected {FORMAT}; use the release that wrote it"
        )
    try:
        return Manifest.model_validate(content)
    except ValidationError as error:
        raise DamagedCheckpoint(f"{MANIFEST_NAME} cannot be understood: {error}") from error


def _order(path: Path) -> float:
    try:
        return read_manifest(path).sequence
    except DamagedCheckpoint:
        return UNREADABLE


def _names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def _entry(path: Path) -> FileEntry:
    return FileEntry(bytes=path.stat().st_size, sha256=file_sha256(path))
