"""Make a folder of files a checkpoint: hashed, listed, durable, and then there by one rename. Knows no torch.

Runs in the worker, or beside it in a process of its own (`trainer.mains.write_checkpoint`).
"""

import errno
import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from trainer.checkpoints.retention import (
    Retention,
    RetentionCandidate,
    choose_removals,
    kept_spine,
    least_bytes,
)
from trainer.protocol.branch_path import Segment, is_on, path_of
from trainer.protocol.checkpoints import (
    AVERAGE,
    AVERAGE_POINTER,
    FOLDER,
    POINTER,
    UNREADABLE,
    Checkpoint,
    DamagedCheckpoint,
    NoUsableCheckpoint,
    published,
    read_manifest,
    sequence_of,
    verify,
)
from trainer.protocol.failpoints import failpoint
from trainer.protocol.files import link_or_copy, sync_directory, write_json
from trainer.protocol.manifest import CHECKSUM, MANIFEST_NAME, FileEntry, Manifest, checksum
from trainer.protocol.pins import is_pinned

STAGING = ".staging"
TRASH_PREFIX = ".trash-"
CHUNK_BYTES = 1 << 20
SPINE_SHARE = 0.25
ROOM_FACTOR = 2  # free space wanted before a save, in sizes of a checkpoint


class NoRoom(OSError):
    """A checkpoint would not fit; nothing was written."""

    def __str__(self) -> str:
        return str(self.strerror)


def publish_folder(models: Path, source: Path, draft: Manifest) -> Checkpoint:
    """Publish the files in `source` and point `current_model` at them. On return everything is durable.

    Args:
        source: `models/.staging` itself, or a folder elsewhere, from which the files are copied there.
        draft: the manifest without its files.
    Raises:
        OSError: it cannot be written; checkpoints and pointer are as before.
    """
    staging = models / STAGING
    if source != staging:
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(mode=0o700)
    files = {name: _take(source / name, staging / name) for name in names_in(source)}
    return publish_staged(models, draft.model_copy(update={"files": files}))


def next_sequence(models: Path) -> int:
    """Return the number of the next checkpoint, which no other one has.

    It is asked of the disk: a save that failed late may have left a checkpoint that nobody took note of.
    """
    found = [sequence_of(path) for path in published(models / FOLDER)]
    return 1 + max((int(sequence) for sequence in found if sequence != UNREADABLE), default=0)


def stage_links(models: Path, source: Path, manifest: Manifest) -> None:
    """Give the files of a checkpoint or version second names in `models/.staging`."""
    staging = models / STAGING
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(mode=0o700)
    for name in manifest.files:
        (staging / name).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        link_or_copy(source / name, staging / name)


def publish_staged(models: Path, manifest: Manifest) -> Checkpoint:
    """Publish what lies in `models/.staging`, durable but for its folders, as `publish_folder` does.

    Raises:
        OSError: it cannot be written; checkpoints and pointer are as before.
    """
    staging, folder = models / STAGING, models / FOLDER
    files = manifest.files
    failpoint("checkpoint.staged")
    content = manifest.model_dump(mode="json")
    write_json(staging / MANIFEST_NAME, content | {CHECKSUM: checksum(content)}, durable=True)
    failpoint("checkpoint.listed")
    for parent in sorted({(staging / name).parent for name in files}, reverse=True):  # the deepest first
        sync_directory(parent)
    folder.mkdir(mode=0o700, exist_ok=True)
    sync_directory(models)
    failpoint("checkpoint.synced")
    path = _free_path(folder, manifest)
    os.rename(staging, path)
    try:
        failpoint("checkpoint.renamed")
        sync_directory(folder)
        failpoint("checkpoint.durable")
        point_to(models, path)
    except OSError:
        os.rename(path, staging)  # else every try would leave one more
        raise
    return Checkpoint(path, manifest)


def point_to(models: Path, path: Path) -> None:
    """Let `current_model` name this checkpoint, durably, and `current_average` its averaged weights."""
    _point(models, POINTER, os.path.join(FOLDER, path.name))
    if (path / AVERAGE).is_dir():
        _point(models, AVERAGE_POINTER, os.path.join(POINTER, AVERAGE))
    elif (models / AVERAGE_POINTER).is_symlink():
        (models / AVERAGE_POINTER).unlink()
        sync_directory(models)


