"""Events of the processes that pass on what happens."""

import logging
from dataclasses import dataclass

from daemon.journal.events.base import JournalEvent


@dataclass(frozen=True, kw_only=True)
class NotifierEnded(JournalEvent):
    """The process that sends to `notify.command`, `webhook` or `apprise` ended. It is started again."""

    kind = "notifier_ended"
    level = logging.WARNING
    channel: str
    """`command`, `webhook` or `apprise`."""
    exit_code: int
    restart_in_s: float

    @property
    def message(self) -> str:
        return (
            f"the process for notify.{self.channel} ended with exit code {self.exit_code}; logs/notify.log "
            f"says why; it is started again in {self.restart_in_s:.0f} s"
        )


@dataclass(frozen=True, kw_only=True)
class TrackerEnded(JournalEvent):
    """The process of a tracker ended. It is started again; if it ends likewise, that is not said again."""

    kind = "tracker_ended"
    level = logging.WARNING
    tracker: str
    """As in `tracking`, such as `tensorboard`."""
    exit_code: int
    problem: str | None
    """Why, as far as it could say."""

    @property
    def message(self) -> str:
        why = self.problem or f"its process ended with exit code {self.exit_code}; logs/tracking.log says why"
        return f"the tracker {self.tracker} does not work: {why}; it is tried again, and no step is lost"

    @property
    def alert(self) -> tuple[str, str] | None:
        return f"tracking {self.tracker}", self.message


@dataclass(frozen=True, kw_only=True)
class TrackerWorks(JournalEvent):
    """A tracker works again, or the settings do not ask for it any more."""

    kind = "tracker_works"
    tracker: str

    @property
    def message(self) -> str:
        return f"the tracker {self.tracker} works again, or is not wanted any more"

    @property
    def cleared_alerts(self) -> tuple[str, ...]:
        return (f"tracking {self.tracker}",)
