"""Events of the backups that the daemon makes by itself."""

import logging
from dataclasses import dataclass

from daemon.journal.events.base import JournalEvent
from trainer.protocol.text import size_text

PROBLEM, DEVICE = "backup", "backup_device"  # keys of alerts


@dataclass(frozen=True, kw_only=True)
class BackedUp(JournalEvent):
    """The daemon has made a backup by itself. If it shares a device with the model, an alert says so."""

    kind = "backed_up"
    backup: str
    """Its id."""
    to: str
    """Without a password."""
    step: int
    """Of the model's life."""
    sent_bytes: int
    total_bytes: int
    seconds: float
    shares_device: bool
    """Whether it lies on the same device as the working directory."""
    pruned: tuple[str, ...] = ()
    """Older backups that were removed afterwards."""
    notes: tuple[str, ...] = ()

    @property
    def message(self) -> str:
        notes = "".join(f"; {note}" for note in self.notes)
        return f"backed up step {self.step} in {self.to}: {size_text(self.sent_bytes)} sent{notes}"

    @property
    def alert(self) -> tuple[str, str] | None:
        if not self.shares_device:
            return None
        return (
            DEVICE,
            f"the backups in {self.to} are on the same device as the working directory, so one broken disk "
            "takes both; set backup.to to another disk or machine",
        )

    @property
    def cleared_alerts(self) -> tuple[str, ...]:
        return (PROBLEM,) if self.shares_device else (PROBLEM, DEVICE)


@dataclass(frozen=True, kw_only=True)
class BackupFailed(JournalEvent):
    """A backup that was due could not be made. It is tried again."""

    kind = "backup_failed"
    level = logging.ERROR
    problem: str
    newest: str | None
    """When the newest backup was made; None if there is none."""
    retry_in_s: float

    @property
    def message(self) -> str:
        newest = f"the newest one is of {self.newest}" if self.newest else "there is none yet"
        return f"no backup could be made: {self.problem}; {newest}; tried again in {self.retry_in_s:.0f} s"

    @property
    def alert(self) -> tuple[str, str]:
        return (PROBLEM, self.message)


@dataclass(frozen=True, kw_only=True)
class BackupOverdue(JournalEvent):
    """A backup has been running for so long that the next one would be due."""

    kind = "backup_overdue"
    level = logging.WARNING
    running_s: float
    newest: str | None
    """When the newest backup was made; None if there is none."""

    @property
    def message(self) -> str:
        newest = f"the newest one is of {self.newest}" if self.newest else "there is none yet"
        return f"a backup has been running for {self.running_s:.0f} s; {newest}"

    @property
    def alert(self) -> tuple[str, str]:
        return (PROBLEM, self.message)


@dataclass(frozen=True, kw_only=True)
class BackupsTurnedOff(JournalEvent):
    """`backup.to` is null now, so no backup is due any more."""

    kind = "backups_off"

    @property
    def message(self) -> str:
        return "backup.to is null now; no backups are made"

    @property
    def cleared_alerts(self) -> tuple[str, ...]:
        return (PROBLEM, DEVICE)
