"""How micro-batches go through a model: by the fastest strategy shown to compute the same result.

Two things are saved where a model allows it: padding, by laying rows end to end, and the logits of positions
where nothing is supervised, by calling decoder and head one after the other. Models differ (attention with
features of their own, state that runs from token to token, logits that are scaled), and no list of them would
stay true. So each strategy is tried on a few made-up rows, and taken only if all logits come out as for the
row alone.
"""

import trainer.step.light_peft  # noqa: F401

# isort: split

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, cast

import torch
from peft import PeftModel
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from trainer.data.rendering.render import Example
from trainer.step import attention
from trainer.step.loss import cross_entropies, summed_cross_entropy
from trainer.step.micro_batches import (
    MicroBatch,
    end_to_end,
    of_few,
    padded,
    split_end_to_end,
    split_padded,
)
from trainer.step.neftune import add_neftune_noise

PROBE_LENGTHS = (7, 12, 12, 5)  # two of equal length, which attention takes at once
EXACT = 0.0
ROUNDING = {torch.float32: 1e-4, torch.float16: 0.02, torch.bfloat16: 0.05}  # of the largest number
# An argument that the model does not take; a decoder that returns something else than a decoder does
REFUSALS = (attention.UnsupportedAttention, TypeError, AttributeError)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ForwardStrategy:
    """How rows go through a model. Another strategy rounds differently, so a checkpoint keeps it."""

    lays_end_to_end: bool = False
    """Whether rows lie end to end in one sequence; else each is a padded sequence."""
    calls_head_apart: bool = False
    """Whether decoder and head are called one after the other."""
    precision: str = ""
    """Number format of the products; empty where a checkpoint does not say."""
    rounds_weights: bool = False
    """Whether the model computes with weights that are rounded to it once for each step."""


class Forward:
    """Computes the loss of rows.

    Args:
        model: perhaps wrapped by PEFT. Its attention is replaced if that is part of the strategy.
    """

    def __init__(self, model: PreTrainedModel, strategy: ForwardStrategy) -> None:
        self._model = model
        self.strategy = strategy
        self._inner = base_of(model)
        self._own_attention: str | None = None
        if strategy.lays_end_to_end:
            self._own_attention = self._inner.config._attn_implementation
            self._inner.set_attn_implementation(attention.NAME)
        self.neftune_alpha: float | None = None
        """Strength of NEFTune's noise on embeddings while the model is in training mode."""

    @contextmanager
    def own_attention(self) -> Iterator[None]:
        """Have the model attend as when it was loaded (with a cache, for example) while the block runs."""
        for positions in self._growing:
            _forget_longest(positions)
        if self._own_attention is not None:
            self._inner.set_attn_implementation(self._own_attention)
        try:
            yield
        finally:
            if self._own_attention is not None:
                self._inner.set_attn_implementation(attention.NAME)

    def split(self, examples: Sequence[Example], *, max_tokens: int) -> list[list[Example]]:
        """Return the micro-batches of a step's rows."""
        split = split_end_to_end if self.strategy.lays_end_to_end else split_padded
        together = [row for row in examples if len(row.token_ids) <= self._longest_together]
        alone = [row for row in examples if len(row.token_ids) > self._longest_together]
        return split(together, max_tokens=max_tokens) + [[row] for row in alone]

    def size_of(self, examples: Sequence[Example]) -> int:
        """Return the tokens that go through the model for one micro-batch, padding included."""
        lengths = [len(example.token_ids) for example in examples]
        if not self.strategy.lays_end_to_end:
            return len(lengths) * max(lengths)
        # For each number of rows, oneDNN compiles a product in bf16 anew, and keeps it: 1 ms and 1 MB or so
        return of_few(sum(lengths)) if self.strategy.rounds_weights else sum(lengths)

    def summed_loss(self, examples: Sequence[Example]) -> Tensor:
        """Return the sum of the cross entropies of one micro-batch's supervised tokens."""
        batch = self._to_tensors(examples)
        if self.strategy.calls_head_apart:
            hidden = _rows_of(self._hidden(batch), batch.predicting)
            head = cast(nn.Linear, self._inner.get_output_embeddings())
            return summed_cross_entropy(hidden, head, batch.targets)
        logits = _rows_of(self._logits(batch), batch.predicting)
        return cross_entropy(logits.float(), batch.targets, reduction="sum")

    def token_losses(self, examples: Sequence[Example]) -> tuple[Tensor, Tensor]:
        """Return of one micro-batch's supervised tokens, row by row: their cross entropies, and whether each
        is the likeliest token. Has no gradient.
        """
        batch = self._to_tensors(examples)
        if self.strategy.calls_head_apart:
            hidden = _rows_of(self._hidden(batch), batch.predicting)
            return cross_entropies(
                hidden, cast(nn.Linear, self._inner.get_output_embeddings()), batch.targets
            )
        logits = _rows_of(self._logits(batch), batch.predicting).float()
        losses = cross_entropy(logits, batch.targets, reduction="none")
        return losses, logits.argmax(dim=-1) == batch.targets

    def _to_tensors(self, examples: Sequence[Example]) -> MicroBatch:
        if not self.strategy.lays_end_to_end:
            return padded(examples, self._model.device)
        return end_to_end(examples, self._model.device, num_tokens=self.size_of(examples))

    def _hidden(self, batch: MicroBatch) -> Tensor:
        return cast(Tensor, self._call(self._inner.get_decoder(), batch).last_hidden_state)

    def _logits(self, batch: MicroBatch) -> Tensor:
        return cast(Tensor, self._call(self._model, batch).logits)

    def _call(self, module: nn.Module, batch: MicroBatch) -> Any:
        for positions in self._growing:
            _forget_longest(positions)
        bounds = {} if batch.rows is None else {"position_ids": batch.positions, "rows": batch.rows}
        return module(**self._inputs(batch), use_cache=False, **bounds)

    @cached_property
    def _longest_together(self) -> float:
        """Tokens beyond which a row would change the positions of those beside it."""
        return min((_trained_positions(positions) for positions in self._growing), default=math.inf)

    @cached_property
    def _growing(self) -> list[nn.Module]:
        return [module for module in self._model.modules() if keeps_longest(module)]

    def _inputs(self, batch: MicroBatch) -> dict[str, Tensor]:
        if self.neftune_alpha is None or not self._model.training:
            return {"input_ids": batch.token_ids}
        embeddings = self._inner.get_input_embeddings()(batch.token_ids)
        return {"inputs_embeds": add_neftune_noise(embeddings, batch.row_lengths, self.neftune_alpha)}

    # ---- trying a strategy

    @property
    def has_plain_head(self) -> bool:
        """Whether the head is one product and nothing else."""
        head = self._inner.get_output_embeddings()
        return type(head) is nn.Linear and head.bias is None

    def logits(self, examples: Sequence[Example]) -> Tensor:
        """Return the logits of all positions of rows that are not padded, one behind the other."""
        batch = self._to_tensors(examples)
        if self.strategy.calls_head_apart:
            head = cast(nn.Linear, self._inner.get_output_embeddings())
            logits = cast(Tensor, head(self._hidden(batch)))
        else:
            logits = self._logits(batch)
        return logits.flatten(0, 1)[: sum(len(example.token_ids) for example in examples)]


