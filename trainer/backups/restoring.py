"""Make a working directory of a backup, beside the place where it is to be, and put it there by one rename.

A working directory that is there already is never written to: it is moved aside, or nothing happens.
"""

import ctypes
import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from trainer.backups.destination import Destination, object_name
from trainer.backups.manifest import BackupFile, BackupManifest
from trainer.protocol.backups import UNFINISHED, RestoredBackup
from trainer.protocol.checkpoints import FOLDER, POINTER, DamagedCheckpoint, NoUsableCheckpoint, verify
from trainer.protocol.failpoints import failpoint
from trainer.protocol.files import link_or_copy, sync_directory
from trainer.protocol.layout import Layout
from trainer.protocol.text import printable, shell_word, size_text

Tell = Callable[[str], None]
IMMUTABLE = ("models/checkpoints/", "models/versions/v", "models/bases/", "models/data/")
"""Files that may share one inode, because nobody ever changes them."""
NEEDS_BASE = ("lora", "qlora")
EMBEDDED_MODEL = "tiny"
RENAME_EXCHANGE = 2  # renameat2(2)
AT_FDCWD = -100
NOT_HERE = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)
TELL_EVERY_BYTES = 1 << 30


class CannotRestore(RuntimeError):
    """A backup cannot be restored, or not there."""


@dataclass(frozen=True)
class Target:
    """Where a backup is to be restored."""

    into: Path
    """Absolute."""
    force: bool
    """Whether a working directory that is there is moved aside."""

    @property
    def is_free(self) -> bool:
        """Whether nothing is there."""
        return not os.path.lexists(self.into) or (self.into.is_dir() and not any(self.into.iterdir()))

    def require(self) -> None:
        """Make sure that something can be put there.

        Raises:
            CannotRestore: it cannot.
        """
        shown = printable(str(self.into))
        if around := next(filter(_is_working_directory, self.into.parents), None):
            raise CannotRestore(
                f"{shown} is in {printable(str(around))}, which is a working directory; choose a folder "
                "outside of it"
            )
        if self.into.is_symlink():
            raise CannotRestore(f"{shown} is a symbolic link; expected a folder, or nothing there")
        if self.is_free:
            return
        if not (self.into / "queue").is_dir():
            raise CannotRestore(f"{shown} is not empty, and no working directory; choose another folder")
        if not self.force:
            raise CannotRestore(
                f"{shown} is a working directory; choose another folder, or have it moved aside: --force"
            )


def _is_working_directory(folder: Path) -> bool:
    layout = Layout(folder)
    return layout.processing.is_dir() and layout.inbox.is_dir() and layout.models.is_dir()


def require_place(target: Target, destination: Destination) -> None:
    """Make sure that something can be put there, and that it does not become a part of the backups.

    Raises:
        CannotRestore: it cannot.
    """
    target.require()
    if destination.has_among_its_files(target.into):
        raise CannotRestore(
            f"{printable(str(target.into))} is among the backups in {destination}; choose another folder"
        )


def restore(
    manifest: BackupManifest, destination: Destination, target: Target, *, stamp: str, tell: Tell
) -> RestoredBackup:
    """Restore a backup.

    Args:
        stamp: makes the name under which a working directory is moved aside.
    Raises:
        CannotRestore: an object is damaged, or the place is taken; nothing has changed.
        UnusableDestination: the destination cannot be read.
    """
    require_place(target, destination)
    target.into.parent.mkdir(parents=True, exist_ok=True)
    staging = target.into.with_name(f".{target.into.name}.restoring")
    _remove_unfinished(staging)
    try:
        fill(staging, manifest, destination, tell=tell)
        failpoint("restore.staged")
        with _unused(target):
            moved_aside = _put_in_place(staging, target, stamp)
    except BaseException:
        if (staging / UNFINISHED).exists():
            shutil.rmtree(staging, ignore_errors=True)
        raise
    return describe(manifest, target).model_copy(
        update={"moved_aside": printable(str(moved_aside)) if moved_aside else None}
    )


def describe(manifest: BackupManifest, target: Target) -> RestoredBackup:
    """Return what restoring a backup means."""
    is_elsewhere = manifest.own_base is None and manifest.base_model != EMBEDDED_MODEL
    needs_base = manifest.method in NEEDS_BASE and is_elsewhere
    return RestoredBackup(
        id=manifest.id,
        at=manifest.made_at,
        into=printable(str(target.into)),
        checkpoint=manifest.checkpoint,
        global_step=manifest.global_step,
        files=len(manifest.files),
        total_bytes=manifest.total_bytes,
        needs_base_model=manifest.base_model if needs_base else None,
        origin=manifest.origin,
    )


