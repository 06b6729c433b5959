"""Validation losses as text for people: whose a loss is, and never a difference of unlike ones."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from daemon.client.results import Validation

MISSING = "not measured"


def with_weights(loss: str, weights: str | None, *, beside_others: bool = False) -> str:
    """Return a loss with whose it is; the last weights are not named, as where no average is kept.

    Args:
        loss: as it is shown.
        weights: as `validation_weights`; None where that is not known.
        beside_others: that a loss of other weights stands beside it, so that the last ones are named too.
    """
    if weights == "average":
        return f"{loss} averaged"
    return f"{loss} last" if weights and beside_others else loss


def before_and_after(
    before: "Validation | None", after: "Validation | None", change: float | None, *, is_open: bool
) -> str:
    """Return what was measured before and after a file, with the difference where there is one.

    Args:
        change: from the one to the other; None where they cannot be compared.
        is_open: that training of the file has not ended, so what is missing may still be measured.
    """
    is_unlike = before is not None and after is not None and before.weights != after.weights
    missing = "not yet measured" if is_open else MISSING
    pair = (
        f"{_measured(before, beside_others=is_unlike)} before, "
        f"{_measured(after, beside_others=is_unlike, missing=missing)} after"
    )
    if before is None or after is None:
        return pair
    if change is not None:
        return f"{pair}: {_change(change)}"
    rows = "measured on different rows" if before.rows != after.rows else "not finite"
    return f"{pair}: not comparable, {'of different weights' if is_unlike else rows}"


def _measured(found: "Validation | None", *, beside_others: bool, missing: str = MISSING) -> str:
    if found is None:
        return missing
    loss = "not finite" if found.loss is None else f"{found.loss:.4f}"
    return f"{with_weights(loss, found.weights, beside_others=beside_others)} (step {found.global_step:,})"


def _change(change: float) -> str:
    return "no change" if not change else f"{abs(change):.4f} {'lower' if change < 0 else 'HIGHER'}"
