"""Load a base model or a checkpoint, and tell its name. Never runs code that came with a model."""

import os
from collections.abc import Callable, Mapping
from copy import copy
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from trainer.config.loader import BadConfig
from trainer.model import tiny
from trainer.model.download import download
from trainer.model.template_choice import choose_template
from trainer.model.training_templates import template_in_use
from trainer.protocol.faults import ModelUnavailable, UnusableModel, first_line
from trainer.protocol.files import behind_link

if TYPE_CHECKING:
    from transformers import PreTrainedModel

SPARE_POSITIONS = 2  # of a table, as in OPT


def find_base_model(name: str, *, base_dir: Path, models: Path, tell: Callable[[str], None]) -> Path:
    """Return the folder that `model.base_model` means; it is built or downloaded if need be.

    Args:
        name: `tiny`, a path (relative to `base_dir`), or a hub name.
        models: where `tiny` is built.
        tell: called with how far a download has come.
    Raises:
        ModelUnavailable: nothing is there, or the hub cannot be reached.
    """
    return find_local_model(name, base_dir=base_dir, models=models) or download(name, tell)


def find_local_model(name: str, *, base_dir: Path, models: Path) -> Path | None:
    """Return the folder that `model.base_model` means; None if it is the name of a hub's model.

    Args:
        name, base_dir, models: as for `find_base_model`.
    Raises:
        ModelUnavailable: nothing is there.
    """
    if name == tiny.NAME:
        return behind_link(tiny.build_tiny(models / tiny.NAME))
    path = base_dir / os.path.expanduser(name)
    if path.is_dir():
        return path
    if name.startswith((".", "/", "~")) or name.count("/") != 1:
        raise ModelUnavailable(
            f'model.base_model is "{name}", but {path} is not a folder; expected "tiny", '
            'the path of a model folder, or a hub name such as "Qwen/Qwen3-0.6B"'
        )
    return None


def load_model(
    source: Path,
    *,
    chat_template: str = "own",
    template_options: Mapping[str, Any] = MappingProxyType({}),
    called: str = "",
    options: Mapping[str, Any] = MappingProxyType({}),
) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    """Load weights (safetensors only) and tokenizer from a folder.

    Args:
        chat_template, template_options, called: as for `load_tokenizer`.
        options: what else `from_pretrained` is given.
    Raises:
        ModelUnavailable: the folder holds no model in a format we load.
        UnusableModel: it needs code of its own, or has no chat template.
    """
    from transformers import AutoModelForCausalLM  # takes seconds; who loads a tokenizer need not wait

    tokenizer = load_tokenizer(
        source, chat_template=chat_template, template_options=template_options, called=called
    )
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            source,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
            **options,
        )
    except (OSError, SafetensorError) as error:
        raise ModelUnavailable(f'base model "{source}" cannot be loaded: {first_line(error)}') from error
    except ValueError as error:
        raise UnusableModel(f'base model "{source}" cannot be used: {first_line(error)}') from error
    model, report = loaded
    if missing := sorted(report["missing_keys"]):
        raise UnusableModel(
            f'base model "{source}" lacks {len(missing)} of its tensors, such as {missing[0]}, '
            "and random numbers would take their place; use a complete copy"
        )
    return model, tokenizer


def load_tokenizer(
    source: Path | str, *, chat_template: str, template_options: Mapping[str, Any], called: str = ""
) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a model, with the template that is asked for.

    Args:
        source: a folder, or a hub name.
        chat_template, template_options: as in `model`.
        called: what a person calls the model, for messages on its template; empty for its source.
    Raises:
        ModelUnavailable: there is no tokenizer in a format we load.
        UnusableModel: it needs code of its own, or has no chat template.
    """
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    except OSError as error:
        raise ModelUnavailable(f'base model "{source}" cannot be loaded: {first_line(error)}') from error
    except ValueError as error:
        raise UnusableModel(f'base model "{source}" cannot be used: {first_line(error)}') from error
    choose_template(tokenizer, chat_template, called or str(source), template_options)
    if not tokenizer("text", add_special_tokens=False)["input_ids"]:
        raise UnusableModel(f'base model "{source}" has no vocabulary; expected a tokenizer.json')
    if not tokenizer.is_fast:
        raise UnusableModel(
            f'the tokenizer of base model "{source}" is not a fast one; expected a tokenizer.json'
        )
    return tokenizer


def refuse_longer_rows(model: "PreTrainedModel", max_length: int) -> None:
    """Make sure that a model with a table of positions has one for every token of the longest row.

    Raises:
        BadConfig: it does not. Models that compute positions, as most do, take rows of any length.
    """
    positions = getattr(model.config, "max_position_embeddings", None)
    if positions is None or max_length <= positions:
        return
    token_table = model.get_input_embeddings().weight
    tables = [module for module in model.modules() if isinstance(module, nn.Embedding)]
    spare = range(positions, positions + SPARE_POSITIONS + 1)
    if any(table.num_embeddings in spare and table.weight is not token_table for table in tables):
        raise BadConfig(
            f"data.max_length is {max_length}, but the model has positions for {positions} tokens; "
            f"set it to {positions} or less"
        )


def save_tokenizer(tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write the tokenizer's files into `folder`, with the chat template that is meant for generating text.

    Raises:
        OSError: they cannot be written.
    """
    in_use = template_in_use(tokenizer)
    if in_use and in_use.for_inference:
        tokenizer = copy(tokenizer)  # rows may be rendered meanwhile
        tokenizer.chat_template = in_use.for_inference
    try:
        tokenizer.save_pretrained(folder)
    except Exception as error:
        if type(error) is not Exception:
            raise
        # The library tokenizers has no class of its own for a full disk
        raise OSError(f"the tokenizer cannot be written: {error}; is the disk full?") from error