def base_of(model: PreTrainedModel) -> PreTrainedModel:
    """Return the model itself, which PEFT may have wrapped."""
    inner: PreTrainedModel = model.get_base_model() if isinstance(model, PeftModel) else model
    return inner


def keeps_longest(module: nn.Module) -> bool:
    """Return whether rotary positions depend on the longest row seen, as "dynamic" and "longrope" do."""
    kinds = getattr(module, "rope_type", None)
    names = [str(kind) for kind in (kinds.values() if isinstance(kinds, dict) else [kinds])]
    return any("dynamic" in name or name == "longrope" for name in names)


def _trained_positions(positions: Any) -> int:
    """Return the length up to which a model has ordinary positions."""
    settings = getattr(getattr(positions, "config", None), "rope_parameters", None) or {}
    limit: int = settings.get("original_max_position_embeddings") or positions.original_max_seq_len
    return limit


def _forget_longest(positions: nn.Module) -> None:
    """Have the frequencies computed from the next rows alone: a worker that starts has seen no others."""
    for name in [name for name in vars(positions) if name.endswith("max_seq_len_cached")]:
        setattr(positions, name, 0)


def _rows_of(tensor: Tensor, positions: Tensor) -> Tensor:
    return tensor.flatten(0, 1).index_select(0, positions)


@torch.no_grad()
def choose_forward_strategy(model: PreTrainedModel) -> ForwardStrategy:
    """Return the fastest strategy for `model` that computes the same as one row after the other.

    Call it under the autocast of training.
    """
    was_training = model.training
    model.eval()
    try:
        examples = _made_up_rows(model)
        plain = Forward(model, ForwardStrategy())
        expected = _one_by_one(plain, examples)
        apart = Forward(model, ForwardStrategy(calls_head_apart=plain.has_plain_head))
        # To the bit: logits that are cut off softly differ by very little as long as they are small
        if not _agrees(lambda: _one_by_one(apart, examples), expected, EXACT):
            apart = plain
        joined = replace(apart.strategy, lays_end_to_end=True)
        return joined if _may_join(model, joined, examples, expected) else apart.strategy
    finally:
        model.train(was_training)


@torch.no_grad()
def probe_logits(model: PreTrainedModel) -> Tensor:
    """Return the logits of some made-up rows, which go through the model one by one."""
    was_training = model.training
    model.eval()
    try:
        return _one_by_one(Forward(model, ForwardStrategy()), _made_up_rows(model))
    finally:
        model.train(was_training)


def _one_by_one(forward: Forward, examples: list[Example]) -> Tensor:
    return torch.cat([forward.logits([example]) for example in examples])


def _may_join(
    model: PreTrainedModel, strategy: ForwardStrategy, examples: list[Example], expected: Tensor
) -> bool:
    inner = base_of(model)
    before = inner.config._attn_implementation
    joined = Forward(model, strategy)
    has_taken = inner.config._attn_implementation == attention.NAME
    may = has_taken and _agrees(lambda: joined.logits(examples), expected, ROUNDING[expected.dtype])
    if not may:
        logger.info("rows of this model are padded: its attention cannot process them end to end")
    inner.set_attn_implementation(before)
    return may


def _agrees(compute: Callable[[], Tensor], expected: Tensor, tolerance: float) -> bool:
    try:
        found = compute()
    except REFUSALS as error:
        logger.info("a faster strategy was refused by the model: %s", error)
        return False
    return bool((found - expected).abs().max() <= tolerance * expected.abs().max())


def _made_up_rows(model: PreTrainedModel) -> list[Example]:
    # Its weight, as an adapter may stand in the place of the embedding
    vocabulary = len(cast(nn.Embedding, model.get_input_embeddings()).weight)
    rows = []
    for number, length in enumerate(PROBE_LENGTHS):
        token_ids = [(97 * number + 31 * position + 5) % vocabulary for position in range(length)]
        rows.append(Example(token_ids, token_ids, length - 1, is_truncated=False))
    return rows
