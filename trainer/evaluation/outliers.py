"""Which rows of a file do not fit among the others, by their losses under the model before it. Pure.

A few rows of noise hide in every mean. One by one they stand out, as soon as the model knows what the others
are about.
"""

import math
from collections.abc import Mapping, Sequence
from statistics import median

MAD_TO_SIGMA = 0.6745  # the 0.75 quantile of the normal distribution
USUAL_SHARE = 0.99  # of the validation rows; what is no worse than these is no outlier


def robust_scores(losses: Sequence[float]) -> list[float]:
    """Return the modified z-scores: 0.6745 · (x - median) / MAD (Iglewicz and Hoaglin 1993).

    MAD is the median of |x - median|. Up to half of the values may be anything: they move neither.
    """
    middle = median(losses)
    spread = median(abs(loss - middle) for loss in losses)
    if spread == 0:
        return [math.copysign(math.inf, loss - middle) if loss != middle else 0.0 for loss in losses]
    return [MAD_TO_SIGMA * (loss - middle) / spread for loss in losses]


def usual_limit(losses: Sequence[float]) -> float:
    """Return the loss that 99 % of the validation rows do not exceed."""
    ordered = sorted(losses)
    return ordered[max(0, math.ceil(USUAL_SHARE * len(ordered)) - 1)] if ordered else -math.inf


def outliers(losses: Mapping[int, float], *, usual: Sequence[float], min_score: float) -> dict[int, float]:
    """Return the outliers with their losses, ascending by line.

    Args:
        losses: by line.
        usual: of the validation rows, under the same model.
        min_score: from which score on a row is one.
    """
    if not losses:
        return {}
    limit = usual_limit(usual)
    scored = zip(losses.items(), robust_scores(list(losses.values())), strict=True)
    found = {line: loss for (line, loss), score in scored if score >= min_score and loss > limit}
    return dict(sorted(found.items()))


def rows_to_inspect(num_rows: int, *, at_least: int, epochs: int, max_overhead_percent: float) -> int:
    """Return how many rows of a file are inspected: all of a small one, of others what the share allows.

    Args:
        at_least: rows that are inspected in any case.
    """
    share = max_overhead_percent / 100
    affordable = math.floor(3 * num_rows * epochs * share / (1 - share)) if share < 1 else num_rows
    return min(num_rows, max(at_least, affordable))
