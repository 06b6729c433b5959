"""Review every checkpoint without changing one, while a worker may publish and remove some.

Whole      is what its manifest says
Damaged    is not; the next start quarantines it and takes the one before
Unusable   cannot be judged by this program; the next start is blocked by it
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from trainer.protocol.checkpoints import (
    ASIDE_PREFIX,
    FOLDER,
    POINTER,
    UNREADABLE,
    DamagedCheckpoint,
    NoUsableCheckpoint,
    read_manifest,
    sequence_of,
)
from trainer.protocol.manifest import Manifest
from trainer.protocol.text import printable

REASON_CHARACTERS = 300  # a manifest that makes no sense is explained at length


@dataclass(frozen=True)
class Whole:
    path: Path
    manifest: Manifest


@dataclass(frozen=True)
class Damaged:
    path: Path
    reason: str


@dataclass(frozen=True)
class Unusable:
    path: Path
    reason: str


Reviewed = Whole | Damaged | Unusable


@dataclass(frozen=True)
class BlockedRestart:
    """A restart would not train anything."""

    reason: str


def list_checkpoints(models: Path) -> list[Path]:
    """Return all checkpoints, newest first by sequence number; those that cannot be read come first."""
    found = [path for path in (models / FOLDER).glob("step-*") if path.is_dir()]
    return sorted(found, key=_order, reverse=True)


def _order(path: Path) -> float:
    try:
        return sequence_of(path)
    except (OSError, NoUsableCheckpoint):
        return UNREADABLE


def review(path: Path, examine: Callable[[Path], Manifest]) -> Reviewed | None:
    """Judge one checkpoint; None if it has been removed meanwhile.

    Args:
        examine: `verify` or `compare_sizes`.
    """
    found: Reviewed
    try:
        found = Whole(path, examine(path))
    except DamagedCheckpoint as error:
        found = Damaged(path, printable(str(error), limit=REASON_CHARACTERS))
    except (OSError, NoUsableCheckpoint) as error:
        found = Unusable(path, printable(str(error), limit=REASON_CHARACTERS))
    return found if path.is_dir() else None


def compare_sizes(path: Path) -> Manifest:
    """Return the manifest of a checkpoint after a check of the sizes of its files only.

    Raises:
        DamagedCheckpoint: one is missing or has another size.
        NoUsableCheckpoint: another release wrote it.
    """
    manifest = read_manifest(path)
    for name, entry in manifest.files.items():
        try:
            size = (path / name).stat().st_size
        except FileNotFoundError as error:
            raise DamagedCheckpoint(f"{name} is missing") from error
        if size != entry.bytes:
            raise DamagedCheckpoint(f"{name} has {size} bytes instead of {entry.bytes}")
    return manifest


def review_sizes(models: Path) -> list[Reviewed]:
    """Judge all checkpoints by their sizes, newest first."""
    found = (review(path, compare_sizes) for path in list_checkpoints(models))
    return [reviewed for reviewed in found if reviewed]


def starting_point(reviewed: Sequence[Reviewed], *, has_corrupt: bool) -> Whole | BlockedRestart | None:
    """Return what the next worker would load; None for the base model.

    Args:
        reviewed: newest first.
        has_corrupt: whether earlier starts have set damaged ones aside.
    """
    for item in reviewed:
        match item:
            case Whole():
                return item
            case Unusable():
                return BlockedRestart(f"{item.path.name}: {item.reason}")
            case Damaged():
                continue
    if reviewed or has_corrupt:
        return BlockedRestart("none of the checkpoints in models/ can be trusted")
    return None


def newest_whole(reviewed: Iterable[Reviewed]) -> Whole | None:
    """Return the newest checkpoint that is what its manifest says."""
    return next((item for item in reviewed if isinstance(item, Whole)), None)


def corrupt_names(models: Path) -> list[str]:
    """Return the names of damaged checkpoints that were quarantined."""
    return sorted(path.name for path in (models / FOLDER).glob(f"{ASIDE_PREFIX}*"))


def current_name(models: Path) -> str | None:
    """Return the name of the checkpoint that `current_model` points to."""
    try:
        return (models / POINTER).readlink().name
    except OSError:
        return None
