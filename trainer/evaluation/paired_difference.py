"""Whether two models differ on the same rows by more than chance. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

CONFIDENCE = 0.95
# Of Student's t with 1 and 2 degrees of freedom, where the series below is too coarse
EXACT_QUANTILES = (12.7062, 4.3027)


@dataclass(frozen=True)
class RowLoss:
    """The cross entropy of a row's supervised tokens, summed over them."""

    summed: float
    tokens: int


@dataclass(frozen=True)
class PairedDifference:
    """Mean losses over the tokens of all rows, and how sure their difference is."""

    before: float
    after: float
    difference: float
    low: float | None
    """With `high`, the 95 % confidence interval; None with a single row."""
    high: float | None
    t: float | None
    """None where it is not defined."""


def paired_difference(before: Sequence[RowLoss], after: Sequence[RowLoss]) -> PairedDifference:
    """Compare the losses of two models on the same rows, in the same order.

    Tokens of a row depend on each other, so rows are what was drawn by chance: the means are ratios of sums
    over rows, and their variance is that of the linearised ratios (Cochran, Sampling Techniques, 1977, 6.3;
    "clustered standard errors" in Miller, Adding Error Bars to Evals, 2024).

    Args:
        before, after: of at least one row, each with tokens.
    """
    count = len(before)
    old, new = _mean(before), _mean(after)
    difference = new - old
    if count < 2:
        return PairedDifference(old, new, difference, None, None, None)
    tokens_before, tokens_after = (sum(row.tokens for row in rows) for rows in (before, after))
    residuals = [
        (later.summed - new * later.tokens) / tokens_after
        - (earlier.summed - old * earlier.tokens) / tokens_before
        for earlier, later in zip(before, after, strict=True)
    ]
    error = math.sqrt(count / (count - 1) * math.fsum(residual * residual for residual in residuals))
    margin = t_quantile(count - 1) * error
    t = difference / error if error else None
    return PairedDifference(old, new, difference, difference - margin, difference + margin, t)


def _mean(rows: Sequence[RowLoss]) -> float:
    return math.fsum(row.summed for row in rows) / sum(row.tokens for row in rows)


def t_quantile(freedom: int) -> float:
    """Return what Student's t stays below in absolute value with a probability of 95 %.

    By the expansion of Cornish and Fisher (Abramowitz and Stegun, 26.7.5), within 0.2 % of it.
    """
    if freedom <= len(EXACT_QUANTILES):
        return EXACT_QUANTILES[freedom - 1]
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return math.fsum(term / freedom**power for power, term in enumerate(terms))
