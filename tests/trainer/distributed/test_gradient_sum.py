"""Gradients travel in buckets, and a weight that nobody has a gradient for stays without."""

import os
from typing import Any

import pytest
import torch
from torch import distributed, nn

from trainer.distributed.gradient_sum import RankLost, add_up, buckets, join_ranks


@pytest.fixture
def alone():
    """A group of one process."""
    store = os.memfd_create("store")
    join_ranks(store, rank=0, num_ranks=1, device=torch.device("cpu"))
    yield
    distributed.destroy_process_group()
    os.close(store)


@pytest.mark.parametrize(
    "sizes, grouped",
    [([], []), ([4], [[4]]), ([2, 2, 1], [[2, 2], [1]]), ([1, 9, 1], [[1], [9], [1]]), ([9, 9], [[9], [9]])],
)
def test_neighbours_share_a_bucket_up_to_its_size(sizes, grouped):
    tensors = [torch.zeros(size, dtype=torch.uint8) for size in sizes]

    assert [[one.nbytes for one in bucket] for bucket in buckets(tensors, 4)] == grouped


def test_a_bucket_holds_numbers_of_one_type():
    tensors = [torch.zeros(1, dtype=dtype) for dtype in (torch.float32, torch.float32, torch.bfloat16)]

    assert [len(bucket) for bucket in buckets(tensors, 1000)] == [2, 1]


@pytest.mark.usefixtures("alone")
def test_a_sum_over_one_process_changes_nothing_and_gives_no_gradient_where_there_is_none():
    model = nn.ModuleDict({"used": nn.Linear(3, 2), "unused": nn.Linear(3, 2), "frozen": nn.Linear(3, 2)})
    model["frozen"].requires_grad_(False)
    model["used"](torch.ones(1, 3)).sum().backward()
    expected = [weight.grad.clone() for weight in model["used"].parameters()]

    loss, tokens = add_up(model, torch.tensor(0.5), 8192)

    assert (float(loss), tokens) == (0.5, 8192)
    assert all(map(torch.equal, (weight.grad for weight in model["used"].parameters()), expected))
    assert [weight.grad for name in ("unused", "frozen") for weight in model[name].parameters()] == [None] * 4


def test_a_micro_batch_is_as_small_as_the_smallest_memory_of_all_needs_it(monkeypatch):
    def reduce(tensor: torch.Tensor, operation: Any) -> None:
        if operation == distributed.ReduceOp.MIN:
            tensor.clamp_(max=30)  # what fitted elsewhere

    monkeypatch.setattr(distributed, "all_reduce", reduce)

    _, tokens = add_up(nn.Linear(1, 1), torch.tensor(0.5), 100)

    assert tokens == 30


@pytest.mark.usefixtures("alone")
def test_when_the_others_cannot_be_reached_a_rank_is_lost(monkeypatch):
    def fail(tensor: torch.Tensor, operation: Any) -> None:
        raise RuntimeError("Connection reset by peer")

    monkeypatch.setattr(distributed, "all_reduce", fail)

    with pytest.raises(RankLost, match="Connection reset by peer"):
        add_up(nn.Linear(1, 1), torch.tensor(0.5), 1)
