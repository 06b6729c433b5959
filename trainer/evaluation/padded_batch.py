"""Rows that go through a model together, and how much that changes by rounding.

Rows are padded on the left, and a row that has ended leaves the others. Models differ in what they make of
padding (state that runs from token to token, caches of their own), so whether one can do this at all is tried
on made-up rows. Shapes: B = rows of the batch, T = tokens so far, V = vocabulary.
"""

import logging
from collections.abc import Sequence
from inspect import signature
from typing import Any, cast
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from trainer.evaluation.roomy_cache import make_room
from trainer.protocol.faults import is_out_of_memory
from trainer.step.forward import keeps_longest

PROBE_LENGTHS = (7, 12, 5)
PROBE_TOKENS = 3  # that each made-up row goes on for
SAFETY = 16  # times the difference measured on made-up rows, which are few and short
LARGEST_TOLERANCE = 1e-3
# What models raise that take no padding, no cache or no positions, or whose cache cannot let go of a row
REFUSALS = (TypeError, AttributeError, ValueError, LookupError, AssertionError, RuntimeError)

logger = logging.getLogger(__name__)
_tolerances: WeakKeyDictionary[PreTrainedModel, float | None] = WeakKeyDictionary()


class PaddedBatch:
    """Prompts, and the tokens that each has so far.

    Args:
        most_new: tokens that a row gets at most.
    """

    def __init__(self, model: PreTrainedModel, prompts: Sequence[list[int]], *, most_new: int) -> None:
        self._model = model
        self._most_new = most_new
        longest = max(map(len, prompts))
        padding = [longest - len(prompt) for prompt in prompts]
        padded = [[0] * pad + prompt for pad, prompt in zip(padding, prompts, strict=True)]
        is_token = [[0] * pad + [1] * (longest - pad) for pad in padding]
        self._new = torch.tensor(padded, device=model.device)
        self._mask = torch.tensor(is_token, device=model.device)  # (B, T)
        self._positions = (self._mask.cumsum(-1) - 1).clamp(min=0)  # of what is new
        self._cache: Any = None

    def logits(self) -> Tensor:
        """Return (B, V): of what comes after the newest token."""
        output = cast(Any, self._model)(
            input_ids=self._new,
            attention_mask=self._mask,
            position_ids=self._positions,
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        )
        if self._cache is None:
            self._cache = output.past_key_values
            make_room(self._cache, room=self._most_new)
        return cast(Tensor, output.logits[:, -1])

    def go_on(self, tokens: Sequence[int], *, kept: Sequence[int]) -> None:
        """Append a token to each row that is kept, and let go of the others.

        Args:
            tokens: one for each row that is kept.
            kept: the places of these rows; no row moves back.
        """
        self._positions = self._positions[:, -1:] + 1
        if len(kept) < len(self._mask):
            places = torch.tensor(kept, device=self._mask.device)
            self._cache.batch_select_indices(places)
            self._mask, self._positions = self._mask[places], self._positions[places]
        self._new = torch.tensor(tokens, device=self._mask.device)[:, None]
        self._mask = torch.cat([self._mask, torch.ones_like(self._new)], dim=-1)


def tolerance_of(model: PreTrainedModel) -> float | None:
    """Return by how much one logit must exceed another, as a share of the largest, to do so however sums are
    rounded.

    Call it where the model generates. It is measured once for each model.

    Returns:
        None if rows that go through the model together come out differently, or rounded so coarsely that
        hardly any choice would be certain.
    """
    if model not in _tolerances:
        _tolerances[model] = _measure(model)
    return _tolerances[model]


@torch.no_grad()
def _measure(model: PreTrainedModel) -> float | None:
    has_growing_positions = any(map(keeps_longest, model.modules()))
    if has_growing_positions or "logits_to_keep" not in signature(model.forward).parameters:
        return None
    try:
        tolerance = max(map(_tolerance_of_row, *_probe(model)))
    except REFUSALS as error:
        if is_out_of_memory(error):
            raise
        logger.info("this model answers questions one by one: %s", error)
        return None
    if not tolerance <= LARGEST_TOLERANCE:  # also where it is no number
        logger.info(
            "this model answers questions one by one: in a batch, logits differ by %.2g", tolerance / SAFETY
        )
        return None
    return tolerance


def _tolerance_of_row(together: Tensor, alone: Tensor) -> float:
    difference = (together.float() - alone.float()).abs().max() / alone.float().abs().max()
    return float(SAFETY * torch.clamp(difference, min=SAFETY * torch.finfo(together.dtype).eps))


def _probe(model: PreTrainedModel) -> tuple[list[Tensor], list[Tensor]]:
    """Return logits of made-up rows that go through the model together, and of each one alone."""
    vocabulary = len(cast(nn.Embedding, model.get_input_embeddings()).weight)
    rows = [
        [(97 * number + 31 * place + 5) % vocabulary for place in range(length + PROBE_TOKENS)]
        for number, length in enumerate(PROBE_LENGTHS)
    ]
    lengths = dict(enumerate(PROBE_LENGTHS))
    prompts = [rows[number][:length] for number, length in lengths.items()]
    batch = PaddedBatch(model, prompts, most_new=PROBE_TOKENS)
    together: list[Tensor] = []
    alone: list[Tensor] = []
    for _ in range(PROBE_TOKENS):
        together.extend(batch.logits())
        for number, length in lengths.items():
            row = torch.tensor([rows[number][:length]], device=model.device)
            alone.append(cast(Any, model)(input_ids=row, use_cache=False).logits[0, -1])
        kept = list(range(len(lengths)))
        if len(lengths) == len(rows):  # the first leaves, and the last takes its place
            kept, lengths = [2, 1], {2: lengths[2], 1: lengths[1]}
        lengths = {number: length + 1 for number, length in lengths.items()}
        batch.go_on([rows[number][length - 1] for number, length in lengths.items()], kept=kept)
    return together, alone
