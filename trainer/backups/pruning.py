"""Remove backups, and then the objects that none has. A kill in between leaves some for the next time."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from trainer.backups import catalog
from trainer.backups.destination import MANIFESTS, OBJECTS, Destination, object_name
from trainer.backups.manifest import BackupManifest
from trainer.backups.retention import kept
from trainer.protocol.backups import ForgottenInBackups, PrunedBackups, PruneTask
from trainer.protocol.failpoints import failpoint
from trainer.protocol.text import num_of

Clock = Callable[[], float]


@dataclass
class Freed:
    """Objects that were removed, or would be."""

    objects: int = 0
    bytes: int = 0
    notes: list[str] = field(default_factory=list)


def prune(
    task: PruneTask, destination: Destination, *, origin: str, clock: Clock = time.time
) -> PrunedBackups:
    """Remove the backups of a working directory that its rules do not keep, and free what only they had.

    Those of other working directories are left alone.
    """
    found = catalog.read_all(destination)
    own = [backup for backup in found.backups if backup.origin == origin]
    chosen = kept(own, task.keep)
    doomed = [backup for backup in own if backup.id not in chosen]
    staying = [backup for backup in found.backups if backup not in doomed]
    if task.dry_run:
        freed = _free(destination, staying, found.damaged, is_real=False)
    else:
        freed = _remove(destination, doomed, staying, found.damaged, origin, clock)
    return PrunedBackups(
        to=str(destination),
        removed=tuple(backup.id for backup in doomed),
        kept=tuple(backup.id for backup in staying),
        freed_objects=freed.objects,
        freed_bytes=freed.bytes,
        notes=tuple(freed.notes),
    )


def forget_in_backups(
    destination: Destination,
    sha256: Iterable[str],
    *,
    origin: str,
    dry_run: bool = False,
    clock: Clock = time.time,
) -> ForgottenInBackups:
    """Remove the backups whose weights were trained on some files, and these files from all others.

    Backups of other working directories are treated alike: a file that is to be forgotten is to be gone.

    Args:
        sha256: of the files.
        origin: of the working directory whose lock the caller holds.
    """
    wanted = set(sha256)
    found = catalog.read_all(destination)
    doomed = [backup for backup in found.backups if wanted & set(backup.saw)]
    others = [backup for backup in found.backups if backup not in doomed]
    holding = {backup.id: without(backup, wanted) for backup in others if wanted & backup.objects.keys()}
    staying = [holding.get(backup.id, backup) for backup in others]
    if dry_run:
        freed = _free(destination, staying, found.damaged, is_real=False)
    else:
        for cleaned in holding.values():
            catalog.publish(destination, cleaned)  # under its own name, by one rename
        freed = _remove(destination, doomed, staying, found.damaged, origin, clock)
    return ForgottenInBackups(
        to=str(destination),
        removed=tuple(backup.id for backup in doomed),
        cleaned=tuple(holding),
        unsure=tuple(backup.id for backup in others if not backup.is_saw_complete),
        freed_objects=freed.objects,
        freed_bytes=freed.bytes,
        notes=tuple(freed.notes),
    )


def without(backup: BackupManifest, sha256: set[str]) -> BackupManifest:
    """Return a backup without the files of some contents."""
    files = tuple(file for file in backup.files if file.sha256 not in sha256)
    there = {file.path for file in files}
    named = tuple(path for path in backup.named if path in there)
    return backup.model_copy(update={"files": files, "named": named})


def _remove(
    destination: Destination,
    doomed: list[BackupManifest],
    staying: list[BackupManifest],
    damaged: dict[str, str],
    origin: str,
    clock: Clock,
) -> Freed:
    destination.prepare()
    with catalog.announced(destination, "free", origin=origin, now=clock) as others:
        for backup in doomed:
            destination.remove(catalog.manifest_name(backup.id))
            failpoint("backup.manifest_removed")
        if others:
            note = f"no object was freed, because of {', '.join(others)}; the next time frees them"
            return Freed(notes=[note])
        # Read again: one may have been published since the first reading, before its maker was looked for
        known = {backup.id for backup in (*staying, *doomed)}
        come = catalog.read_all(destination)
        staying = staying + [backup for backup in come.backups if backup.id not in known]
        return _free(destination, staying, damaged | come.damaged, is_real=True)


def _free(
    destination: Destination, staying: list[BackupManifest], damaged: dict[str, str], *, is_real: bool
) -> Freed:
    """Remove the objects that no staying backup has, and what uploads have left that were killed."""
    freed = Freed()
    if damaged:
        names = ", ".join(damaged)
        freed.notes.append(
            f"no object was freed, because it is not known what {num_of(len(damaged), 'damaged manifest')} "
            f"({names}) would need; remove it there, and prune again"
        )
        return freed
    needed = {sha256 for backup in staying for sha256 in backup.objects}
    for sha256, size in destination.objects().items():
        if sha256 not in needed:
            freed.objects += 1
            freed.bytes += size
            if is_real:
                destination.remove(object_name(sha256))
                failpoint("backup.object_removed")
    for item in (*destination.half_written(OBJECTS), *destination.half_written(MANIFESTS)):
        freed.bytes += item.bytes
        if is_real:
            destination.remove(item.name)
    return freed
