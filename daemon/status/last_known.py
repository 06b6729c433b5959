"""What the newest checkpoint says, for the status of a daemon that has no worker yet and for one file."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer.protocol.checkpoints import FOLDER, POINTER, DamagedCheckpoint, NoUsableCheckpoint, read_manifest
from trainer.protocol.job import Cursor
from trainer.protocol.layout import Layout
from trainer.protocol.status import LastCheckpoint
from trainer.protocol.text import display_name, printable

if TYPE_CHECKING:
    from daemon.status.board import StatusBoard

Measured = Callable[[int], Mapping[str, float | None]]


def show_model(board: "StatusBoard", layout: Layout, measured_at: Measured) -> None:
    """Have the status show the model of the newest checkpoint.

    Args:
        measured_at: what the ledger, which has followed, says of a step.
    """
    known = last_known(layout.models)
    board.model_is(known, measured_at(known.get("current_step", 0)))


def last_known(models: Path) -> dict[str, Any]:
    """Return status fields by name; none where nothing was trained, or the manifest cannot be read."""
    with suppress(OSError, DamagedCheckpoint, NoUsableCheckpoint):  # which the worker reports
        path = (models / POINTER).resolve(strict=True)
        manifest = read_manifest(path)
        progress = manifest.progress
        place = printable(f"{FOLDER}/{path.name}")
        return {
            "model_name": display_name(manifest.base_model, merged_at=manifest.merged_at),
            "method": manifest.method,
            "current_step": progress.global_step,
            "tokens_seen": progress.tokens_seen,
            "samples_seen": progress.samples_seen,
            "validation_loss": progress.validation_loss,
            "validation_weights": progress.validation_weights,
            "validation_other_loss": progress.validation_other_loss,
            "last_checkpoint": LastCheckpoint(path=place, step=progress.global_step, at=manifest.written_at),
        }
    return {}


def cursor_in(models: Path, job_id: str) -> Cursor | None:
    """Return how far the newest checkpoint has an open job; None if it has none of it, or cannot be read."""
    with suppress(OSError, DamagedCheckpoint, NoUsableCheckpoint):
        return read_manifest((models / POINTER).resolve(strict=True)).progress.cursors.get(job_id)
    return None
