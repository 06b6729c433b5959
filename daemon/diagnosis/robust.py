"""Statistics that a few odd values do not move. Pure; each function takes plain numbers.

Scale and its constants: Rousseeuw and Croux, "Alternatives to the Median Absolute Deviation", 1993.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import median as median
from typing import TypeVar

Item = TypeVar("Item")

MAD_TO_SIGMA = 1.4826  # of normal noise: 1 / the 75 % quantile of the standard normal
MEDIAN_ERROR = math.sqrt(math.pi / 2)  # standard error of a median, times sqrt(n) / sigma, for normal noise


def spread(values: Sequence[float]) -> float:
    """Return the standard deviation that normal noise with this median absolute deviation would have."""
    middle = median(values)
    return MAD_TO_SIGMA * median([abs(value - middle) for value in values])


def noise(values: Sequence[float]) -> float:
    """Return the standard deviation of the noise around a slow trend; 0 for fewer than three values.

    From the differences of neighbours, which a slow trend hardly changes (von Neumann and others, "The Mean
    Square Successive Difference", 1941); the difference of two has twice the variance of one.
    """
    differences = [second - first for first, second in pairwise(values)]
    return spread(differences) / math.sqrt(2) if len(differences) > 1 else 0.0


def median_error(sigma: float, number: int) -> float:
    """Return the standard error of the median of so many values with this noise."""
    return MEDIAN_ERROR * sigma / math.sqrt(number)


def slope(values: Sequence[float]) -> float:
    """Return the median slope of all pairs of values, per place (Theil 1950; Sen 1968)."""
    return median(
        [
            (values[later] - values[earlier]) / (later - earlier)
            for later in range(len(values))
            for earlier in range(later)
        ]
    )


def rank_trend(values: Sequence[float]) -> float:
    """Return Kendall's tau of values and their places: 1 if each is higher than all before, -1 if lower."""
    pairs = [(earlier, later) for place, later in enumerate(values) for earlier in values[:place]]
    return sum((later > earlier) - (later < earlier) for earlier, later in pairs) / len(pairs)


def parts_of(values: Sequence[Item], number: int) -> list[Sequence[Item]]:
    """Return neighbouring values in so many parts of about the same size."""
    ends = [len(values) * part // number for part in range(number + 1)]
    return [values[start:end] for start, end in pairwise(ends)]


def block_medians(values: Sequence[float], number: int) -> list[float]:
    """Return the medians of so many neighbouring parts."""
    return [median(part) for part in parts_of(values, number)]


def smoothed(values: Sequence[float]) -> list[float]:
    """Return the median of each value and its two neighbours; at the ends there is only one."""
    return [median(values[max(0, place - 1) : place + 2]) for place in range(len(values))]
