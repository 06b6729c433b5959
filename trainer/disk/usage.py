"""Measure what lies where in a working directory. Changes nothing.

Space is what files take on disk. One with several names takes it once: in the first place of the list below.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from trainer.checkpoints.bases import FOLDER as BASES
from trainer.protocol.checkpoints import FOLDER, POINTER, DamagedCheckpoint, NoUsableCheckpoint, read_manifest
from trainer.protocol.disk import Place, Usage
from trainer.protocol.layout import Layout
from trainer.protocol.places import Outcome, Priority
from trainer.protocol.text import printable
from trainer.versions.registry import FOLDER as VERSIONS
from trainer.versions.registry import TRASH

BLOCK_BYTES = 512  # of `st_blocks`, whatever the file system's own are


def measure(layout: Layout, *, backups: Path | None = None) -> Usage:
    """Return what takes space. Files that come or go meanwhile may be missed.

    Args:
        backups: the folder that they go to; it counts only if it is on the same device.
    """
    scan = _Scan()
    found = list(_places(layout))
    if backups is not None and _is_beside(backups, layout.models):
        found.append(("backups", backups, ()))
    places = [scan.place(name, layout.base, folder, skipped=inner) for name, folder, inner in found]
    disk = os.statvfs(layout.models)
    return Usage(
        places=tuple(place for place in places if place.files),
        free_bytes=disk.f_bavail * disk.f_frsize,
        total_bytes=disk.f_blocks * disk.f_frsize,
        checkpoint_bytes=_checkpoint_bytes(layout.models),
    )


def _is_beside(backups: Path, models: Path) -> bool:
    with suppress(OSError):
        return backups.stat().st_dev == models.stat().st_dev
    return False  # there is none yet, for instance


def _places(layout: Layout) -> Iterator[tuple[str, Path, tuple[Path, ...]]]:
    """Yield what each place is called, its folder, and what below that belongs to other places."""
    models, versions = layout.models, layout.models / VERSIONS
    parts = (models / FOLDER, versions, *(models / name for name in (BASES, "data", "cache", "exports")))
    yield "checkpoints", models / FOLDER, ()
    yield "versions", versions, (versions / TRASH,)
    yield "deleted versions", versions / TRASH, ()
    yield "consolidated base models", models / BASES, ()
    yield "inbox", layout.inbox, ()
    for priority in Priority:
        yield f"queue: {priority.value}", layout.waiting(priority), ()
    yield "queue: processing", layout.processing, ()
    for outcome in Outcome:
        yield f"queue: {layout.finished(outcome).name}", layout.finished(outcome), ()
    yield "cleared files", layout.trash, ()
    yield "kept files", models / "data", ()
    yield "token cache", models / "cache", ()
    yield "exports", models / "exports", ()
    yield "other files of models", models, parts
    yield "ledger", layout.ledger_file, ()
    yield "status and reports", layout.status, (layout.ledger_file,)
    yield "logs", layout.logs, ()


@dataclass
class _Scan:
    """Counts files, each once."""

    seen: set[tuple[int, int]] = field(default_factory=set)
    """Of files with several names only: of the others there may be millions."""

    def place(self, name: str, base: Path, folder: Path, *, skipped: tuple[Path, ...]) -> Place:
        num_bytes = files = 0
        for found in _files(folder, skipped=set(map(str, skipped))):
            if found.st_nlink > 1:
                identity = (found.st_dev, found.st_ino)
                if identity in self.seen:
                    continue
                self.seen.add(identity)
            num_bytes += found.st_blocks * BLOCK_BYTES
            files += 1
        shown = folder.relative_to(base) if folder.is_relative_to(base) else folder
        return Place(name=name, folder=printable(str(shown)), bytes=num_bytes, files=files)


def _files(path: Path, *, skipped: set[str]) -> Iterator[os.stat_result]:
    """Yield the files at or below a path; the ledger has companions such as `ledger.sqlite3-wal`."""
    if path.suffix == ".sqlite3":
        yield from _stats(path.parent.glob(f"{path.name}*"))
        return
    skipped |= {f"{name}{tail}" for name in skipped for tail in ("-wal", "-shm")}
    waiting = [str(path)]
    while waiting:
        folder = waiting.pop()
        with suppress(FileNotFoundError, NotADirectoryError, PermissionError), os.scandir(folder) as entries:
            for entry in entries:
                if entry.path in skipped:
                    continue
                with suppress(FileNotFoundError):
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    elif not entry.is_symlink():
                        yield entry.stat(follow_symlinks=False)


def _stats(paths: Iterable[Path]) -> Iterator[os.stat_result]:
    for path in paths:
        with suppress(FileNotFoundError):
            yield path.lstat()


def _checkpoint_bytes(models: Path) -> int:
    with suppress(OSError, DamagedCheckpoint, NoUsableCheckpoint):
        return read_manifest((models / POINTER).resolve(strict=True)).total_bytes
    return 0
