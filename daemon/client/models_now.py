"""How things stand at the moment of a report: the daemon, and the room on the disk."""

import shutil
from dataclasses import dataclass

from daemon.client.errors import ClientError
from daemon.client.settings import ClientSettings
from daemon.status.reader import Status
from trainer.protocol.disk import REPORT_NAME
from trainer.protocol.files import UnreadableFile, read_json
from trainer.protocol.layout import Layout
from trainer.protocol.text import printable


@dataclass(frozen=True, kw_only=True)
class DaemonNow:
    """What the daemon is doing at the moment of the report."""

    life: str
    """Running, stopped, and so on."""
    text: str
    """For people; to be read after "the daemon is"."""
    state: str | None
    """training, paused, blocked, …; what it was last if none runs."""
    reason: str | None
    """Of that state; printable."""
    file: str | None
    """The one that is trained; printable."""
    waiting: int
    """Files in the queue that are not started."""
    alerts: tuple[str, ...]
    """Printable."""


@dataclass(frozen=True, kw_only=True)
class DiskNow:
    """Room on the file system of `models/`."""

    free_bytes: int
    total_bytes: int
    min_free_bytes: int | None
    """As `daemon.min_free_bytes`; None if the settings cannot be read."""
    full_in_s: float | None = None
    """Seconds until it is full at the pace of the last hours; None if that is not known."""


def daemon_now(status: Status) -> DaemonNow:
    """Return what the daemon is doing, as the status says."""
    fields = status.fields
    queue = fields.get("queue") or {}
    state, reason, file = (fields.get(name) for name in ("status", "status_reason", "current_file"))
    return DaemonNow(
        life=status.life,
        text=status.life_text(),
        state=state,
        reason=None if reason is None else printable(str(reason), limit=300),
        file=None if file is None else printable(str(file)),
        waiting=sum(queue.get(name, 0) for name in ("high", "normal", "low")),
        alerts=tuple(printable(str(alert), limit=300) for alert in fields.get("alerts") or ()),
    )


def disk_now(layout: Layout, settings: ClientSettings, *, is_watched: bool) -> DiskNow | None:
    """Return how much room there is; None where the system does not say.

    Args:
        is_watched: whether a daemon keeps the forecast up to date.
    """
    try:
        usage = shutil.disk_usage(layout.models)
    except OSError:
        return None
    try:
        least = settings.effective().settings.daemon.min_free_bytes
    except ClientError:
        least = None
    return DiskNow(
        free_bytes=usage.free,
        total_bytes=usage.total,
        min_free_bytes=least,
        full_in_s=_forecast(layout) if is_watched else None,
    )


def _forecast(layout: Layout) -> float | None:
    try:
        seconds = read_json(layout.status / REPORT_NAME)["full_in_s"]
    except (OSError, UnreadableFile, KeyError, TypeError):
        return None  # nobody measures it
    return float(seconds) if isinstance(seconds, int | float) else None
