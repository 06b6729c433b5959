"""Events of the daemon itself: starts, stops, commands, settings, and what blocks training."""

import logging
from dataclasses import dataclass

from daemon.journal.events.base import JournalEvent
from trainer.protocol.text import size_text


@dataclass(frozen=True, kw_only=True)
class DaemonStarted(JournalEvent):
    """A daemon takes over the working directory."""

    kind = "daemon_started"
    pid: int

    @property
    def message(self) -> str:
        return f"daemon {self.pid} started"


@dataclass(frozen=True, kw_only=True)
class DaemonStopped(JournalEvent):
    """A daemon exits normally. One that was killed leaves no such event."""

    kind = "daemon_stopped"
    pid: int

    @property
    def message(self) -> str:
        return f"daemon {self.pid} stopped"

    @property
    def cleared_alerts(self) -> tuple[str, ...]:
        return ("config",)  # no settings are in force any more, and the next start reads those of then


@dataclass(frozen=True, kw_only=True)
class StopRequested(JournalEvent):
    """The daemon was asked to stop."""

    kind = "stopping"
    when: str
    """`after the current file` or `at the next step`."""
    by_command: bool = False
    """A control file asked, and the event `command` has the answer; otherwise a signal."""

    @property
    def is_logged(self) -> bool:
        return not self.by_command

    @property
    def message(self) -> str:
        return f"stopping {self.when}"


@dataclass(frozen=True, kw_only=True)
class StopCancelled(JournalEvent):
    """The daemon was asked to continue before it had stopped."""

    kind = "stop_cancelled"

    @property
    def message(self) -> str:
        return "the stop was cancelled"


@dataclass(frozen=True, kw_only=True)
class CommandAnswered(JournalEvent):
    """A control command was carried out, or could not be."""

    kind = "command"
    name: str
    result: str
    request_id: str | None = None
    reason: str | None = None
    """Why it was given; None where nobody said, and for acts on the model, whose own events say it."""

    @property
    def message(self) -> str:
        return f"{self.name}: {self.result}" + (f" ({self.reason})" if self.reason else "")


@dataclass(frozen=True, kw_only=True)
class RequestNotRemoved(JournalEvent):
    """A control file cannot be removed. It is not carried out a second time."""

    kind = "request_not_removed"
    level = logging.ERROR
    path: str
    problem: str

    @property
    def message(self) -> str:
        return f"{self.path} cannot be removed: {self.problem}; it is not obeyed again"


@dataclass(frozen=True, kw_only=True)
class SettingsChanged(JournalEvent):
    """`config.json` has changed and is valid, or is gone, and then the defaults hold."""

    kind = "settings_changed"
    is_there: bool = True
    """Whether there is a `config.json`."""
    after_restart: tuple[str, ...] = ()
    """Settings that differ from those in force until the daemon starts anew."""

    @property
    def message(self) -> str:
        what = (
            "has changed; the next job trains with it"
            if self.is_there
            else "is gone; the next job trains without it"
        )
        names = ", ".join(self.after_restart)
        are = "is" if len(self.after_restart) == 1 else "are"
        later = f"; {names} {are} read when the daemon starts: training_daemon restart" if names else ""
        return f"config.json {what}{later}"

    @property
    def cleared_alerts(self) -> tuple[str, ...]:
        return ("config",)


@dataclass(frozen=True, kw_only=True)
class SettingsRefused(JournalEvent):
    """`config.json` has changed and is invalid; the previous settings stay in force."""

    kind = "settings_refused"
    level = logging.ERROR
    problem: str

    @property
    def message(self) -> str:
        return self.problem

    @property
    def alert(self) -> tuple[str, str]:
        return ("config", self.message)


@dataclass(frozen=True, kw_only=True)
class TurnFailed(JournalEvent):
    """Part of a turn of the daemon's loop failed. It is tried again."""

    kind = "turn_failed"
    level = logging.ERROR
    has_traceback = True
    exception: str
    """Name of its class."""
    problem: str

    @property
    def message(self) -> str:
        return f"part of this turn failed and is tried again: {self.exception}: {self.problem}"

    @property
    def error(self) -> tuple[str, str]:
        return (self.exception, self.problem)


@dataclass(frozen=True, kw_only=True)
class WatcherFailed(JournalEvent):
    """The operating system no longer says when a file comes. Files are found by looking, so later."""

    kind = "watcher_failed"
    level = logging.WARNING
    problem: str

    @property
    def message(self) -> str:
        return (
            f"no file system events ({self.problem}); new files are found by rescans only (daemon.rescan_s)"
        )

    @property
    def alert(self) -> tuple[str, str]:
        return ("watcher", self.message)


