"""What may never be removed to free space, and why. Changes nothing.

Programs say that they use something by a shared `flock`; whoever removes looks for that at the last moment.
"""

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from trainer.checkpoints.publishing import is_in_use, spine_of
from trainer.checkpoints.retention import Retention
from trainer.protocol.checkpoints import FOLDER, POINTER, DamagedCheckpoint, published, read_manifest
from trainer.protocol.disk import SpineRules
from trainer.protocol.forgetting import SCRATCH
from trainer.protocol.pins import is_pinned
from trainer.protocol.text import printable
from trainer.versions.record import RECORD_NAME, DamagedVersion, read_record
from trainer.versions.registry import FOLDER as VERSIONS
from trainer.versions.registry import PINNED, TRASH
from trainer.versions.version import Version

NEWEST_KEPT = 2


def protected_checkpoints(models: Path, spine: SpineRules) -> dict[str, str]:
    """Return the names of the checkpoints that stay, with the reasons.

    That the newest ones are whole is not checked here: `publishing.removable` does that before any goes.

    Args:
        spine: which of the older ones are kept so that a file can be forgotten.
    """
    found: dict[str, str] = {}
    paths = published(models / FOLDER)
    current = os.path.basename(os.readlink(models / POINTER)) if (models / POINTER).is_symlink() else None
    gate = _gate_checkpoints(paths)
    on_spine = spine_of(models, Retention(**spine.model_dump()))
    for number, path in enumerate(paths):
        if path.name == current or number < NEWEST_KEPT:
            found[path.name] = "is one of the newest two"
        elif is_pinned(path):
            found[path.name] = "is pinned (training_health unpin)"
        elif path.name in gate:
            found[path.name] = "is what the model goes back to if the gate refuses a file"
        elif path.name in on_spine:
            found[path.name] = "is on the spine, from which a file is forgotten (checkpoints.spine_max_bytes)"
        elif _is_held(path):
            found[path.name] = "is used by a program"
    return found


def _gate_checkpoints(newest_first: Iterable[Path]) -> tuple[str, ...]:
    """Return the names of those that the newest readable one may have to go back to."""
    for path in newest_first:
        with suppress(DamagedCheckpoint):
            return read_manifest(path).progress.gate_checkpoints
    return ()


def protected_versions(versions: Iterable[Version], checkpoints: dict[str, str]) -> dict[str, str]:
    """Return the ids of the versions whose optimizer state stays, with the reasons.

    Args:
        checkpoints: as `protected_checkpoints` returns them: the version of one of them stays as it is.
    """
    found: dict[str, str] = {}
    for version in versions:
        if version.aliases:
            found[version.id] = f"is what {', '.join(version.aliases)} means"
        elif PINNED in version.tags:
            found[version.id] = f"has the tag {PINNED}"
        elif (name := version.record.checkpoint) in checkpoints:
            found[version.id] = f"belongs to {name}, which {checkpoints[name]}"
    return found


class UnknownNeed(RuntimeError):
    """Nobody can say which base models are needed; the message says why."""


def needed_bases(models: Path) -> dict[str, str]:
    """Return the consolidated base models that something is loaded beside, with the reasons.

    Their names are relative to `models/`.

    Raises:
        UnknownNeed: something cannot be read that may name one.
    """
    found: dict[str, str] = {}
    versions = models / VERSIONS
    try:
        # Newest last, so that it is the one that is named
        for path in reversed([*_checkpoints_in(models), *_checkpoints_in(models / SCRATCH / "models")]):
            if base := read_manifest(path).own_base:
                found[base] = f"is the base model of {path.name}"
        for folder in (versions / TRASH, versions):
            for record in sorted(folder.glob(f"v*/{RECORD_NAME}")):
                if base := read_record(record).own_base:
                    found.setdefault(base, f"is the base model of {record.parent.name}")
    except (DamagedCheckpoint, DamagedVersion) as error:
        raise UnknownNeed(f"may be needed: {printable(str(error))}") from error
    return found


def _checkpoints_in(models: Path) -> list[Path]:
    return published(models / FOLDER)


def _is_held(path: Path) -> bool:
    try:
        return is_in_use(path)
    except FileNotFoundError:  # removed meanwhile
        return False
