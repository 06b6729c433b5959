"""A model as a version or a checkpoint has it, loaded to be looked at rather than trained."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from trainer.config.lock import LockedSetting
from trainer.config.schema import Settings, sections
from trainer.profiles.registry import make_profile
from trainer.protocol.checkpoints import Checkpoint, read_manifest
from trainer.protocol.manifest import Manifest
from trainer.protocol.text import printable
from trainer.session.starting_model import load_starting_model

SHAPING = ("model", "training")
"""Sections whose locked settings a model depends on; those of other sections say how rows are read."""


def load_kept_model(
    folder: Path,
    settings: Settings,
    *,
    base_dir: Path,
    models: Path,
    tell: Callable[[str], None],
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load weights and tokenizer; an adapter beside the base model that it was trained beside.

    Args:
        folder: a version, or a checkpoint.
        settings: what the model does not depend on is taken from them, such as the device.
    Raises:
        DamagedCheckpoint, NoUsableCheckpoint: there is none, or another release wrote it.
        ModelUnavailable, UnusableModel: it cannot be loaded, or its base model has changed.
        LockedSetting: it was trained with a setting that this release does not know.
    """
    manifest = read_manifest(folder)
    settings = settings_of_kept(manifest, settings)
    profile = make_profile(settings.profile.name, settings.profile.options, base_dir=base_dir)
    checkpoint = Checkpoint(folder, manifest)
    loaded = load_starting_model(settings, checkpoint, profile, base_dir=base_dir, models=models, tell=tell)
    model = loaded.model
    if settings.training.method != "qlora":  # that one is on its device already
        use_gpu = settings.training.device != "cpu" and torch.cuda.is_available()
        model.to("cuda" if use_gpu else "cpu")  # type: ignore[arg-type]  # by name as well
    model.eval()
    return model, loaded.tokenizer


def settings_of_kept(manifest: Manifest, settings: Settings) -> Settings:
    """Return settings with those in the place of the present ones that the model was made with.

    Raises:
        LockedSetting: this release does not know one of them.
    """
    content: dict[str, dict[str, Any]] = settings.model_dump(mode="json")
    locked = manifest.locked or {
        "model.base_model": manifest.base_model,
        "model.chat_template": manifest.chat_template,
        "training.method": manifest.method,
    }
    for name, value in locked.items():
        section, _, key = name.partition(".")
        if section not in SHAPING:
            continue
        if key not in sections()[section].model_fields:
            raise LockedSetting(
                f"{printable(name)} is not a setting of this release; use the release that wrote the model"
            )
        content[section][key] = value
    content["model"]["grow_vocabulary"] = bool(locked.get("model.grow_vocabulary", False))
    content["training"]["compile"] = False
    return Settings.model_validate(content)
