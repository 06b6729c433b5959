"""The model a session starts with: a checkpoint's weights, or the base model with what is added to it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from trainer.checkpoints.compatibility import refuse_other_base, refuse_other_template
from trainer.config.loader import BadConfig
from trainer.config.lock import LockedSetting
from trainer.config.schema import Settings, TrainingSettings
from trainer.model.adapter import add_adapter, load_adapter
from trainer.model.compilation import compile_layers
from trainer.model.fingerprint import fingerprint
from trainer.model.loading import find_base_model, load_model
from trainer.model.quantization import in_four_bits, stay_trainable
from trainer.model.template_choice import locate_template
from trainer.model.training_templates import template_in_use
from trainer.model.vocabulary import add_tokens, added_in, refuse_missing_tokens, rows_of_tokens
from trainer.profiles.base import DataProfile
from trainer.protocol.checkpoints import Checkpoint
from trainer.protocol.faults import ModelUnavailable
from trainer.protocol.files import behind_link
from trainer.step.precision import choose_precision


@dataclass(frozen=True)
class StartingModel:
    """A model that is ready to be trained."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    base_sha256: str | None
    """Of the base model that it comes from; None where an older checkpoint does not say."""


def load_starting_model(
    settings: Settings,
    checkpoint: Checkpoint | None,
    profile: DataProfile,
    *,
    base_dir: Path,
    models: Path,
    tell: Callable[[str], None],
) -> StartingModel:
    """Load the model of a checkpoint, or the base model if there is none.

    Args:
        tell: called with how far loading is.
    Raises:
        ModelUnavailable, UnusableModel: the base model cannot be used.
        BadConfig: the model lacks tokens of the profile, or cannot be compiled as the settings ask for.
        LockedSetting: the file with the chat template says something else than it did.
    """
    loaded = _load(settings, checkpoint, profile, base_dir=base_dir, models=models, tell=tell)
    if checkpoint:
        in_use = template_in_use(loaded.tokenizer)
        refuse_other_template(checkpoint.manifest, settings, in_use.sha256 if in_use else None)
    if settings.model.grow_vocabulary:
        refuse_missing_tokens(loaded.tokenizer, profile)
    if settings.training.compile and not compile_layers(loaded.model):
        raise BadConfig(
            "training.compile is true, but this model has no stack of equal layers to compile; "
            "set it to false"
        )
    return loaded


def _load(
    settings: Settings,
    checkpoint: Checkpoint | None,
    profile: DataProfile,
    *,
    base_dir: Path,
    models: Path,
    tell: Callable[[str], None],
) -> StartingModel:
    training = settings.training
    template, options = (
        locate_template(settings.model.chat_template, base_dir),
        settings.model.template_options,
    )
    if checkpoint and not training.uses_adapter:
        model, tokenizer = load_model(checkpoint.path, chat_template=template, template_options=options)
        return StartingModel(model, tokenizer, checkpoint.manifest.base_sha256)
    base = _base_of(settings, checkpoint, base_dir=base_dir, models=models, tell=tell)
    base_sha256 = fingerprint(base)
    if checkpoint:
        refuse_other_base(checkpoint.manifest, base_sha256)
    model, tokenizer = load_model(
        base,
        chat_template=template,
        template_options=options,
        called=settings.model.base_model,
        options=quantization_options(training),
    )
    if training.method == "qlora":
        stay_trainable(model)
    added = add_tokens(model, tokenizer, _own_tokens(settings, checkpoint, profile, tokenizer))
    if training.uses_adapter:
        model = _with_adapter(model, training, checkpoint, added)
    return StartingModel(model, tokenizer, base_sha256)


def _base_of(
    settings: Settings,
    checkpoint: Checkpoint | None,
    *,
    base_dir: Path,
    models: Path,
    tell: Callable[[str], None],
) -> Path:
    """Return the folder of the base model: the one that a checkpoint's manifest names, or the settings."""
    name = settings.model.base_model
    if checkpoint is None or checkpoint.manifest.own_base is None:
        return find_base_model(name, base_dir=base_dir, models=models, tell=tell)
    own = Path(checkpoint.manifest.own_base)
    folder = behind_link(models / own.parent) / own.name
    if name != checkpoint.manifest.base_model:
        raise LockedSetting(
            f'model.base_model is "{name}", but the newest checkpoint was trained beside {folder}, which '
            f"training_models consolidate has made; set it back to "
            f'"{checkpoint.manifest.base_model}", or use another working directory (--base-dir)'
        )
    if not folder.is_dir():
        raise ModelUnavailable(
            f"{folder} is not there: the base model of {checkpoint.path.name}, which training_models "
            "consolidate has made; restore it from a backup, or let the model go back to a version from "
            "before: training_models rollback --to VERSION"
        )
    return folder


def _with_adapter(
    model: PreTrainedModel, training: TrainingSettings, checkpoint: Checkpoint | None, added: list[int]
) -> PreTrainedModel:
    if checkpoint:
        return load_adapter(model, checkpoint.path, training)
    rows = rows_of_tokens(model, added) if added else None
    return add_adapter(model, training, trained_rows=rows)


def _own_tokens(
    settings: Settings,
    checkpoint: Checkpoint | None,
    profile: DataProfile,
    tokenizer: PreTrainedTokenizerBase,
) -> Sequence[str]:
    """Return what the vocabulary of the base model grows by: for a checkpoint, what it has grown by."""
    if not settings.model.grow_vocabulary:
        return ()
    return added_in(checkpoint.path, tokenizer) if checkpoint else profile.special_tokens


def quantization_options(training: TrainingSettings) -> dict[str, Any]:
    """Return the options with which a base model is loaded by these settings."""
    if training.method != "qlora":
        return {}
    use_gpu = training.device != "cpu" and torch.cuda.is_available()
    return in_four_bits(precision=choose_precision(training), use_gpu=use_gpu)
