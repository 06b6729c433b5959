"""The backups at a destination, and who works there: nothing is freed while somebody may need it.

Whoever makes a backup, or frees objects, says so there first and looks for others second. So of two that
begin at the same moment at least one sees the other, wherever they run.
"""

import json
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import PurePosixPath

from trainer.backups.destination import MANIFESTS, PENDING, Destination, MissingObject, short_name
from trainer.backups.manifest import ID, BackupManifest, DamagedManifest, as_bytes, parse
from trainer.protocol.backups import LATEST
from trainer.protocol.failpoints import failpoint
from trainer.protocol.text import printable

ABANDONED_AFTER_S = 24 * 3600.0  # no upload takes longer; whoever said it was killed


class NoSuchBackup(ValueError):
    """No backup has this id."""


class Busy(RuntimeError):
    """Somebody else works at the destination, and what was asked must not be done meanwhile."""


@dataclass(frozen=True)
class Found:
    """What is in `manifests/`."""

    backups: list[BackupManifest]
    """Oldest first."""
    damaged: dict[str, str] = field(default_factory=dict)
    """Names of files, with what is wrong."""


def new_id(now: float) -> str:
    """Return an id that sorts by time, also within a second."""
    return f"{datetime.fromtimestamp(int(now), UTC):%Y%m%d-%H%M%S}-{int(now % 1 * 0x1000000):06x}"


def manifest_name(backup: str) -> str:
    return f"{MANIFESTS}/{backup}.json"


def read_all(destination: Destination) -> Found:
    """Return all backups that are there."""
    found = Found([])
    for item in destination.files_in(MANIFESTS):
        name = PurePosixPath(item.name).name
        if not name.endswith(".json") or name.startswith("."):
            continue
        try:
            found.backups.append(parse(destination.read(item.name), name=name.removesuffix(".json")))
        except MissingObject:
            continue  # removed meanwhile
        except DamagedManifest as error:
            found.damaged[printable(item.name)] = str(error)
    found.backups.sort(key=lambda backup: backup.id)
    return found


def find(destination: Destination, name: str) -> BackupManifest:
    """Return the backup with this id, or the newest for `latest`.

    Raises:
        NoSuchBackup: there is none.
        DamagedManifest: it cannot be trusted.
    """
    if name == LATEST:
        found = read_all(destination)
        if not found.backups:
            damaged = f"; {', '.join(found.damaged)} cannot be trusted" if found.damaged else ""
            raise NoSuchBackup(
                f"{destination} has no backup{damaged}; make one: training_models backup create"
            )
        return found.backups[-1]
    try:
        if not ID.fullmatch(name):
            raise MissingObject(name)
        return parse(destination.read(manifest_name(name)), name=name)
    except MissingObject as error:
        known = ", ".join(backup.id for backup in read_all(destination).backups[-5:]) or "none"
        raise NoSuchBackup(
            f"{destination} has no backup {printable(name)!r}; expected latest or one of: {known}"
        ) from error
    except DamagedManifest as error:
        raise DamagedManifest(f"{destination}: {manifest_name(name)}: {error}") from error


def publish(destination: Destination, manifest: BackupManifest) -> None:
    """Make a backup visible, now that all its objects are there."""
    failpoint("backup.objects_sent")
    destination.put_bytes(as_bytes(manifest), manifest_name(manifest.id))
    failpoint("backup.published")


# ---- who works there


@contextmanager
def announced(
    destination: Destination, what: str, *, origin: str, now: Callable[[], float]
) -> Iterator[list[str]]:
    """Say that somebody works there as long as the block lasts; yield what others have said, in words.

    What an earlier process of this working directory has said is removed: the caller holds its lock.

    Args:
        what: `create` or `free`.
    """
    own = f"{PENDING}/{what}-{short_name(origin)}-{secrets.token_hex(4)}.json"
    destination.put_bytes(json.dumps({"what": what, "origin": origin, "at": now()}).encode(), own)
    failpoint("backup.announced")
    try:
        yield _others(destination, own, origin, now())
    finally:
        destination.remove(own)


def _others(destination: Destination, own: str, origin: str, now: float) -> list[str]:
    found = []
    for item in destination.half_written(PENDING):  # somebody died before it had said anything
        is_own = PurePosixPath(item.name).name.partition("-")[2].startswith(f"{short_name(origin)}-")
        if is_own or (item.changed_at and now - item.changed_at > ABANDONED_AFTER_S):
            destination.remove(item.name)
    for item in destination.files_in(PENDING):
        name = PurePosixPath(item.name).name
        what, _, rest = name.partition("-")
        if item.name == own or what not in ("create", "free"):
            continue
        if rest.startswith(f"{short_name(origin)}-"):
            destination.remove(item.name)
            continue
        try:
            said = json.loads(destination.read(item.name))
            at, who = float(said["at"]), str(said["origin"])
        except MissingObject:
            continue
        except (ValueError, KeyError, TypeError):
            at, who = item.changed_at or now, name
        if now - at > ABANDONED_AFTER_S:
            destination.remove(item.name)
        else:
            found.append(f"{what} by {printable(who, limit=200)}")
    return found


def refuse_while_freeing(others: list[str], destination: Destination) -> None:
    """Make sure that nobody removes objects, which a new backup may count on.

    Raises:
        Busy: somebody does.
    """
    if freeing := [text for text in others if text.startswith("free")]:
        raise Busy(f"{destination}: objects are being freed there ({freeing[0]}); try again in a moment")
