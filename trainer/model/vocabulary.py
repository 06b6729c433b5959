"""Tokens that a profile adds to a model's vocabulary: texts that are one token from then on."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from tokenizers import AddedToken
from torch import nn
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from trainer.config.loader import BadConfig
from trainer.profiles.base import DataProfile

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def add_tokens(
    model: "PreTrainedModel", tokenizer: PreTrainedTokenizerBase, tokens: Sequence[str]
) -> list[int]:
    """Give a model those of some tokens that it does not have; return their ids.

    Each starts as the mean of all that were there, so that it is neither improbable nor the same by chance
    only: a restart from the base model makes the same numbers.
    """
    ids = name_tokens(tokenizer, tokens)
    if not ids:
        return []
    if max(ids) >= len(_weight(model.get_input_embeddings())):  # else there are spare rows, as in Qwen's
        model.resize_token_embeddings(max(ids) + 1, mean_resizing=False)
    for layer in (model.get_input_embeddings(), model.get_output_embeddings()):
        if layer is not None:
            _start_as_mean(layer, first=min(ids), ids=ids)
    return ids


def name_tokens(tokenizer: PreTrainedTokenizerBase, tokens: Sequence[str]) -> list[int]:
    """Give a tokenizer those of some tokens that it does not have; return their ids."""
    if not tokens:  # it takes a third of a second to list a large vocabulary
        return []
    vocabulary = tokenizer.get_vocab()
    fresh = [token for token in tokens if token not in vocabulary]
    # No "special" ones, which decoding would leave out; and no other white space around them is swallowed
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in fresh])
    vocabulary = tokenizer.get_vocab()
    return [vocabulary[token] for token in fresh]


@torch.no_grad()
def _start_as_mean(layer: nn.Module, *, first: int, ids: list[int]) -> None:
    bias = getattr(layer, "bias", None)
    for numbers in (_weight(layer), *([] if bias is None else [bias])):
        numbers[ids] = numbers[:first].mean(dim=0)


def _weight(layer: nn.Module) -> Any:
    return layer.weight


def added_in(checkpoint: Path, base: PreTrainedTokenizerBase) -> list[str]:
    """Return the tokens that a checkpoint's tokenizer has beyond its base model's, in their order."""
    tokenizer = AutoTokenizer.from_pretrained(checkpoint, trust_remote_code=False)
    known, vocabulary = base.get_vocab(), tokenizer.get_vocab()
    return sorted(vocabulary.keys() - known.keys(), key=vocabulary.__getitem__)


def rows_of_tokens(model: "PreTrainedModel", ids: list[int]) -> dict[str, list[int]]:
    """Return the layers that hold rows of tokens, by their names, with the rows of these tokens."""
    from trainer.step.forward import base_of  # takes seconds; who names tokens need not wait

    inner = base_of(model)
    layers = (inner.get_input_embeddings(), inner.get_output_embeddings())
    return {
        name.rpartition(".")[2]: ids
        for name, module in inner.named_modules()
        if any(module is layer for layer in layers)
    }


def refuse_missing_tokens(tokenizer: Any, profile: DataProfile) -> None:
    """Make sure that a model has the tokens of a profile; called where `model.grow_vocabulary` is true.

    Raises:
        BadConfig: it was trained without.
    """
    unknown = (None, tokenizer.unk_token_id)  # cheaper than to ask for the whole vocabulary
    tokens = profile.special_tokens
    if missing := [token for token in tokens if tokenizer.convert_tokens_to_ids(token) in unknown]:
        raise BadConfig(
            f"the profile {profile.name} has the tokens {', '.join(missing)}, but the vocabulary grows only "
            "before the first checkpoint, and has grown without them; use a profile without them, or use "
            "another working directory (--base-dir)"
        )
