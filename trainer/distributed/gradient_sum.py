"""Add up loss and gradient over the processes that share a step, so that all take the same step.

Not by `DistributedDataParallel`: it sums while the gradient is computed, and expects one of every process.
Here one may have run out of memory and started again, and another have no rows.
"""

import os
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import torch
from torch import Tensor, distributed, nn

PATIENCE = timedelta(days=1)  # for each other; it is the daemon that finds out who hangs
BUCKET_BYTES = 64 * 2**20  # many small tensors travel together


class RankLost(RuntimeError):
    """Another process that shares the steps is gone."""


def join_ranks(meeting_file: Path, *, rank: int, num_ranks: int, device: torch.device) -> None:
    """Meet the other processes; return when all are there.

    Args:
        meeting_file: that all of them can open, and nobody else.
    """
    # All are here, whatever the name of this machine resolves to; who starts some elsewhere says otherwise
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    meeting = distributed.FileStore(str(meeting_file), num_ranks)  # type: ignore[attr-defined]  # not in its `__all__`
    meeting.set_timeout(PATIENCE)
    backend = "nccl" if device.type == "cuda" else "gloo"
    distributed.init_process_group(backend, store=meeting, rank=rank, world_size=num_ranks, timeout=PATIENCE)


def add_up(model: nn.Module, loss: Tensor, tokens: int) -> tuple[Tensor, int]:
    """Replace the gradient of `model` by the sum over all processes.

    Args:
        tokens: of a micro-batch that fits into this process's memory.
    Returns:
        The sum of all losses, and the tokens that fit into the memory of each.
    Raises:
        RankLost: one of them is gone.
    """
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    # A weight that no process has a gradient for must stay without: a zero would let its moments move it
    has_gradient = torch.tensor([float(weight.grad is not None) for weight in weights], device=loss.device)
    head = torch.cat([loss.detach().float().reshape(1), has_gradient])
    _reduce(head)
    fits = torch.tensor(tokens, device=loss.device)
    _reduce(fits, distributed.ReduceOp.MIN)
    used = [weight for weight, count in zip(weights, head[1:].tolist(), strict=True) if count]
    sum_in_place([_gradient(weight) for weight in used])
    return head[0], int(fits)


def _gradient(weight: nn.Parameter) -> Tensor:
    if weight.grad is None:
        weight.grad = torch.zeros_like(weight)
    return weight.grad


def sum_in_place(tensors: Sequence[Tensor]) -> None:
    """Replace each tensor by its sum over all processes, which is the same to the last bit in all of them."""
    for bucket in buckets(tensors, BUCKET_BYTES):
        flat = torch.cat([tensor.reshape(-1) for tensor in bucket])
        _reduce(flat)
        for tensor, total in zip(
            bucket, torch.split(flat, [tensor.numel() for tensor in bucket]), strict=True
        ):
            tensor.copy_(total.view_as(tensor))


def _reduce(flat: Tensor, by: distributed.ReduceOp.RedOpType = distributed.ReduceOp.SUM) -> None:
    try:
        distributed.all_reduce(flat, by)
    except RuntimeError as error:
        raise RankLost(f"the gradients cannot be added up: {error}") from error


def buckets(tensors: Sequence[Tensor], max_bytes: int) -> Iterator[list[Tensor]]:
    """Group neighbours of one type up to `max_bytes`; a larger tensor goes alone."""
    bucket: list[Tensor] = []
    for tensor in tensors:
        fits = sum(one.nbytes for one in bucket) + tensor.nbytes <= max_bytes
        if bucket and not (fits and tensor.dtype == bucket[0].dtype):
            yield bucket
            bucket = []
        bucket.append(tensor)
    if bucket:
        yield bucket