@dataclass(frozen=True, kw_only=True)
class ServiceManagerLost(JournalEvent):
    """The service manager, such as systemd, cannot be reached. It may end the daemon for that."""

    kind = "service_manager_lost"
    level = logging.WARNING
    word: str
    """What it could not be given."""
    problem: str

    @property
    def message(self) -> str:
        return f"the service manager cannot be given {self.word}: {self.problem}"


@dataclass(frozen=True, kw_only=True)
class ServiceManagerFound(JournalEvent):
    """The service manager can be reached again."""

    kind = "service_manager_found"

    @property
    def message(self) -> str:
        return "the service manager can be reached again"


@dataclass(frozen=True, kw_only=True)
class TrainingBlocked(JournalEvent):
    """Nothing can be trained until something outside changes, such as a full disk."""

    kind = "blocked"
    level = logging.ERROR
    reason: str

    @property
    def message(self) -> str:
        return f"blocked: {self.reason}"

    @property
    def error(self) -> tuple[str, str]:
        return ("Blocked", self.reason)


@dataclass(frozen=True, kw_only=True)
class WorkerBlocked(TrainingBlocked):
    """The worker is waiting in the middle of its work, for instance for room to save."""

    kind = "worker_blocked"

    @property
    def alert(self) -> tuple[str, str]:
        return ("blocked", self.reason)


@dataclass(frozen=True, kw_only=True)
class TrainingUnblocked(JournalEvent):
    """What kept training from continuing is over."""

    kind = "unblocked"

    @property
    def message(self) -> str:
        return "no longer blocked"

    @property
    def ends_error(self) -> bool:
        return True

    @property
    def cleared_alerts(self) -> tuple[str, ...]:
        return ("blocked",)


@dataclass(frozen=True, kw_only=True)
class UnknownControlFiles(JournalEvent):
    """Files in `control/` are no requests, or others than before are none."""

    kind = "unknown_control_files"
    level = logging.WARNING
    names: tuple[str, ...]
    """The first of them."""
    more: int
    """Those that are not named."""
    expected: tuple[str, ...]

    @property
    def message(self) -> str:
        more = f" and {self.more} more" if self.more else ""
        return (
            f"control/: {', '.join(self.names)}{more} not understood; expected "
            f"{', '.join(self.expected[:-1])} or {self.expected[-1]}"
        )

    @property
    def alert(self) -> tuple[str, str]:
        return ("control", self.message)


@dataclass(frozen=True, kw_only=True)
class NoUnknownControlFiles(JournalEvent):
    """Every file in `control/` is a request again."""

    kind = "no_unknown_control_files"

    @property
    def message(self) -> str:
        return "control/: every file is understood again"

    @property
    def cleared_alerts(self) -> tuple[str, ...]:
        return ("control",)


@dataclass(frozen=True, kw_only=True)
class QueueEmptied(JournalEvent):
    """Every file that was there has been trained, has failed or was skipped."""

    kind = "queue_empty"

    @property
    def message(self) -> str:
        return "the queue is empty"


@dataclass(frozen=True, kw_only=True)
class DiskFreed(JournalEvent):
    """Little disk space was left, so the daemon removed what may be removed (`disk.min_free_bytes`)."""

    kind = "disk_freed"
    freed_bytes: int
    free_bytes: int
    """Afterwards."""
    what: str
    """How many of each kind were removed."""
    removed: tuple[str, ...]
    """The first paths, without caches."""

    @property
    def message(self) -> str:
        names = f" ({', '.join(self.removed)})" if self.removed else ""
        return (
            f"{size_text(self.freed_bytes)} of disk space were freed: {self.what} removed{names}; "
            f"{size_text(self.free_bytes)} are free now"
        )


@dataclass(frozen=True, kw_only=True)
class FewestKept(JournalEvent):
    """Little disk space was left, so the worker was asked to remove all checkpoints but the newest two."""

    kind = "fewest_kept"
    free_bytes: int

    @property
    def message(self) -> str:
        return (
            f"only {size_text(self.free_bytes)} of disk space are free: the worker removes every checkpoint "
            "that may go, and then keeps them as before"
        )


@dataclass(frozen=True, kw_only=True)
class DiskLow(JournalEvent):
    """Less disk space is free than is wanted, and nothing more may be removed."""

    kind = "disk_low"
    level = logging.WARNING
    problem: str

    @property
    def message(self) -> str:
        return f"disk space runs out: {self.problem}"

    @property
    def alert(self) -> tuple[str, str]:
        return ("disk", self.message)


@dataclass(frozen=True, kw_only=True)
class DiskAmple(JournalEvent):
    """Enough disk space is free again."""

    kind = "disk_ample"
    free_bytes: int

    @property
    def message(self) -> str:
        return f"enough disk space is free again: {size_text(self.free_bytes)}"

    @property
    def cleared_alerts(self) -> tuple[str, ...]:
        return ("disk",)
