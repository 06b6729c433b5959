"""What time is spent on besides training, and the file that shows it: `status/monitoring_costs.json`."""

from collections.abc import Callable
from pathlib import Path

from trainer.protocol.costs import BESIDE_TRAINING, CostBook, CostKind, MonitoringCosts, cost_of
from trainer.protocol.files import write_json

INTERVAL_S = 5.0


class Overhead:
    """Adds up costs since the daemon's start, of all its workers.

    Args:
        path: of the file; nobody else writes it.
        since: the daemon's start, as text.
        clock: monotonic seconds.
    """

    def __init__(self, path: Path, *, since: str, clock: Callable[[], float]) -> None:
        self._path = path
        self._since = since
        self._clock = clock
        self._book = CostBook(clock)
        self._intervals: dict[CostKind, int] = {}
        self._written_at = float("-inf")
        self._has_news = True

    def add(self, kind: CostKind, seconds: float) -> None:
        """Note seconds that were spent just now."""
        self._book.add(kind, seconds)
        self._has_news = True

    def set_interval(self, kind: CostKind, steps: int) -> None:
        """Note how often something is done at present."""
        self._intervals[kind] = steps
        self._has_news = True

    def publish(self, at: str, *, is_last: bool = False) -> None:
        """Write the file, unless it says the same or was written just now.

        Args:
            is_last: nothing will follow, so it cannot wait.
        """
        is_new_enough = self._clock() - self._written_at < INTERVAL_S and not is_last
        if not self._has_news or is_new_enough:
            return
        self._written_at = self._clock()
        sheet = MonitoringCosts(
            at=at,
            since=self._since,
            training_seconds=round(self._book.total("training"), 3),
            costs={kind: cost_of(self._book, kind, self._intervals.get(kind)) for kind in BESIDE_TRAINING},
        )
        write_json(self._path, sheet.model_dump(mode="json"), durable=False)
        self._has_news = False