def _point(models: Path, name: str, target: str) -> None:
    pointer = models / name
    if pointer.is_symlink() and os.readlink(pointer) == target:
        return
    if pointer.is_dir() and not pointer.is_symlink():
        move_aside(pointer)  # as a backup that was unpacked may leave it
    fresh = models / f".{name}.tmp"
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(target)
    failpoint("pointer.linked")
    os.replace(fresh, pointer)
    failpoint("pointer.replaced")
    sync_directory(models)


def move_aside(path: Path) -> Path:
    """Give something of a person's another name; return it."""
    number = 2
    while (aside := path.with_name(f"{path.name}-{number}")).exists():
        number += 1
    os.rename(path, aside)
    return aside


def names_in(folder: Path) -> list[str]:
    """Return the files below `folder` by their relative names, sorted."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def _take(source: Path, target: Path) -> FileEntry:
    """Bring one file to its place, durable, and return its entry; it may be there already."""
    digest, size = hashlib.sha256(), 0
    if source == target:
        with source.open("rb") as reader:
            while chunk := reader.read(CHUNK_BYTES):
                digest.update(chunk)
                size += len(chunk)
            os.fsync(reader.fileno())
        return FileEntry(bytes=size, sha256=digest.hexdigest())
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with source.open("rb") as reader, target.open("xb") as writer:
        while chunk := reader.read(CHUNK_BYTES):
            digest.update(chunk)
            writer.write(chunk)
            size += len(chunk)
        writer.flush()
        os.fsync(writer.fileno())
    return FileEntry(bytes=size, sha256=digest.hexdigest())


def _free_path(folder: Path, manifest: Manifest) -> Path:
    path = folder / f"step-{manifest.progress.global_step:09d}"
    # A file that fails or ends exactly at an interval checkpoint is recorded without a new step
    return path.with_name(f"{path.name}-{manifest.sequence}") if path.exists() else path


# ---- what may go


def tidy_up(models: Path, rules: Retention, verified: set[str]) -> str | None:
    """Do as `retain`, but return what went wrong: a new checkpoint is there, whatever becomes of old ones."""
    try:
        retain(models, rules, verified)
    except (OSError, NoUsableCheckpoint) as error:
        return f"old checkpoints could not be removed: {error}"
    return None


def retain(models: Path, rules: Retention, verified: set[str]) -> None:
    """Remove the checkpoints that the rules do not keep.

    Args:
        verified: names of those known to be whole; more are added as they are checked.
    """
    folder = models / FOLDER
    rules = _within_the_disk(models, rules)
    # At first by what is known already: reading whole checkpoints is dear, and seldom anything is to go
    if removable(models, rules):
        for name in removable(models, rules, verified=verified):
            remove_unused(folder / name)
    for trash in folder.glob(f"{TRASH_PREFIX}*"):
        sync_directory(folder)
        shutil.rmtree(trash, ignore_errors=True)
        failpoint("retention.removed")


def removable(models: Path, rules: Retention, *, verified: set[str] | None = None) -> list[str]:
    """Return the names of the checkpoints that the rules do not keep, oldest first.

    Args:
        verified: names of those known to be whole; more are added as they are checked. None takes all for
            whole: to show what would be removed, never to remove it.
    """
    if verified is None:
        return choose_removals(_candidates(models, assume=True, verified=set()), rules)
    _verify_newest(models / FOLDER, verified)
    return choose_removals(_candidates(models, assume=False, verified=verified), rules)


def spine_of(models: Path, rules: Retention) -> set[str]:
    """Return the names of the checkpoints of the spine that the rules keep, on a disk of any size."""
    return kept_spine(_candidates(models, assume=True, verified=set()), rules)


def remove_unused(path: Path) -> bool:
    """Move a checkpoint out of sight unless a program holds it; return whether it was.

    Its files are still there: under another name, because a half-removed one must not look whole.
    """
    with _unused(path) as is_unused:
        if is_unused:
            os.rename(path, trash_of(path))
    failpoint("retention.renamed")
    return is_unused


def trash_of(path: Path) -> Path:
    """Return the name of a checkpoint that is on its way out."""
    return path.with_name(f"{TRASH_PREFIX}{path.name}")


def _verify_newest(folder: Path, verified: set[str]) -> None:
    """Verify the newest ones until two are known to be whole: what is removed relies on them."""
    whole = 0
    for path in published(folder):
        if path.name not in verified:
            try:
                verify(path)
            except DamagedCheckpoint:
                continue  # it is quarantined at the next start
            verified.add(path.name)
        whole += 1
        if whole == 2:
            return


def _within_the_disk(models: Path, rules: Retention) -> Retention:
    """Let the spine grow to no more than its share of what is free: a disk that is full trains nothing.

    What is on it stays also when others fill the disk: a file may have to be forgotten then, too.
    """
    if not rules.spine_max_bytes:
        return rules
    found = os.statvfs(models)
    return replace(rules, spine_room_bytes=int(SPINE_SHARE * found.f_bavail * found.f_frsize))


def _candidates(models: Path, *, assume: bool, verified: set[str]) -> list[RetentionCandidate]:
    current = os.path.basename(os.readlink(models / POINTER)) if (models / POINTER).is_symlink() else None
    manifests = []
    for path in (path for path in (models / FOLDER).glob("step-*") if path.is_dir()):
        with suppress(DamagedCheckpoint):  # takes nobody's place, and is quarantined at the next start
            manifests.append((path, _facts_of(path)))
    manifests.sort(key=lambda item: item[1].sequence, reverse=True)
    newest = manifests[0][1] if manifests else None
    led_here = newest.path if newest else ()
    held = (current, *(newest.gate_checkpoints if newest else ()))
    return [
        RetentionCandidate(
            name=path.name,
            sequence=facts.sequence,
            num_bytes=facts.num_bytes,
            is_verified=assume or path.name in verified,
            is_held=path.name in held or is_pinned(path) or is_in_use(path),
            validation_loss=facts.validation_loss,
            ended_files=facts.ended_files if is_on(led_here, facts.branch, facts.global_step) else None,
        )
        for path, facts in manifests
    ]


@dataclass(frozen=True, kw_only=True)
class _Facts:
    """What of a manifest decides about its checkpoint."""

    sequence: int
    num_bytes: int
    validation_loss: float | None
    branch: int
    global_step: int
    ended_files: int
    gate_checkpoints: tuple[str, ...]
    path: tuple[Segment, ...]


def _facts_of(path: Path) -> _Facts:
    found = (path / MANIFEST_NAME).stat() if (path / MANIFEST_NAME).is_file() else None
    return _facts_once(path, found.st_ino if found else 0, found.st_mtime_ns if found else 0)


@lru_cache(maxsize=256)
def _facts_once(path: Path, inode: int, mtime_ns: int) -> _Facts:
    """Read a manifest, but not again for each checkpoint that is saved: the spine has many."""
    manifest = read_manifest(path)
    progress = manifest.progress
    return _Facts(
        sequence=manifest.sequence,
        num_bytes=manifest.total_bytes,
        validation_loss=progress.loss_of_these_weights,
        branch=manifest.branch,
        global_step=progress.global_step,
        ended_files=max(progress.ended_files, len(progress.finished)),
        gate_checkpoints=tuple(progress.gate_checkpoints),
        path=tuple(path_of(manifest)),
    )


def is_in_use(path: Path) -> bool:
    """Whether a program holds this checkpoint: it has a shared `flock` on its manifest."""
    with _unused(path) as is_unused:
        return not is_unused


@contextmanager
def _unused(path: Path) -> Iterator[bool]:
    """Say whether nobody holds a checkpoint; then nobody can until the block ends."""
    with (path / MANIFEST_NAME).open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_unused = True
        except OSError:  # held, or on a file system where nobody can tell
            is_unused = False
        yield is_unused


def require_room(models: Path, rules: Retention, *, expected_bytes: int) -> None:
    """Make sure that a checkpoint of `expected_bytes` can be written.

    Raises:
        NoRoom: the disk or the limit of `checkpoints.max_bytes` leaves too little.
    """
    found = os.statvfs(models)
    free_bytes = found.f_bavail * found.f_frsize
    if free_bytes < ROOM_FACTOR * expected_bytes:
        raise NoRoom(
            errno.ENOSPC,
            f"{models}: {_mib(free_bytes)} MiB are free; expected {_mib(ROOM_FACTOR * expected_bytes) + 1} "
            "MiB, twice the size of a checkpoint; free some space",
        )
    if rules.max_bytes is None:
        return
    needed = least_bytes(_candidates(models, assume=True, verified=set())) + expected_bytes
    if needed > rules.max_bytes:
        raise NoRoom(
            errno.EDQUOT,
            f"checkpoints.max_bytes is {rules.max_bytes}; expected at least {needed} for the newest two and "
            "those that are pinned or in use; raise it, or unpin some",
        )


def _mib(num_bytes: int) -> int:
    return num_bytes >> 20
