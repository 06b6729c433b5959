"""The states of the model that are kept, as checkpoints and as versions, and which led to which."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from trainer.protocol.branch_path import path_of, path_to, shared_step
from trainer.protocol.checkpoints import (
    FOLDER,
    DamagedCheckpoint,
    NoUsableCheckpoint,
    published,
    read_manifest,
)
from trainer.protocol.manifest import Branch, Manifest

VERSIONS = "versions"
TRASH = ".trash"  # in versions/


@dataclass(frozen=True)
class KeptState:
    """A checkpoint or a version."""

    path: Path
    manifest: Manifest

    @property
    def step(self) -> int:
        return self.manifest.progress.global_step

    @property
    def is_version(self) -> bool:
        return self.path.parent.name in (VERSIONS, TRASH)

    @property
    def is_whole(self) -> bool:
        """Whether all its files are there, so that training can continue from it."""
        return all((self.path / name).is_file() for name in self.manifest.files)


def kept_states(models: Path) -> Iterator[KeptState]:
    """Yield all checkpoints and versions whose manifests can be read, also those that lack files."""
    versions = sorted(path for path in (models / VERSIONS).glob("v*") if path.is_dir())
    yield from _readable((*published(models / FOLDER), *versions))


def deleted_states(models: Path) -> Iterator[KeptState]:
    """Yield the versions in the trash whose manifests can be read."""
    yield from _readable(sorted(path for path in (models / VERSIONS / TRASH).glob("v*") if path.is_dir()))


def _readable(paths: Iterable[Path]) -> Iterator[KeptState]:
    """Yield what can be read. Branches that many states have in common are in memory once."""
    known: dict[Branch, Branch] = {}
    for path in paths:
        try:
            manifest = read_manifest(path)
        except (DamagedCheckpoint, NoUsableCheckpoint):
            continue
        shared = tuple(known.setdefault(branch, branch) for branch in manifest.branches)
        yield KeptState(path, manifest.model_copy(update={"branches": shared}))


def is_earlier(earlier: Manifest, later: Manifest) -> bool:
    """Whether the steps of one state are the first steps of another."""
    step = earlier.progress.global_step
    there = path_to(earlier.branch, step, later.branches)
    return shared_step(there, path_of(later)) == step
