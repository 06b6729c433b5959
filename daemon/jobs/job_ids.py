"""Job ids: readable, and they sort by arrival even when the clock is set back."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

FORMAT = "%Y%m%d-%H%M%S-%f"  # to the microsecond: 20261120-211006-000123


class JobIds:
    """Hands out ids.

    Args:
        newest: the highest id given so far; the next ones come after it.
        clock: Unix seconds.
    """

    def __init__(self, newest: str | None = None, *, clock: Callable[[], float] = time.time) -> None:
        self._last = datetime.strptime(newest, FORMAT).replace(tzinfo=UTC) if newest else None
        self._clock = clock

    def next(self) -> str:
        """Return an id that sorts after all before it."""
        now = datetime.fromtimestamp(self._clock(), UTC)
        if self._last and now <= self._last:
            now = self._last + timedelta(microseconds=1)
        self._last = now
        return now.strftime(FORMAT)
