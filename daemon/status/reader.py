"""Read the status file, as a monitor or a backup would, and say whether it is still being updated."""

import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from trainer.protocol.child_process import is_running
from trainer.protocol.files import UnreadableFile, read_json
from trainer.protocol.layout import Layout

SILENT_AFTER_S = 15.0  # three times the daemon's longest interval between two writes

Life = Literal["running", "stopped", "silent", "dead", "never started"]


@dataclass(frozen=True)
class Status:
    """What the status file says, and whether it can be believed."""

    fields: dict[str, Any]
    life: Life
    age_s: float
    """Seconds since the last heartbeat."""

    @property
    def is_running(self) -> bool:
        return self.life == "running"

    def life_text(self) -> str:
        """Return for a person what the daemon is; to be read after "the daemon is"."""
        pid, age = self.fields.get("daemon_pid"), f"{self.age_s:.0f} s"
        return {
            "running": f"running (pid {pid})",
            "stopped": "not running (it was stopped)",
            "silent": f"NOT RUNNING properly: no heartbeat from process {pid} for {age}",
            "dead": f"NOT RUNNING: process {pid} is gone, last heartbeat {age} ago",
            "never started": "not running (none has ever run here)",
        }[self.life]


def read_status(layout: Layout, *, now: float | None = None) -> Status:
    """Return the status and how alive the daemon behind it is.

    Args:
        now: Unix seconds; None asks the clock.
    """
    try:
        fields = read_json(layout.status_file)
        heartbeat_at = datetime.fromisoformat(fields["heartbeat_at"]).timestamp()
    except (OSError, UnreadableFile, KeyError, TypeError, ValueError):
        return Status({}, "never started", 0.0)
    age_s = max(0.0, (time.time() if now is None else now) - heartbeat_at)
    if fields.get("status") == "stopped":
        return Status(fields, "stopped", age_s)
    if not is_running(fields.get("daemon_pid")):
        return Status(fields, "dead", age_s)
    return Status(fields, "silent" if age_s > SILENT_AFTER_S else "running", age_s)
