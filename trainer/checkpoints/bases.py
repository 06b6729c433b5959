"""Base models that were made here: an adapter was merged, and training continues beside the result. No torch.

models/bases/step-N-HASH/   published by one rename, then never changed; `from_pretrained` loads it
models/.staging-base/       being written; worth nothing until renamed
"""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trainer.checkpoints.publishing import NoRoom, move_aside, names_in
from trainer.protocol.checkpoints import BASES
from trainer.protocol.failpoints import failpoint
from trainer.protocol.files import file_sha256, sync_directory, sync_file

FOLDER = BASES
STAGING = ".staging-base"
HASH_CHARACTERS = 12


def require_room(models: Path, needed_bytes: int) -> None:
    """Make sure that a base model and a checkpoint can be written.

    Raises:
        NoRoom: they would not fit.
    """
    found = os.statvfs(models)
    free_bytes = found.f_bavail * found.f_frsize
    if free_bytes < needed_bytes:
        raise NoRoom(
            errno.ENOSPC,
            f"{models}: {free_bytes >> 20} MiB are free; expected {(needed_bytes >> 20) + 1} MiB, for the "
            "new base model and a checkpoint; free some space",
        )


@contextmanager
def staged_base(models: Path) -> Iterator[Path]:
    """Yield an empty folder to write a base model into; what is not published inside the block is removed."""
    staging = models / STAGING
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(mode=0o700)
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def publish_base(models: Path, staging: Path, *, global_step: int, sha256: str) -> Path:
    """Publish a base model, durably, under a name that its content decides; return its folder.

    So an attempt that was killed later on leaves what the next one would make, which is used again.

    Args:
        sha256: its fingerprint.
    Raises:
        OSError: it cannot be written.
    """
    folder = models / FOLDER
    for name in names_in(staging):
        sync_file(staging / name)
    for parent in sorted({(staging / name).parent for name in names_in(staging)}, reverse=True):
        sync_directory(parent)
    failpoint("base.staged")
    folder.mkdir(mode=0o700, exist_ok=True)
    sync_directory(models)
    path = folder / f"step-{global_step:09d}-{sha256[:HASH_CHARACTERS]}"
    if path.exists():
        if _hashes(path) == _hashes(staging):
            return path
        move_aside(path)  # somebody has changed it
    os.rename(staging, path)
    failpoint("base.renamed")
    sync_directory(folder)
    return path


def _hashes(folder: Path) -> dict[str, str]:
    return {name: file_sha256(folder / name) for name in names_in(folder)}
