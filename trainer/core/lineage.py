"""What a checkpoint depends on outside of itself: the base model, the device, and settings locked with it."""

from pathlib import Path

import torch
from pydantic import TypeAdapter, ValidationError

from trainer.core.faults import MissingDevice, UnusableModel
from trainer.protocol.files import UnreadableFile, read_json
from trainer.protocol.manifest import Manifest, Unlocked

PERMISSIONS_FILE = "unlocked.json"
_PERMISSIONS = TypeAdapter(tuple[Unlocked, ...])


def read_permissions(models: Path) -> tuple[Unlocked, ...]:
    """Return the changes of locked settings that `training_health unlock` has allowed."""
    try:
        return _PERMISSIONS.validate_python(read_json(models / PERMISSIONS_FILE))
    except (FileNotFoundError, UnreadableFile, ValidationError):
        return ()  # then nothing is allowed, and the error about the setting says how to allow it


def refuse_other_base(manifest: Manifest, found: str) -> None:
    """Make sure that an adapter goes on beside the very base model it was trained beside.

    Raises:
        UnusableModel: the base model's files have changed.
    """
    if manifest.base_sha256 not in (None, found):
        raise UnusableModel(
            f'base model "{manifest.base_model}" has the fingerprint {found[:16]}; expected '
            f"{(manifest.base_sha256 or '')[:16]}, beside which the checkpoints were trained; "
            "restore its files, or use another working directory (--base-dir)"
        )


def refuse_missing_gpu(manifest: Manifest, device: str) -> None:
    """Make sure that a model from a GPU is not silently continued on the CPU.

    Raises:
        MissingDevice: it would be.
    """
    if manifest.device == "cuda" and device == "auto" and not torch.cuda.is_available():
        raise MissingDevice(
            "the model was trained on a GPU, but none can be used now; look at nvidia-smi, or set "
            'training.device to "cpu" to go on without'
        )
