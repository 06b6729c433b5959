"""Hash everything at a destination again: a bit that has changed anywhere is found and named."""

from collections.abc import Callable

from trainer.backups import catalog
from trainer.backups.destination import Destination, MissingObject, object_name
from trainer.protocol.backups import VerifiedBackups, VerifyTask
from trainer.protocol.text import num_of, size_text

TELL_EVERY_BYTES = 1 << 30


def verify_backups(
    task: VerifyTask, destination: Destination, *, tell: Callable[[str], None]
) -> VerifiedBackups:
    """Hash the objects of one backup again, or all that are there.

    Raises:
        NoSuchBackup: there is none of this id.
    """
    if task.backup is None:
        found = catalog.read_all(destination)
        backups, damaged = found.backups, dict(found.damaged)
        wanted = {sha256: size for backup in backups for sha256, size in backup.objects.items()}
        wanted = destination.objects() | wanted  # also what no backup has: the next one would count on it
    else:
        backups, damaged = [catalog.find(destination, task.backup)], {}
        wanted = dict(backups[0].objects)
    broken: set[str] = set()
    hashed = reported = 0
    for number, (sha256, size) in enumerate(sorted(wanted.items()), start=1):
        if problem := _problem(destination, sha256):
            damaged[object_name(sha256)] = problem
            broken.add(sha256)
        hashed += size
        if hashed - reported > TELL_EVERY_BYTES:
            reported = hashed
            tell(f"{number:,} of {num_of(len(wanted), 'object')}, {size_text(hashed)} hashed")
    return VerifiedBackups(
        to=str(destination),
        backups=len(backups),
        objects=len(wanted),
        hashed_bytes=hashed,
        damaged=damaged,
        unusable=tuple(backup.id for backup in backups if broken & backup.objects.keys()),
    )


def _problem(destination: Destination, sha256: str) -> str | None:
    try:
        found = destination.sha256_of(object_name(sha256))
    except MissingObject:
        return "it is missing"
    return None if found == sha256 else "it has a different content than its name says"
