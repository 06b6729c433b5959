"""Time what no trainer can do without: forward, loss, backward and the optimizer's step; and clipping."""

import time
from typing import Any

import torch
from transformers import TrainerCallback

from scripts.benchmarks.contenders.side import Side


class ArithmeticClock(TrainerCallback):
    """Notes the seconds of each step from first forward to last backward, the optimizer's, and clipping's.

    On a CPU only, where a call returns when it is done.
    """

    def __init__(self, side: Side) -> None:
        self._seconds: list[float] = side.result.setdefault("arithmetic_s", [])
        self._clipping: list[float] = side.result.setdefault("clipping_s", [])
        self._forward_at: float | None = None
        self._backward_over_at = 0.0
        self._optimizer_at = 0.0
        self._optimizer_s = 0.0
        self._clipping_s = 0.0

    def on_train_begin(self, *args: Any, model: Any, optimizer: Any, **kwargs: Any) -> None:
        # The embeddings, because they are used however the rest of the model is called
        model.get_input_embeddings().register_forward_pre_hook(self._forward_begins)
        inner = getattr(optimizer, "optimizer", optimizer)  # accelerate wraps it
        inner.register_step_pre_hook(self._optimizer_begins)
        inner.register_step_post_hook(self._optimizer_ends)
        backward = torch.autograd.backward

        def timed_backward(*arguments: Any, **options: Any) -> None:
            backward(*arguments, **options)
            self._backward_over_at = time.perf_counter()

        torch.autograd.backward = timed_backward
        clip = torch.nn.utils.clip_grad_norm_

        def timed_clip(*arguments: Any, **options: Any) -> Any:
            began_at = time.perf_counter()
            norm = clip(*arguments, **options)
            self._clipping_s = time.perf_counter() - began_at
            return norm

        torch.nn.utils.clip_grad_norm_ = timed_clip

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        if self._forward_at is not None:
            self._seconds.append(self._backward_over_at - self._forward_at + self._optimizer_s)
            self._clipping.append(self._clipping_s)
        self._forward_at = None

    def _forward_begins(self, *ignored: Any) -> None:
        if self._forward_at is None:
            self._forward_at = time.perf_counter()

    def _optimizer_begins(self, *ignored: Any) -> None:
        self._optimizer_at = time.perf_counter()

    def _optimizer_ends(self, *ignored: Any) -> None:
        self._optimizer_s = time.perf_counter() - self._optimizer_at
