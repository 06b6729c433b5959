"""In which numbers a step computes."""

import trainer.step.light_peft  # noqa: F401

# isort: split

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import embedding
from transformers import PreTrainedModel

from trainer.config.schema import TrainingSettings
from trainer.protocol.faults import is_out_of_memory
from trainer.step.forward import ROUNDING, ForwardStrategy, base_of, choose_forward_strategy, probe_logits

CANNOT_ROUND = (RuntimeError, TypeError, AttributeError)
"""What a model raises that makes tensors of its own in fp32 and multiplies them by rounded ones."""

logger = logging.getLogger(__name__)


def choose_precision(settings: TrainingSettings) -> str:
    """Return the number format to compute in: `bf16`, `fp16` or `fp32`; on a CPU, `auto` may change it."""
    if settings.precision != "auto":
        return settings.precision
    has_gpu = settings.device != "cpu" and torch.cuda.is_available()
    return "bf16" if has_gpu and torch.cuda.is_bf16_supported() else "fp32"


def has_bf16_instructions() -> bool:
    """Return whether this processor multiplies in bf16, rather than converts to fp32 and back."""
    known = torch.cpu.get_capabilities()
    return any(known.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16"))


class RoundedWeights:
    """Lets a model compute in bf16 while its weights, and what is added up to change them, stay in fp32.

    Autocast rounds the weights once for each micro-batch, and converts the activations back and forth between
    layers. Here they are rounded once for each step, and activations stay in bf16 from the embedding to the
    head. Sums over many numbers are fp32: within products, norms and softmax, in the attention of rows that
    lie end to end, in the loss, and in the gradients of embeddings and of micro-batches.

    Args:
        model: whose weights are fp32. Its embeddings are made to add up their gradients in fp32, too.
    Raises:
        TypeError: an embedding is of a kind that cannot be made to.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self._weights = [weight for weight in model.parameters() if weight.dtype == torch.float32]
        if unusual := _trained_unusual_embedding(model):
            raise TypeError(f"{unusual} adds up its gradients in bf16")
        for table in filter(_is_plain, _embeddings(model)):
            _add_up_in_fp32(table)
        for weight in self._weights:
            if weight.requires_grad:
                weight.grad_dtype = torch.float32

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the model have the rounded weights while the block lasts; gradients in it are fp32."""
        exact = [weight.data for weight in self._weights]
        try:
            for weight in self._weights:
                weight.data = weight.data.to(torch.bfloat16)
            yield
        finally:
            for weight, own in zip(self._weights, exact, strict=True):
                gradient, weight.grad = weight.grad, None
                weight.data = own
                weight.grad = gradient


def strategy_with_precision(
    model: PreTrainedModel,
    settings: TrainingSettings,
    device: torch.device,
    earlier: ForwardStrategy | None,
    *,
    bf16_is_faster: Callable[[PreTrainedModel], bool] = lambda model: False,
) -> ForwardStrategy:
    """Return how rows go through the model in the precision of the settings.

    Args:
        earlier: of a checkpoint, which stays as it is while the precision does.
        bf16_is_faster: asked about a new model on a CPU where the settings leave its precision open.
    """
    precision = choose_precision(settings)
    is_open = settings.precision == "auto" and device.type == "cpu"
    if is_open and earlier:
        precision = "bf16" if earlier.precision == "bf16" and has_bf16_instructions() else "fp32"
    elif is_open and _may_round(settings) and bf16_is_faster(model):
        precision = "bf16"
    may_round = precision == "bf16" and device.type == "cpu" and _may_round(settings)
    if may_round and (unusual := _trained_unusual_embedding(model)):
        logger.info("this model uses autocast: %s adds up its gradients in bf16", unusual)
        may_round = False
    if earlier and (earlier.precision, earlier.rounds_weights) == (precision, may_round):
        return earlier
    if may_round and (rounded := _try_rounding(model, earlier)):
        return rounded
    if is_open and not earlier:  # autocast would be slower than fp32
        precision = "fp32"
    with autocast_to(precision, device):
        strategy = earlier or choose_forward_strategy(model)
    return replace(strategy, precision=precision, rounds_weights=False)


def change_of_precision(earlier: ForwardStrategy, now: ForwardStrategy) -> str | None:
    """Return what to say if a model computes in other numbers than so far; None if it does not."""
    if earlier.precision not in ("", now.precision):
        return (
            f"this model was trained in {earlier.precision} so far, and is trained in {now.precision} from "
            f"here on, so its weights will not be those of training in {earlier.precision}, bit for bit; for "
            f'that, set training.precision to "{earlier.precision}"'
        )
    if earlier.rounds_weights != now.rounds_weights:
        how = "once for each step" if now.rounds_weights else "by autocast"
        return (
            f"training in bf16 rounds the weights of this model {how} from here on, and so far did not, so "
            "they will not be, bit for bit, what they would have become before"
        )
    return None


def _may_round(settings: TrainingSettings) -> bool:
    """DoRA divides weights by norms of theirs, which would be rounded; four bits are unpacked into bf16 as
    they are needed; and what is compiled is compiled for one format.
    """
    return not (settings.compile or settings.lora_dora or settings.method == "qlora")


def autocast_to(precision: str, device: torch.device) -> torch.autocast:
    """Return a block in which products are computed in that precision."""
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
    return torch.autocast(device.type, dtype=dtype or torch.bfloat16, enabled=dtype is not None)


@torch.no_grad()
def _try_rounding(model: PreTrainedModel, earlier: ForwardStrategy | None) -> ForwardStrategy | None:
    """Return how rows go through the model with rounded weights; None if it cannot compute with them."""
    expected = probe_logits(model)
    try:
        with RoundedWeights(model).in_place():
            found = probe_logits(model).float()
            difference, largest = (found - expected).abs().max(), expected.abs().max()
            if not difference <= ROUNDING[torch.bfloat16] * largest:  # also where it is no number
                logger.info("this model uses autocast: with rounded weights, logits differ by %g", difference)
                return None
            strategy = earlier or choose_forward_strategy(model)
    except CANNOT_ROUND as error:
        if is_out_of_memory(error):
            raise
        logger.info("this model uses autocast: it cannot compute with rounded weights: %s", error)
        return None
    return replace(strategy, precision="bf16", rounds_weights=True)


def _embeddings(model: PreTrainedModel) -> set[nn.Module]:
    """Return what looks up rows by numbers of tokens, also what a library has put around that."""
    tables = [module for module in model.modules() if isinstance(module, nn.Embedding)]
    return {base_of(model).get_input_embeddings(), *tables}


def _trained_unusual_embedding(model: PreTrainedModel) -> str | None:
    """Return the kind of a trained embedding that cannot be made to add up its gradients in fp32, or None."""
    for table in _embeddings(model):
        if not _is_plain(table) and any(weight.requires_grad for weight in table.parameters()):
            return type(table).__name__
    return None


def _is_plain(table: nn.Module) -> bool:
    """Return whether an embedding does nothing but look up rows."""
    return type(table) is nn.Embedding and not (table.max_norm or table.scale_grad_by_freq or table.sparse)


def _add_up_in_fp32(module: nn.Module) -> None:
    """Have the gradients of a token's occurrences added up in fp32: in bf16, what is small would be lost."""
    assert isinstance(module, nn.Embedding)

    def forward(token_ids: Tensor) -> Tensor:
        if module.weight.dtype == torch.float32:
            return embedding(token_ids, module.weight, module.padding_idx)
        rounded = _Embedding.apply(token_ids, module.weight, module.padding_idx)  # type: ignore[no-untyped-call]
        return cast(Tensor, rounded)

    module.forward = forward  # type: ignore[method-assign,assignment]


class _Embedding(torch.autograd.Function):
    """Rows of a table by their number; the gradient of the table is fp32 whatever its format."""

    @staticmethod
    def forward(ctx: Any, token_ids: Tensor, weight: Tensor, padding: int | None) -> Tensor:
        ctx.save_for_backward(token_ids)
        ctx.size, ctx.padding = len(weight), -1 if padding is None else padding
        return embedding(token_ids, weight)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator,unused-ignore]
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor | None, None]:
        if not ctx.needs_input_grad[1]:
            return None, None, None
        [token_ids] = ctx.saved_tensors
        full = torch.ops.aten.embedding_dense_backward(
            gradient.float(), token_ids, ctx.size, ctx.padding, False
        )
        return None, full, None
