"""Detect a loss that spikes. Pure: numbers go in, an answer comes out."""

import math

NEWEST_WEIGHT = 0.05  # weight of the newest loss in average and spread
WARM_UP_STEPS = 30  # before the spread means anything
SPREADS = 6.0
LEAST_RATIO = 2.0  # a very steady loss would otherwise make a spike of any ripple


class LossSpikeDetector:
    """Compares each loss with an exponentially weighted average and spread of those before.

    (Finch, "Incremental calculation of weighted mean and variance", 2009, section 9.)
    """

    def __init__(self) -> None:
        self._mean = 0.0
        self._variance = 0.0
        self._seen = 0
        self._is_high = False

    def is_new_spike(self, loss: float) -> bool:
        """Note a finite loss; return whether a spike begins with it."""
        limit = max(LEAST_RATIO * self._mean, self._mean + SPREADS * math.sqrt(self._variance))
        was_high = self._is_high
        self._is_high = self._seen >= WARM_UP_STEPS and loss > limit
        # A spike moves the average by what would just have been normal: a lasting change becomes so in time
        self._update(min(loss, limit) if self._is_high else loss)
        return self._is_high and not was_high

    @property
    def usual_loss(self) -> float:
        """The average so far."""
        return self._mean

    def _update(self, loss: float) -> None:
        weight = max(NEWEST_WEIGHT, 1 / (self._seen + 1))  # a plain average at the beginning
        difference = loss - self._mean
        self._mean += weight * difference
        self._variance = (1 - weight) * (self._variance + weight * difference**2)
        self._seen += 1
