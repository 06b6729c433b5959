"""An average of the weights of many steps, kept beside those that are trained.

At a constant learning rate the weights never settle: each step moves them past what the data asks for. Their
average over many steps is about where a falling learning rate would have led (Polyak and Juditsky, 1992;
Izmailov et al., "Averaging Weights Leads to Wider Optima and Better Generalization", 2018).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor

AverageKind = Literal["ema", "window"]
UPDATES_PER_HALF_LIFE = 16
"""More of them change the average by less than the noise of a step, and take more time."""


class WeightAverage:
    """The average of some weights, in fp32 and on their device.

    `ema`: with a half-life of h steps, a <- a + (1 - 2^(-k/h)) (w - a) takes the newest weights w in, k steps
    after the update before. The first updates are a plain mean, so that the weights of the start do not stay.
    `window`: the plain mean of the newest h to 2 h steps; the older half is dropped at once.

    Args:
        weights: those that are trained.
        kind: which average.
        steps: h.
    """

    def __init__(self, weights: Sequence[Tensor], kind: AverageKind, steps: int) -> None:
        self._weights = list(weights)
        self.kind: AverageKind = kind
        self.steps = steps
        self._taken = 0  # steps since the average began
        self._in_newest = 0  # updates that the newest mean is made of
        self._in_older = 0
        self._newest = [weight.detach().float().clone() for weight in self._weights]
        self._older: list[Tensor] = []

    @property
    def every(self) -> int:
        """Steps between two updates."""
        return max(1, self.steps // UPDATES_PER_HALF_LIFE)

    def note_step(self) -> None:
        """Take note of a step that was just taken."""
        self._taken += 1
        if self._taken % self.every == 0:
            self._update()

    @torch.no_grad()
    def _update(self) -> None:
        if self.kind == "window" and self._in_newest * self.every >= self.steps:
            spare = self._older or [torch.zeros_like(mean) for mean in self._newest]
            self._older, self._in_older = self._newest, self._in_newest
            self._newest, self._in_newest = spare, 0
        self._in_newest += 1
        share = 1 / self._in_newest
        if self.kind == "ema":
            share = max(share, 1 - 0.5 ** (self.every / self.steps))
        newest = [weight.detach().float() for weight in self._weights]
        torch._foreach_lerp_(self._newest, newest, share)

    @torch.no_grad()
    def values(self) -> list[Tensor]:
        """Return the average of each weight; not to be changed."""
        if not self._in_older:
            return self._newest
        share = self._in_newest / (self._in_newest + self._in_older)
        return list(torch._foreach_lerp(self._older, self._newest, share))

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the model have the averages for weights while the block lasts. Nothing may be trained in it."""
        trained = [weight.data for weight in self._weights]
        try:
            for weight, average in zip(self._weights, self.values(), strict=True):
                weight.data = average.to(weight.dtype)
            yield
        finally:
            for weight, own in zip(self._weights, trained, strict=True):
                weight.data = own

    def state_dict(self) -> dict[str, Any]:
        """Return all that it takes to continue."""
        return {
            "kind": self.kind,
            "steps": self.steps,
            "taken": self._taken,
            "in_newest": self._in_newest,
            "in_older": self._in_older,
            "newest": self._newest,
            "older": self._older,
        }

    @classmethod
    def of_state(cls, weights: Sequence[Tensor], state: dict[str, Any]) -> "WeightAverage":
        """Return the average that `state_dict` was called of.

        Args:
            weights: in the same order.
        """
        average = cls(weights, state["kind"], state["steps"])
        average._taken, average._in_newest, average._in_older = (
            state[name] for name in ("taken", "in_newest", "in_older")
        )
        for name, kept in (("newest", average._newest), ("older", average._older)):
            # There are no older ones at first
            saved = zip(state[name], weights, strict=bool(state[name]))
            kept[:] = [mean.to(weight.device) for mean, weight in saved]
        return average
