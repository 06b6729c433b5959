"""What somebody asks of the model, and how a refusal begins. Light, for a daemon that nobody asks."""

import json
from dataclasses import dataclass
from pathlib import Path

from trainer.protocol.checkpoints import FOLDER, NoUsableCheckpoint, published, read_manifest
from trainer.protocol.manifest import Branch

NOT_FORGOTTEN = "the model did not forget"
NOT_MERGED = "the adapter was not merged"


@dataclass(frozen=True, kw_only=True)
class ForgetWish:
    """A file is to be forgotten."""

    name: str
    """Of the file, the id of its job, or its SHA-256."""
    keep_versions: bool
    reason: str


def is_published(models: Path) -> bool:
    """Whether a model without a file was published, but what is left of the file was not erased."""
    from trainer.protocol.forgetting import ORDER_FILE, SCRATCH, UnreadableOrder, read_header

    folder = models / SCRATCH
    try:
        read_header(folder / ORDER_FILE)
        branch = Branch.model_validate(json.loads((folder / "branch.json").read_bytes()))
        newest = next(iter(published(models / FOLDER)), None)  # the pointer may not have come so far
        return newest is not None and branch in read_manifest(newest).branches
    except (OSError, ValueError, UnreadableOrder, NoUsableCheckpoint):
        return False
