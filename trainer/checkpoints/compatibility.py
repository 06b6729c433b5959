"""What a checkpoint depends on outside of itself: the base model, the device, and settings locked with it."""

from pathlib import Path

import torch

from trainer.config.loader import BadConfig
from trainer.config.lock import LockedSetting, check_lock
from trainer.config.schema import Settings
from trainer.protocol.faults import MissingDevice, UnusableModel
from trainer.protocol.files import UnreadableFile
from trainer.protocol.manifest import Manifest, Unlocked
from trainer.protocol.permissions import read_permissions


def unlocked_settings(manifest: Manifest, settings: Settings, models: Path) -> tuple[Unlocked, ...]:
    """Return the changes of locked settings that somebody has allowed.

    Raises:
        LockedSetting: another one has changed.
        BadConfig: the permissions cannot be read.
    """
    locked = manifest.locked or {  # as of the first release
        "model.base_model": manifest.base_model,
        "model.chat_template": manifest.chat_template,
    }
    try:
        return check_lock(locked, settings, read_permissions(models))
    except UnreadableFile as error:
        raise BadConfig(str(error)) from error


def refuse_other_base(manifest: Manifest, found: str) -> None:
    """Make sure that an adapter continues beside the very base model it was trained beside.

    Raises:
        UnusableModel: the base model's files have changed.
    """
    if manifest.base_sha256 not in (None, found):
        raise UnusableModel(
            f'base model "{manifest.base_model}" has the fingerprint {found[:16]}; expected '
            f"{(manifest.base_sha256 or '')[:16]}, beside which the checkpoints were trained; "
            "restore its files, or use another working directory (--base-dir)"
        )


def refuse_other_template(manifest: Manifest, settings: Settings, found: str | None) -> None:
    """Make sure that the file with the chat template has not changed.

    A built-in one may, with a release of this program; the manifest of the next checkpoint says so.

    Args:
        found: SHA-256 of the template that is in use, if it is a file or built in.
    Raises:
        LockedSetting: it has.
    """
    name, trained = settings.model.chat_template, manifest.chat_template_sha256
    if not name.endswith(".jinja") or manifest.chat_template != name or trained in (None, found):
        return  # another name is another value of a locked setting
    raise LockedSetting(
        f'model.chat_template is "{name}", whose text has the SHA-256 {(found or "")[:16]}; expected '
        f"{(trained or '')[:16]}, with which the checkpoints were trained; restore the file, or give the new "
        "one another name and allow it: training_health unlock model.chat_template"
    )


def refuse_missing_gpu(manifest: Manifest, device: str) -> None:
    """Make sure that a model from a GPU is not silently continued on the CPU.

    Raises:
        MissingDevice: it would be.
    """
    if manifest.device == "cuda" and device == "auto" and not torch.cuda.is_available():
        raise MissingDevice(
            "the model was trained on a GPU, but none can be used now; check nvidia-smi, or set "
            'training.device to "cpu" to continue without one'
        )
