"""Attention over rows packed end to end in one sequence, each seeing only itself: no padding, and no mask.

Shapes: R = rows, T = tokens of all rows, H = heads, K = heads of keys and values, D = size of a head.

Installed under a name of its own in the transformers library's registry of attention functions. A name that
is not in its registry of masks gets none made, which would take T x T booleans.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

NAME = "rows_end_to_end"
HALF_PRECISION = (torch.float16, torch.bfloat16)  # the only formats of the kernels for GPUs
ON_ONE_SIDE = 0  # tokens to the right that a token sees


class UnsupportedAttention(ValueError):
    """A model's attention has a feature that is not known here."""


@dataclass(frozen=True, eq=False)
class RowBounds:
    """Where rows begin and end."""

    lengths: tuple[int, ...]
    """(R,) tokens of each row."""
    offsets: Tensor
    """(R + 1,) int32: where each row begins, and where the last one ends; on the device that computes."""

    @property
    def longest(self) -> int:
        return max(self.lengths)


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    rows: RowBounds | None = None,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **features: Any,
) -> tuple[Tensor, None]:
    """Return what each token gathers from the tokens of its row up to itself.

    Args:
        query: (B, H, T, D)
        key: (B, K, T, D)
        value: (B, K, T, D)
        rows: the rows that lie end to end; None when there is one in each of the B sequences.
        sliding_window: tokens that a token sees, itself included.
        features: of this model's attention.
    Returns:
        (B, T, H, D)
    Raises:
        UnsupportedAttention: one of `features` would have to be honoured.
    """
    for name in ("softcap", "s_aux", "position_bias"):
        if features.get(name) is not None:
            raise UnsupportedAttention(f"attention with {name} cannot be computed row by row")
    if rows is None:
        rows = RowBounds((query.shape[2],), torch.empty(0))
    elif query.is_cuda and not dropout and (dtype := half_precision(query)):
        q, k, v = (tensor[0].transpose(0, 1).to(dtype) for tensor in (query, key, value))
        return gpu_kernel()(q, k, v, rows, scaling, sliding_window).unsqueeze(0), None
    return _row_by_row(module, query, key, value, rows, dropout, scaling, sliding_window), None


def half_precision(query: Tensor) -> torch.dtype | None:
    """Return the format in which kernels for GPUs may attend; None where more precision is wanted.

    Under autocast a norm may have left queries in fp32, in which nobody wants them from here on.
    """
    device = query.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else query.dtype
    return dtype if dtype in HALF_PRECISION else None


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _row_by_row(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    rows: RowBounds,
    dropout: float,
    scaling: float | None,
    sliding_window: int | None,
) -> Tensor:
    """Attend with the library's own function, rows of equal length at once."""
    dtype = query.dtype
    if _is_slow(query):
        query, key, value = query.float(), key.float(), value.float()
    counts = [(length, len(list(equal))) for length, equal in groupby(rows.lengths)]
    sizes = [length * count for length, count in counts]
    queries, keys, values = (torch.split(tensor, sizes, dim=2) for tensor in (query, key, value))
    gathered = []
    for (length, count), q, k, v in zip(counts, queries, keys, values, strict=True):
        found, _ = sdpa_attention_forward(
            module,
            _one_by_one(q, count),
            _one_by_one(k, count),
            _one_by_one(v, count),
            attention_mask=_band(length, sliding_window, query.device),
            dropout=dropout,
            scaling=scaling,
        )
        gathered.append(found.view(-1, count * length, *found.shape[2:]))
    return torch.cat(gathered, dim=1).to(dtype)


def _is_slow(query: Tensor) -> bool:
    """Return whether fp32 is faster: on CPUs, the gradient of attention in bf16 takes twice as long."""
    is_bf16 = query.device.type == "cpu" and query.dtype == torch.bfloat16
    return is_bf16 and not torch.is_autocast_enabled("cpu")  # which would make it bf16 again


def _one_by_one(tensor: Tensor, count: int) -> Tensor:
    """(B, H, count rows end to end, D) -> (B x count, H, tokens of a row, D)."""
    num_sequences, num_heads, num_tokens, size = tensor.shape
    separate = tensor.view(num_sequences, num_heads, count, num_tokens // count, size)
    return separate.transpose(1, 2).flatten(0, 1)


def _band(length: int, window: int | None, device: torch.device) -> Tensor | None:
    """Return which token sees which; None when each sees all before it."""
    if window is None or length <= window:
        return None
    sees = torch.ones(length, length, dtype=torch.bool, device=device)
    return sees.tril().triu(1 - window)


Kernel = Callable[[Tensor, Tensor, Tensor, RowBounds, float | None, int | None], Tensor]
"""query, key, value (T, H or K, D), rows, scaling, window -> (T, H, D)"""


@cache
def gpu_kernel() -> Kernel:
    """Return the fastest kernel for rows of various lengths: of flash-attn if installed, else of torch."""
    try:
        from flash_attn import flash_attn_varlen_func  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        return _by_torch

    def by_flash_attn(
        query: Tensor, key: Tensor, value: Tensor, rows: RowBounds, scaling: float | None, window: int | None
    ) -> Tensor:
        found: Tensor = flash_attn_varlen_func(
            *(query, key, value),
            *(rows.offsets, rows.offsets),
            *(rows.longest, rows.longest),
            softmax_scale=scaling,
            causal=True,
            window_size=_window(window),
        )
        return found

    return by_flash_attn


def _by_torch(
    query: Tensor, key: Tensor, value: Tensor, rows: RowBounds, scaling: float | None, window: int | None
) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn

    found = varlen_attn(
        query,
        key,
        value,
        rows.offsets,
        rows.offsets,
        rows.longest,
        rows.longest,
        scale=scaling,
        window_size=_window(window),
        enable_gqa=query.shape[1] != key.shape[1],
    )
    assert isinstance(found, Tensor)
    return found


def _window(window: int | None) -> tuple[int, int]:
    return (-1 if window is None else window - 1, ON_ONE_SIDE)


AttentionInterface.register(NAME, attend)
