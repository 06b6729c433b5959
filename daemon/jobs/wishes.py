"""What somebody asks of the model, and how a refusal begins. Light, for a daemon that nobody asks."""

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trainer.protocol.checkpoints import FOLDER, NoUsableCheckpoint, published, read_manifest
from trainer.protocol.layout import ORDER_FILE, SCRATCH
from trainer.protocol.manifest import Branch
from trainer.protocol.text import printable

if TYPE_CHECKING:
    from daemon.ledger.trained_files import TrainedStretches

SHA256_SHOWN = 12
NOT_FORGOTTEN = "the model did not forget"
NOT_MERGED = "the adapter was not merged"
NOT_GONE_BACK = "the model did not go back"
FORGETTING = "forgetting"  # how the status begins to say which file, and how far that is


@dataclass(frozen=True, kw_only=True)
class ForgetWish:
    """A file is to be forgotten."""

    name: str
    """Of the file, the id of its job, or its SHA-256."""
    keep_versions: bool
    reason: str


@dataclass(frozen=True, kw_only=True)
class Requeue:
    """Which files that the model loses are trained again when it goes back."""

    is_wanted: bool = False
    without: Collection[str] = ()
    """Names or job ids of those that are not."""

    def wants(self, file: "TrainedStretches") -> bool:
        """Whether a file is trained again."""
        return self.is_wanted and not any(file.is_meant_by(name) for name in self.without)


@dataclass(frozen=True, kw_only=True)
class Unfinished:
    """A file that the model was to forget, and has not: a stop or a refusal came in between."""

    name: str
    """Printable."""
    sha256: str

    @property
    def text(self) -> str:
        """What is so, for people."""
        return f"{self.name} was to be forgotten, and is not; asked again, it continues where it was"

    @property
    def command(self) -> str:
        """What asks again; without `--base-dir`."""
        return f"training_models forget {self.sha256[:SHA256_SHOWN]}"


def unfinished(models: Path) -> Unfinished | None:
    """Return what was begun to be forgotten, and needs somebody to ask again unless it is at work."""
    if not (models / SCRATCH / ORDER_FILE).exists() or is_published(models):
        return None
    from trainer.protocol.forgetting import UnreadableOrder, read_header

    try:
        header = read_header(models / SCRATCH / ORDER_FILE)
    except (OSError, UnreadableOrder):
        return None
    return Unfinished(name=printable((*header.erased.names, "a file")[0]), sha256=header.sha256)


def is_published(models: Path) -> bool:
    """Whether a model without a file was published, but what is left of the file was not erased."""
    folder = models / SCRATCH
    if not (folder / ORDER_FILE).exists():
        return False
    from trainer.protocol.forgetting import UnreadableOrder, read_header

    try:
        read_header(folder / ORDER_FILE)
        branch = Branch.model_validate(json.loads((folder / "branch.json").read_bytes()))
        newest = next(iter(published(models / FOLDER)), None)  # the pointer may not have come so far
        return newest is not None and branch in read_manifest(newest).branches
    except (OSError, ValueError, UnreadableOrder, NoUsableCheckpoint):
        return False
