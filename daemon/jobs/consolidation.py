"""Plan to merge the adapter into its base model: whether there is one to merge, and the order for it."""

import json
import math
import os
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from daemon.jobs.version_content import newest_scores, trained_since
from trainer.protocol.checkpoints import POINTER, DamagedCheckpoint, NoUsableCheckpoint, read_manifest
from trainer.protocol.files import UnreadableFile, read_json
from trainer.protocol.layout import Layout
from trainer.protocol.manifest import Manifest
from trainer.protocol.text import display_name, printable
from trainer.versions.consolidation import ConsolidateOrder, why_nothing_to_merge
from trainer.versions.registry import Versions

ADAPTER_FILE = "adapter_config.json"
LONGEST_HEADER = 100 << 20  # bytes, as safetensors itself limits it
FP32_BYTES = 4


class CannotMerge(ValueError):
    """There is no adapter to merge; the message says why."""


@dataclass(frozen=True, kw_only=True)
class ConsolidationPlan:
    """What merging the adapter means."""

    checkpoint: str
    """Name of the newest one; a worker that trains saves another one first, which is merged."""
    global_step: int
    base: str
    """What it is merged into: the name of a base model, or where a merged one lies, relative to `models/`."""
    method: str
    needed_bytes: int | None
    """On the disk, for the new base model and a checkpoint; None if the old one cannot be read."""
    free_bytes: int
    open_files: tuple[str, ...]
    """Files in training, which continue with their next steps; printable."""


def plan_consolidation(layout: Layout, method: str, *, step: int | None = None) -> ConsolidationPlan:
    """Return what merging the adapter of the newest checkpoint means.

    Args:
        method: as `training.method`.
        step: the global step of the model, where a worker is further than the checkpoint.
    Raises:
        CannotMerge: there is none.
    """
    path, manifest = _newest(layout.models, method, step=step)
    found = os.statvfs(layout.models)
    weights = _number_of_weights(path)
    return ConsolidationPlan(
        checkpoint=path.name,
        global_step=max(manifest.progress.global_step, step or 0),
        base=manifest.own_base or printable(display_name(manifest.base_model)),
        method=manifest.method,
        needed_bytes=None if weights is None else FP32_BYTES * weights + manifest.total_bytes,
        free_bytes=found.f_bavail * found.f_frsize,
        open_files=tuple(
            printable(cursor.name or cursor.job_id) for cursor in manifest.progress.cursors.values()
        ),
    )


def order_consolidation(
    layout: Layout, settings: Mapping[str, Any], *, clock: Callable[[], float]
) -> ConsolidateOrder:
    """Return the order to merge the adapter of the newest checkpoint. No worker may run.

    Args:
        settings: all that are in force, as JSON values.
        clock: Unix seconds.
    Raises:
        CannotMerge: there is none.
        DamagedVersion: a record of an earlier version cannot be trusted.
        UnreadableLedger: the ledger cannot be read.
    """
    path, manifest = _newest(layout.models, settings["training"]["method"])
    parent = Versions(layout.models, clock=clock).parent_of(manifest)
    return ConsolidateOrder(
        base_dir=layout.base,
        checkpoint=path.name,
        settings=dict(settings),
        trained=trained_since(layout.ledger_file, parent, manifest, newest=manifest),
        suites=newest_scores(layout.ledger_file, until=manifest.progress.global_step),
    )


def _newest(models: Path, method: str, *, step: int | None = None) -> tuple[Path, Manifest]:
    try:
        path = (models / POINTER).resolve(strict=True)
        manifest = read_manifest(path)
    except OSError as error:
        raise CannotMerge("there is no checkpoint yet, so there is no adapter to merge") from error
    except (DamagedCheckpoint, NoUsableCheckpoint) as error:
        raise CannotMerge(f"the newest checkpoint: {error}; check them: training_health verify") from error
    if why := why_nothing_to_merge(manifest, method, step=step):
        raise CannotMerge(why)
    return path, manifest


def _number_of_weights(checkpoint: Path) -> int | None:
    """Return how many weights the base model of a checkpoint has; None if that cannot be read."""
    try:
        base = Path(read_json(checkpoint / ADAPTER_FILE)["base_model_name_or_path"])
        return sum(_weights_in(file) for file in base.glob("*.safetensors")) or None
    except (OSError, UnreadableFile, ValueError, TypeError, KeyError, struct.error):
        return None


def _weights_in(file: Path) -> int:
    """Return how many numbers a file of safetensors has, by its header."""
    with file.open("rb") as reader:
        [length] = struct.unpack("<Q", reader.read(8))
        if length > LONGEST_HEADER:
            raise ValueError(f"{file} has a header of {length} bytes; expected {LONGEST_HEADER} at most")
        header = json.loads(reader.read(length))
    return sum(math.prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")
