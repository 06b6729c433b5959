"""What could be removed to free space: what was thrown away, what can be rebuilt, and what is not needed.

Finds it, and changes nothing. What stays although it takes space is named, too, with the reason.
"""

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from trainer.checkpoints.bases import FOLDER as BASES
from trainer.checkpoints.bases import STAGING as BASE_STAGING
from trainer.checkpoints.publishing import removable, trash_of
from trainer.checkpoints.retention import ALWAYS_KEPT, Retention
from trainer.disk.links import LinkedFile, linked_files
from trainer.disk.open_files import is_open, is_open_below
from trainer.disk.protection import UnknownNeed, needed_bases, protected_checkpoints, protected_versions
from trainer.protocol.backups import abandoned_drills
from trainer.protocol.checkpoints import FOLDER
from trainer.protocol.disk import ActKind, CleanOrder, Left
from trainer.protocol.layout import Layout
from trainer.protocol.text import printable
from trainer.versions.record import RECORD_NAME
from trainer.versions.registry import FOLDER as VERSIONS
from trainer.versions.registry import ID, TRASH, Versions
from trainer.versions.removal import REMOVING, state_files

FEWEST = Retention(keep_last=ALWAYS_KEPT)
"""Keeps the newest two, and what is pinned, in use or needed by the gate. The spine stays besides."""
A_LINK = "is a link to another place, which somebody has made"
TOKENS = "*.tokens"  # in models/cache/
CLEARED = re.compile(r"(?:failed|skipped)-(\d{8}-\d{6})(?:-\d+)?")


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One thing that could be removed."""

    kind: ActKind
    path: Path
    files: tuple[LinkedFile, ...]
    is_junk: bool = False
    """Somebody threw it away, so it goes even where it frees nothing at once."""


@dataclass(frozen=True)
class Found:
    """What there is, in the order in which it goes."""

    candidates: tuple[Candidate, ...]
    left: tuple[Left, ...]


def find(layout: Layout, order: CleanOrder, *, now: float) -> Found:
    """Return what could be removed.

    Args:
        now: Unix seconds.
    Raises:
        NoUsableCheckpoint: another release wrote a checkpoint, so nothing is known for sure.
    """
    finder = _Finder(layout, order, now)
    candidates = (
        *finder.leftovers(),
        *finder.deleted_versions(),
        *finder.cleared_files(),
        *finder.token_caches(),
        *finder.base_models(),
        *finder.optimizer_states(),
        *finder.checkpoints(),
    )
    return Found(candidates, tuple(finder.left))


class _Finder:
    def __init__(self, layout: Layout, order: CleanOrder, now: float) -> None:
        self._layout = layout
        self._order = order
        self._now = now
        self._versions = Versions(layout.models, clock=lambda: now)
        self._protected = protected_checkpoints(layout.models, order.spine)
        self.left: list[Left] = []

    def leftovers(self) -> Iterator[Candidate]:
        """Yield what somebody who was killed was about to publish, or had put out of sight."""
        for path in leftover_folders(self._layout):
            yield self._candidate("leftover", path, is_junk=True)

    def deleted_versions(self) -> Iterator[Candidate]:
        deleted_at = self._versions.deleted_at()
        folder = self._layout.models / VERSIONS / TRASH
        paths = [path for path in folder.glob("v*") if ID.fullmatch(path.name)]
        aged = sorted((_deleted_at(path, deleted_at.get(path.name)), path) for path in paths)
        for at, path in aged:
            if path.is_symlink():
                self._leave(path, A_LINK)
            elif not (path / RECORD_NAME).is_file():
                self._leave(path, f"has no {RECORD_NAME}, so nobody knows what it is; remove it by hand")
            elif self._now - at < self._order.version_trash_kept_s:
                self._leave(path, "was deleted too recently (disk.version_trash_kept_s)")
            else:
                files = linked_files(file for file in path.iterdir() if file.name != RECORD_NAME)
                yield Candidate(
                    kind="version_trash", path=path, files=files, is_junk=True
                )  # its record stays

    def cleared_files(self) -> Iterator[Candidate]:
        kept_s = self._order.queue_trash_kept_s
        for path in sorted(self._layout.trash.glob("*-*"), key=lambda path: path.name.partition("-")[2]):
            found = CLEARED.fullmatch(path.name)
            if not found or not path.is_dir():
                continue
            if path.is_symlink():
                self._leave(path, A_LINK)
                continue
            at = datetime.strptime(found[1], "%Y%m%d-%H%M%S").replace(tzinfo=UTC).timestamp()
            if kept_s is None:
                self._leave(path, "holds files of yours, which nobody removes (disk.queue_trash_kept_s)")
            elif self._now - at < kept_s:
                self._leave(path, "was cleared away too recently (disk.queue_trash_kept_s)")
            else:
                yield self._candidate("queue_trash", path, is_junk=True)

    def token_caches(self) -> Iterator[Candidate]:
        used = []
        for path in (self._layout.models / "cache").glob(TOKENS):
            with suppress(FileNotFoundError):
                used.append((path.stat().st_mtime_ns, path))
        for _, path in sorted(used):
            if is_open(path):
                self._leave(path, "is in use by the worker")
            else:
                yield self._candidate("token_cache", path)

    def base_models(self) -> Iterator[Candidate]:
        models = self._layout.models
        paths = sorted(path for path in (models / BASES).glob("step-*") if path.is_dir())
        try:
            needed = needed_bases(models)
        except UnknownNeed as error:
            needed = {f"{BASES}/{path.name}": str(error) for path in paths}
        for path in paths:
            if path.is_symlink():
                self._leave(path, A_LINK)
            elif why := needed.get(f"{BASES}/{path.name}"):
                self._leave(path, why)
            elif is_open_below(path):
                self._leave(path, "is used by a program")
            else:
                yield self._candidate("base_model", path)

    def optimizer_states(self) -> Iterator[Candidate]:
        versions = self._versions.all()
        protected = protected_versions(versions, self._protected)
        for version in versions:
            files = state_files(version.path)
            if not files:
                continue
            if why := protected.get(version.id):
                self._leave(version.path, why)
            else:
                yield Candidate(kind="optimizer_state", path=version.path, files=linked_files(files))

    def checkpoints(self) -> Iterator[Candidate]:
        folder = self._layout.models / FOLDER
        for name, why in self._protected.items():
            self._leave(folder / name, why)
        for name in removable(self._layout.models, FEWEST):
            if (folder / name).is_symlink():
                self._leave(folder / name, A_LINK)
            elif name not in self._protected:
                yield self._candidate("checkpoint", folder / name)

    def _candidate(self, kind: ActKind, path: Path, *, is_junk: bool = False) -> Candidate:
        return Candidate(kind=kind, path=path, files=linked_files([path]), is_junk=is_junk)

    def _leave(self, path: Path, why: str) -> None:
        self.left.append(Left(path=shown(self._layout, path), why=why))


def leftover_folders(layout: Layout) -> list[Path]:
    """Return the folders that are worth nothing, unless somebody is at work there right now."""
    models = layout.models
    checkpoints = [*(models / FOLDER).glob(trash_of(Path("*")).name)]
    bases = [models / BASE_STAGING, *(models / BASES).glob(trash_of(Path("*")).name)]
    found = [models / VERSIONS / REMOVING, layout.queue / REMOVING, *checkpoints, *bases]
    found += abandoned_drills(models)
    return [path for path in found if path.is_dir() and any(path.iterdir())]


def shown(layout: Layout, path: Path) -> str:
    """Return how plans name a path."""
    return printable(os.path.relpath(path, layout.base))


def _deleted_at(path: Path, noted: str | None) -> float:
    """Return when a version was deleted, in Unix seconds."""
    with suppress(ValueError, TypeError):
        return datetime.fromisoformat(noted or "").timestamp()
    return path.lstat().st_ctime  # the move has changed it
