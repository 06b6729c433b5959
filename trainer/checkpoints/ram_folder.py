"""A folder in memory, where a checkpoint is copied to, so that training continues while it is written."""

import hashlib
import os
import shutil
from contextlib import suppress
from pathlib import Path

import psutil

MEMORY = Path("/dev/shm")  # a file system in memory on every Linux; small in most containers
HEADROOM = 1.2
GROUPS = Path("/sys/fs/cgroup")
CONTAINER_FILES = (
    (GROUPS / "memory.max", GROUPS / "memory.current"),
    (GROUPS / "memory/memory.limit_in_bytes", GROUPS / "memory/memory.usage_in_bytes"),
)


def create(models: Path, *, room_bytes: int) -> Path | None:
    """Return an empty folder in memory for a checkpoint of `models`; None if it would not fit."""
    if not room_bytes or _free_bytes() < HEADROOM * room_bytes:
        return None
    remove(models)
    folder = _folder(models)
    try:
        folder.mkdir(mode=0o700)
    except OSError:  # no such file system, or somebody else made a folder of this name
        return None
    return folder


def remove(models: Path) -> None:
    """Remove the folder of `models`, which a crash may have left."""
    folder = _folder(models)
    if not folder.is_symlink():
        shutil.rmtree(folder, ignore_errors=True)


def _folder(models: Path) -> Path:
    owner = f"{os.getuid()}:{models.resolve()}"
    return MEMORY / f"training-daemon-{hashlib.sha256(owner.encode()).hexdigest()[:16]}"


def _free_bytes() -> float:
    """What fits into the file system, and into memory."""
    try:
        found = os.statvfs(MEMORY)
    except OSError:
        return 0
    return min(found.f_bavail * found.f_frsize, psutil.virtual_memory().available, _left_in_container())


def _left_in_container() -> float:
    """What the container may still use; its memory holds the folder, too."""
    for limit, used in CONTAINER_FILES:
        with suppress(OSError, ValueError):  # another version of control groups, or "max"
            return int(limit.read_text()) - int(used.read_text())
    return float("inf")
