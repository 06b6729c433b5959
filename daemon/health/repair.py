"""The harmless repairs: folders as they should be, and leftovers of dead processes removed. Nothing else."""

from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from daemon.health.leftovers import find_leftovers, remove
from trainer.protocol.layout import PRIVATE_MODE, Layout
from trainer.protocol.text import printable


def repair(layout: Layout) -> list[str]:
    """Do what can do no harm; return a sentence for each thing that was done or could not be done."""
    done = [sentence for folder in layout.folders() for sentence in _restore(folder, layout.base)]
    return done + _clear(layout)


def _restore(folder: Path, base: Path) -> Iterator[str]:
    name = f"{folder.relative_to(base)}/"
    try:
        if not folder.exists() and not folder.is_symlink():
            folder.mkdir(mode=PRIVATE_MODE)
            yield f"created {name}"
        if not folder.is_dir() or folder.is_symlink():
            return
        mode = folder.stat().st_mode
        if mode & 0o077 or mode & 0o700 != 0o700:
            folder.chmod(PRIVATE_MODE)
            did = f"closed {name} to other users" if mode & 0o077 else f"made {name} readable and writable"
            yield did
    except OSError as error:
        yield f"could not repair {name}: {(error.strerror or 'unknown error').lower()}"


def _clear(layout: Layout) -> list[str]:
    """Remove left-overs while holding both locks, so that no process can begin to need one."""
    if not find_leftovers(layout, daemon_runs=False, worker_runs=False):
        return []
    try:
        with (
            FileLock(layout.lock_file, blocking=False),
            FileLock(layout.worker_lock_file, blocking=False),
        ):
            return [
                _clear_one(path, layout.base)
                for path in find_leftovers(layout, daemon_runs=False, worker_runs=False)
            ]
    except Timeout:
        return ["leftovers were not removed, because a daemon or a worker is running"]


def _clear_one(path: Path, base: Path) -> str:
    name = printable(str(path.relative_to(base)))
    try:
        remove(path)
    except OSError as error:
        return f"could not remove {name}: {error.strerror}"
    return f"removed {name}"