# ---- fill


def fill(folder: Path, manifest: BackupManifest, destination: Destination, *, tell: Tell) -> None:
    """Make a new folder that is the working directory of a backup, durably, marked as unfinished.

    Raises:
        CannotRestore: an object is not what its name says, or its checkpoint is damaged.
        FileExistsError: the folder is there.
    """
    folder.mkdir(mode=0o700)
    (folder / UNFINISHED).touch()
    layout = Layout(folder)
    layout.create()
    first: dict[str, Path] = {}
    fetched = reported = 0
    for file in manifest.files:
        _place(file, folder, first, destination)
        fetched += file.bytes
        if fetched - reported > TELL_EVERY_BYTES:
            reported = fetched
            tell(f"{size_text(fetched)} of {size_text(manifest.total_bytes)} restored")
    checkpoint = layout.models / FOLDER / manifest.checkpoint
    try:
        verify(checkpoint)
    except (DamagedCheckpoint, NoUsableCheckpoint) as error:
        raise CannotRestore(f"backup {manifest.id}: {manifest.checkpoint}: {error}") from error
    (layout.models / POINTER).symlink_to(os.path.join(FOLDER, manifest.checkpoint))
    for path, _, _ in os.walk(folder):
        sync_directory(Path(path))


def _place(file: BackupFile, folder: Path, first: dict[str, Path], destination: Destination) -> None:
    target = folder / file.path
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    may_share = file.path.startswith(IMMUTABLE)
    if may_share and file.sha256 in first:
        link_or_copy(first[file.sha256], target)
        return
    found = destination.fetch(object_name(file.sha256), target)
    if found != file.sha256 or target.stat().st_size != file.bytes:
        raise CannotRestore(
            f"{destination}: {object_name(file.sha256)} has a different content than its name says; "
            f"restore another backup: training_models backup verify shows which are whole"
        )
    target.chmod(0o600)
    os.utime(target, ns=(file.mtime_ns, file.mtime_ns))
    if may_share:
        first[file.sha256] = target


# ---- put in place


def _put_in_place(staging: Path, target: Target, stamp: str) -> Path | None:
    """Rename what was made to its name; return where what was there is now."""
    target.require()  # it may have come meanwhile
    into, parent = target.into, target.into.parent
    if target.is_free:
        (staging / UNFINISHED).unlink()
        sync_directory(staging)
        try:
            os.rename(staging, into)  # which may be an empty folder
        except OSError:
            (staging / UNFINISHED).touch()  # so that it is removed, and not taken for somebody's work
            raise
        failpoint("restore.renamed")
        sync_directory(parent)
        return None
    aside = into.with_name(f"{into.name}.before-restore-{stamp}")
    (staging / UNFINISHED).unlink()
    sync_directory(staging)
    if _exchange(staging, into):
        failpoint("restore.exchanged")
        os.rename(staging, aside)
    else:
        os.rename(into, aside)
        failpoint("restore.moved_aside")
        os.rename(staging, into)
    failpoint("restore.renamed")
    sync_directory(parent)
    return aside


def _exchange(one: Path, other: Path) -> bool:
    """Let two folders change names at once; return whether this file system can do that."""
    library = ctypes.CDLL(None, use_errno=True)
    if not hasattr(library, "renameat2"):
        return False
    code = library.renameat2(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE)
    if code == 0:
        return True
    error = ctypes.get_errno()
    if error in NOT_HERE:
        return False
    raise OSError(error, os.strerror(error), str(other))


def _remove_unfinished(staging: Path) -> None:
    """Remove what a restore has left that was killed, but for a working directory that it had moved."""
    if not os.path.lexists(staging):
        return
    if not (staging / UNFINISHED).exists():
        raise CannotRestore(
            f"{printable(str(staging))} is in the way: a restore that was killed has left it there, "
            "and it may be the working directory from before; move it elsewhere"
        )
    shutil.rmtree(staging)


@contextmanager
def _unused(target: Target) -> Iterator[None]:
    """Make sure that nobody works in a working directory while it is moved.

    Raises:
        CannotRestore: somebody does.
    """
    layout = Layout(target.into)
    with ExitStack() as held:
        for lock, who in ((layout.lock_file, "a daemon"), (layout.worker_lock_file, "a worker")):
            if not lock.parent.is_dir():
                continue
            try:
                held.enter_context(FileLock(lock, blocking=False))
            except Timeout as error:
                raise CannotRestore(
                    f"{who} runs in {printable(str(target.into))}; stop it first: training_controller stop "
                    f"--base-dir {shell_word(str(target.into))}, or choose another folder"
                ) from error
        yield
