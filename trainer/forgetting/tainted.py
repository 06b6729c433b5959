"""Which states of the model have seen a file, at the moment at which it is erased. Changes nothing.

Training again takes hours, in which versions are made and checkpoints put aside that no plan could know.
"""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from trainer.protocol.branch_path import first_seen
from trainer.protocol.checkpoints import (
    ASIDE_PREFIX,
    FOLDER,
    DamagedCheckpoint,
    NoUsableCheckpoint,
    published,
    read_manifest,
)
from trainer.protocol.forgetting import Erased
from trainer.versions.registry import FOLDER as VERSIONS
from trainer.versions.registry import TRASH

Seen = tuple[tuple[int, int], ...]  # as in `Erased`


def tainted_versions(models: Path, erased: Erased) -> tuple[str, ...]:
    """Return the ids of the versions that are erased: those that were planned, and those made since."""
    if erased.keeps_versions:
        return erased.versions
    folder = models / VERSIONS
    return _with(erased.versions, [*folder.glob("v*"), *(folder / TRASH).glob("v*")], erased.seen)


def tainted_checkpoints(models: Path, erased: Erased) -> tuple[str, ...]:
    """Return the names of the checkpoints that are erased: planned, published since, or damaged."""
    known = _with(erased.checkpoints, published(models / FOLDER), erased.seen)
    return (*known, *_quarantined(models / FOLDER, erased.seen))


def _with(
    known: tuple[str, ...], paths: Iterable[Path], seen: tuple[tuple[int, int], ...]
) -> tuple[str, ...]:
    names = dict.fromkeys(known)
    for path in sorted(paths):
        with suppress(DamagedCheckpoint, NoUsableCheckpoint, OSError):
            if first_seen(read_manifest(path), seen) is not None:
                names[path.name] = None
    return tuple(names)


def _quarantined(folder: Path, seen: Seen) -> list[str]:
    """Return the damaged ones; of one whose manifest cannot be read, only its name tells the step."""
    found: list[str] = []
    if not seen:
        return found
    earliest = min(step for _, step in seen)
    for path in sorted(folder.glob(f"{ASIDE_PREFIX}step-*")):
        try:
            is_tainted = first_seen(read_manifest(path), seen) is not None
        except (DamagedCheckpoint, NoUsableCheckpoint, OSError):
            number = path.name.removeprefix(f"{ASIDE_PREFIX}step-").partition("-")[0]
            is_tainted = not number.isdecimal() or int(number) >= earliest
        if is_tainted:
            found.append(path.name)
    return found
