"""Events of versions that are made by policy."""

import logging
from dataclasses import dataclass

from daemon.journal.events.base import JournalEvent

ALERT = "versions"


@dataclass(frozen=True, kw_only=True)
class VersionMade(JournalEvent):
    """A version was made by policy (`versions.auto`). Recorded once, also if it was made twice."""

    kind = "version_made"
    version: str
    made_by: str
    """`file`, `day` or `gate`."""
    global_step: int
    ordered_at: str
    """UTC, ISO 8601: it covers what had happened by then."""

    @property
    def message(self) -> str:
        return f"made version {self.version} of step {self.global_step} (versions.auto: {self.made_by})"

    @property
    def cleared_alerts(self) -> tuple[str, ...]:
        return (ALERT,)


@dataclass(frozen=True, kw_only=True)
class VersionNotMade(JournalEvent):
    """A version that is due by policy could not be made. It is tried again."""

    kind = "version_not_made"
    level = logging.WARNING
    problem: str
    retry_in_s: float

    @property
    def message(self) -> str:
        return f"no version was made: {self.problem}; it is tried again in {self.retry_in_s:.0f} s"

    @property
    def alert(self) -> tuple[str, str]:
        return (ALERT, self.message)
