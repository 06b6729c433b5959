"""What time was spent on: steps, and everything beside them. Pure; kept by worker and daemon alike."""

from collections import defaultdict
from collections.abc import Callable
from typing import Literal, get_args

from pydantic import BaseModel

CostKind = Literal["training", "validation", "suites", "previews", "saving", "data checks"]
BESIDE_TRAINING: tuple[CostKind, ...] = get_args(CostKind)[1:]
EVALUATION: tuple[CostKind, ...] = ("validation", "suites", "previews")

MINUTE_S = 60.0
MINUTES_KEPT = 60


class CostBook:
    """Adds up seconds by what they were spent on.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._totals: dict[CostKind, float] = defaultdict(float)
        self._minutes: dict[int, dict[CostKind, float]] = {}

    def add(self, kind: CostKind, seconds: float) -> None:
        """Note seconds that were spent just now."""
        self._totals[kind] += seconds
        minute = self._minute()
        if minute not in self._minutes:
            self._minutes[minute] = defaultdict(float)
            self._forget_old()
        self._minutes[minute][kind] += seconds

    def total(self, *kinds: CostKind) -> float:
        """Return the seconds since the start; of all kinds if none is named."""
        return sum(self._totals[kind] for kind in kinds or list(self._totals))

    def last_hour(self, *kinds: CostKind) -> float:
        """Return the seconds of the last hour; of all kinds if none is named."""
        self._forget_old()
        return sum(
            seconds
            for spent in self._minutes.values()
            for kind, seconds in spent.items()
            if not kinds or kind in kinds
        )

    def _minute(self) -> int:
        return int(self._clock() // MINUTE_S)

    def _forget_old(self) -> None:
        oldest = self._minute() - MINUTES_KEPT
        for minute in [minute for minute in self._minutes if minute <= oldest]:
            del self._minutes[minute]


class KindCost(BaseModel):
    """What one kind of work has cost."""

    seconds: float
    share_since_start: float | None
    """Of all seconds in which anything was done; null before anything was."""
    share_of_last_hour: float | None
    interval_steps: int | None = None
    """Steps between two of them at present; null where steps do not decide."""


class MonitoringCosts(BaseModel):
    """The content of `status/monitoring_costs.json`."""

    at: str
    since: str
    """When the daemon was started."""
    training_seconds: float
    costs: dict[str, KindCost]


def cost_of(book: CostBook, kind: CostKind, interval_steps: int | None = None) -> KindCost:
    """Return what one kind has cost, as it is shown."""
    return KindCost(
        seconds=round(book.total(kind), 3),
        share_since_start=_share(book.total(kind), book.total()),
        share_of_last_hour=_share(book.last_hour(kind), book.last_hour()),
        interval_steps=interval_steps,
    )


def _share(part: float, whole: float) -> float | None:
    return round(part / whole, 5) if whole > 0 else None
