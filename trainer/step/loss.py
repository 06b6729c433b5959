"""The loss of one micro-batch.

Shapes: K = positions that predict a supervised token, E = size of a hidden state, V = vocabulary.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import cross_entropy, linear, pad

from trainer.step.micro_batches import of_few

LOGITS_BYTES = {"cpu": 8 * 2**20, "cuda": 256 * 2**20}  # of one chunk, in fp32; more was not faster
LEAST_ROWS = 64  # of a chunk: each adds to the whole gradient of the head, which takes its time


def summed_cross_entropy(hidden: Tensor, head: nn.Linear, targets: Tensor) -> Tensor:
    """Return the sum of the cross entropies of `targets`, without ever holding all logits.

    The logits of a chunk of positions are computed, turned into its gradients at once, and forgotten. So
    nothing is computed twice, and the largest tensor is chunk x vocabulary.

    Args:
        hidden: (K, E) final hidden states at the positions that predict.
        head: without bias.
        targets: (K,) token ids.
    """
    total: Tensor = _SummedCrossEntropy.apply(hidden, head.weight, targets)  # type: ignore[no-untyped-call]
    return total


@torch.no_grad()
def cross_entropies(hidden: Tensor, head: nn.Linear, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return the cross entropy of each target, and whether it is the likeliest token; without a gradient.

    Args:
        hidden: (K, E) as for `summed_cross_entropy`.
        head: without bias.
        targets: (K,) token ids.
    Returns:
        (K,) and (K,)
    """
    size = _chunk_rows(hidden.device.type, len(head.weight))
    losses, hits = [], []
    for chunk, wanted in zip(torch.split(hidden, size), torch.split(targets, size), strict=True):
        logits = linear(_filled_up(chunk.to(head.weight.dtype)), head.weight)[: len(chunk)].float()
        losses.append(cross_entropy(logits, wanted, reduction="none"))
        hits.append(logits.argmax(dim=-1) == wanted)
    return torch.cat(losses), torch.cat(hits)


class _SummedCrossEntropy(torch.autograd.Function):
    """Forward computes the gradients of hidden states and head, too; backward scales them.

    d loss / d logits = softmax(logits) - one_hot(target), for each position.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        for_hidden, for_weight, _ = ctx.needs_input_grad
        device = hidden.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype
        factors = _filled_up(hidden.to(dtype)), weight.to(dtype)
        hidden_gradient = torch.empty_like(factors[0]) if for_hidden else None
        sums_in = torch.promote_types(weight.dtype, torch.float32)
        weight_gradient = torch.zeros_like(weight, dtype=sums_in) if for_weight else None
        total = torch.zeros((), device=hidden.device)
        with torch.autocast(device, enabled=False):
            for start in range(0, len(factors[0]), size := _chunk_rows(device, len(weight))):
                chunk = slice(start, start + size)
                loss, error = _loss_and_error(factors[0][chunk], factors[1], targets[chunk])
                total += loss
                if hidden_gradient is not None:
                    torch.mm(error, factors[1], out=hidden_gradient[chunk])
                if weight_gradient is not None:
                    _add_product(weight_gradient, error, factors[0][chunk])
        if hidden_gradient is not None:
            hidden_gradient = hidden_gradient[: len(hidden)]
        ctx.save_for_backward(hidden_gradient, weight_gradient)
        return total

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator,unused-ignore]
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        hidden_gradient, weight_gradient = (
            None if gradient is None else gradient.mul_(scale) for gradient in ctx.saved_tensors
        )
        return hidden_gradient, weight_gradient, None


def _chunk_rows(device: str, vocabulary: int) -> int:
    return max(LEAST_ROWS, LOGITS_BYTES.get(device, LOGITS_BYTES["cpu"]) // (4 * vocabulary))


def _filled_up(hidden: Tensor) -> Tensor:
    """Return hidden states with rows of zeros behind them, where few numbers of rows are better than many."""
    if hidden.dtype != torch.bfloat16 or hidden.device.type != "cpu":
        return hidden
    return pad(hidden, (0, 0, 0, of_few(len(hidden)) - len(hidden)))


def _loss_and_error(hidden: Tensor, weight: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return the summed loss of a chunk and its gradient by the logits, in the format of the factors.

    Rows behind those that have a target add nothing.
    """
    log_probabilities = linear(hidden, weight).float().log_softmax(dim=-1)
    at_targets = targets.unsqueeze(1)
    loss = -log_probabilities[: len(targets)].gather(1, at_targets).sum()
    error = log_probabilities.exp_()
    error[len(targets) :] = 0
    error[: len(targets)].scatter_add_(1, at_targets, torch.full_like(at_targets, -1, dtype=error.dtype))
    return loss, error.to(hidden.dtype)


def _add_product(total: Tensor, error: Tensor, hidden: Tensor) -> None:
    if total.dtype == error.dtype:
        total.addmm_(error.t(), hidden)
    else:
        total += error.t() @ hidden
