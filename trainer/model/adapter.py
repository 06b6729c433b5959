"""LoRA: small trained matrices beside a frozen base model (Hu et al., 2021), by the library PEFT.

Its variants: DoRA (Liu et al., 2024), rsLoRA (Kalajdzievski, 2023), and QLoRA, whose base is in 4 bits.
"""

import logging
from pathlib import Path
from typing import cast

import torch
from peft import LoraConfig, PeftConfig, PeftModel, get_peft_model
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from trainer.config.loader import BadConfig
from trainer.config.schema import TrainingSettings

logger = logging.getLogger(__name__)

LAYERS = (nn.Linear, nn.Embedding, nn.Conv1d, Conv1D)  # the kinds that can have such matrices beside them


def add_adapter(
    base: PreTrainedModel, settings: TrainingSettings, *, trained_rows: dict[str, list[int]] | None = None
) -> PreTrainedModel:
    """Return the model with fresh matrices, which change nothing yet. The base is frozen.

    Args:
        trained_rows: rows of embedding layers that are trained beside the matrices, by the layers' names.
    Raises:
        BadConfig: `training.lora_targets` names something that is no layer of this model.
    """
    _refuse_unmatched(base, settings.lora_targets)
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=settings.lora_rank,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        target_modules=settings.lora_targets,
        use_dora=settings.lora_dora,
        use_rslora=settings.lora_rslora,
        trainable_token_indices=trained_rows or None,
    )
    torch.manual_seed(settings.seed)  # the matrices start at random; after a crash they must start the same
    try:
        return cast(PreTrainedModel, get_peft_model(base, config))
    except ValueError as error:
        raise BadConfig(f"training.lora_targets is {settings.lora_targets}: {error}") from error


def _refuse_unmatched(base: PreTrainedModel, targets: str | list[str]) -> None:
    """Make sure that every name stands for a layer; PEFT asks for one of them only.

    Raises:
        BadConfig: one does not.
    """
    names = [f".{name}" for name, layer in base.named_modules() if isinstance(layer, LAYERS)]
    unmatched = [
        target
        for target in (targets if isinstance(targets, list) else [])
        if not any(name.endswith(f".{target}") for name in names)
    ]
    if unmatched or not targets:
        known = sorted(
            {name.rpartition(".")[2] for name, layer in base.named_modules() if isinstance(layer, nn.Linear)}
        )
        why = f", but the model has no layer {', '.join(unmatched)}" if unmatched else ""
        raise BadConfig(
            f"training.lora_targets is {targets}{why}; expected names such as {', '.join(known)}, "
            'or "all-linear"'
        )


def load_adapter(base: PreTrainedModel, folder: Path, settings: TrainingSettings) -> PreTrainedModel:
    """Return the model with the matrices of a checkpoint, to be trained further."""
    config = PeftConfig.from_pretrained(str(folder))
    config.lora_dropout = settings.lora_dropout  # before loading: without dropout there is no layer to change
    config.base_model_name_or_path = base.name_or_path  # the working directory may have moved
    return cast(PreTrainedModel, PeftModel.from_pretrained(base, folder, is_trainable=True, config=config))


def save_adapter(model: PreTrainedModel, folder: Path) -> None:
    """Write the matrices, and where their base model lies, into `folder`."""
    # Else PEFT asks the hub whether the vocabulary has grown, which it never does here
    model.save_pretrained(folder, save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)  # a form to be filled in
