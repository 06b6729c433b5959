"""Remove files of versions for good: out of sight by renames, then gone. A kill leaves nothing half in sight.

models/versions/.removing/     what is on its way out; worth nothing
"""

import fcntl
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from trainer.protocol.failpoints import failpoint
from trainer.protocol.files import sync_directory
from trainer.protocol.manifest import MANIFEST_NAME
from trainer.versions.record import RECORD_NAME

REMOVING = ".removing"
STATE_FILES = ("state.safetensors", "state.json", "optimizer.pt")
"""The optimizer's state in a checkpoint, of this release and of the first; a model loads without it."""


def state_files(version: Path) -> list[Path]:
    """Return what is there of the optimizer's state of a version, the largest file first."""
    return [path for name in STATE_FILES if (path := version / name).is_file()]


def remove_for_good(versions: Path, paths: Iterable[Path]) -> int:
    """Remove folders or files below `models/versions`; return the bytes that nothing else links.

    The caller holds the lock of the registry. What an earlier call left when it was killed goes, too.
    """
    removing = versions / REMOVING
    shutil.rmtree(removing, ignore_errors=True)
    removing.mkdir(mode=0o700)
    parents = set()
    for number, path in enumerate(paths):
        os.rename(path, removing / f"{number}-{path.name}")
        failpoint("version.removing")
        parents.add(path.parent)
    for parent in parents:
        sync_directory(parent)
    freed = bytes_of_its_own(removing)
    failpoint("version.out_of_sight")
    shutil.rmtree(removing)
    failpoint("version.removed")
    return freed


def bytes_of_its_own(folder: Path) -> int:
    """Return the bytes below a folder that would be free without it: of files with no other name."""
    found = [path.lstat() for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return sum(stat.st_blocks * 512 for stat in found if stat.st_nlink == 1)


@contextmanager
def unused(version: Path, *, by_name: tuple[str, ...] = (RECORD_NAME, MANIFEST_NAME)) -> Iterator[bool]:
    """Say whether no program holds a version: it has a shared `flock` on one of these files.

    Until the block ends, none can.
    """
    with ExitStack() as stack:
        yield all(_lock(version / name, stack) for name in by_name if (version / name).exists())


def _lock(path: Path, stack: ExitStack) -> bool:
    # A damaged one may be a pipe, which would keep whoever opens it waiting
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    stack.callback(os.close, descriptor)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
