"""RMSNorm in fewer passes over memory than the models' own: on a CPU, small products wait for these.

Shapes: E = size of what is normalised.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import rms_norm

ROUNDING = 1e-5


def speed_up_norms(model: nn.Module) -> int:
    """Let a model's RMSNorm layers compute the same in fewer passes; return how many do.

    A layer is recognised by what it computes, not by its name alone: some add one to their weights.
    """
    return sum(_speed_up(module) for module in model.modules())


def _speed_up(module: nn.Module) -> bool:
    epsilon = getattr(module, "variance_epsilon", getattr(module, "eps", None))
    weight = getattr(module, "weight", None)
    if not (type(module).__name__.endswith("RMSNorm") and isinstance(weight, nn.Parameter) and epsilon):
        return False
    own: Callable[[Tensor], Tensor] = module.forward

    def forward(inputs: Tensor) -> Tensor:
        if inputs.dtype != weight.dtype:  # as under autocast, where the own one decides what is rounded
            return own(inputs)
        if inputs.is_cuda:
            return rms_norm(inputs, weight.shape, weight, epsilon)
        normalised: Tensor = _RMSNorm.apply(inputs, weight, epsilon)  # type: ignore[no-untyped-call]
        return normalised

    if not _computes_the_same(own, forward, weight):
        return False
    module.forward = forward
    return True


@torch.no_grad()
def _computes_the_same(
    own: Callable[[Tensor], Tensor], other: Callable[[Tensor], Tensor], weight: Tensor
) -> bool:
    sample = torch.linspace(-2.0, 3.0, weight.numel(), device=weight.device, dtype=weight.dtype).unsqueeze(0)
    expected = own(sample)
    return bool((other(sample) - expected).abs().max() <= ROUNDING * expected.abs().max())


class _RMSNorm(torch.autograd.Function):
    """y = w x / sqrt(mean(x^2) + epsilon) over the last dimension (Zhang and Sennrich, 2019).

    With n = x / sqrt(...) and the gradient g of y:
    d loss / d w = sum of g n over all vectors;  d loss / d x = (g w - n mean(g n w)) / sqrt(...).
    """

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        sums_in = torch.promote_types(inputs.dtype, torch.float32)
        norm: Tensor = torch.linalg.vector_norm(inputs, dim=-1, keepdim=True, dtype=sums_in)
        scale = norm.square_().div_(inputs.shape[-1]).add_(epsilon).rsqrt_()
        normalised = inputs * scale
        ctx.save_for_backward(normalised, weight, scale)
        return (normalised * weight).to(inputs.dtype)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator,unused-ignore]
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None, None]:
        normalised, weight, scale = ctx.saved_tensors
        dtype, weight = gradient.dtype, weight.to(normalised.dtype)
        weighted = gradient * normalised
        along = torch.matmul(weighted, weight).unsqueeze(-1).div_(-len(weight))
        for_inputs = torch.addcmul(gradient * weight, normalised, along).mul_(scale)
        for_weight = weighted.flatten(0, -2).sum(0) if ctx.needs_input_grad[1] else None
        return for_inputs.to(dtype), for_weight, None
