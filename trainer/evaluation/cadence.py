"""How often to evaluate, so that it costs no more than its share. Pure: measurements go in."""

from collections.abc import Mapping

from trainer.protocol.costs import CostKind

MOST_DOUBLINGS = 16  # of an interval; where steps take no time at all, no interval would do


def stretched(
    intervals: Mapping[CostKind, int],
    costs: Mapping[CostKind, float],
    *,
    step_s: float,
    max_share: float,
) -> dict[CostKind, int]:
    """Return the intervals in steps, doubled as often as it takes to keep within `max_share` of the time.

    What was measured again and has become cheap comes back on its own.

    Args:
        intervals: as they are wanted.
        costs: seconds of each kind when it was measured last; one never measured counts as free.
        step_s: seconds of a step.
        max_share: of the time, from 0 to 1, for all kinds together.
    """
    result = dict(intervals)

    def rate(kind: CostKind) -> float:
        """Seconds for each second of training."""
        cost, training_s = costs.get(kind, 0.0), result[kind] * step_s
        return 0.0 if cost == 0 else float("inf") if training_s == 0 else cost / training_s

    def may_be_doubled() -> list[CostKind]:
        return [kind for kind in result if rate(kind) and result[kind] < intervals[kind] << MOST_DOUBLINGS]

    while sum(map(rate, result)) * (1 - max_share) > max_share and (kinds := may_be_doubled()):
        result[max(kinds, key=rate)] *= 2
    return result
