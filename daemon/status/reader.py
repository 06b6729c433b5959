"""Read the status file, as a monitor or a backup would, and say whether it is still being updated."""

import json
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from pydantic import ValidationError

from trainer.protocol.child_process import is_running
from trainer.protocol.files import UnreadableFile, read_json
from trainer.protocol.layout import Layout
from trainer.protocol.status import TrainingStatus
from trainer.protocol.text import printable

SILENT_AFTER_S = 15.0  # three times the daemon's longest interval between two writes

Life = Literal["running", "stopped", "silent", "dead", "never started", "unreadable"]


@dataclass(frozen=True)
class Status:
    """What the status file says, and whether it can be believed."""

    fields: dict[str, Any]
    life: Life
    age_s: float
    """Seconds since the last heartbeat."""
    problem: str = ""
    """Why the file is unreadable, or not there; printable."""
    starts_paused: bool | None = None
    """Whether the next daemon will start paused; None while one runs."""
    pause_reason: str | None = None
    """Why; printable."""
    in_inbox: int | None = None
    """Files that the next daemon will take in; None while one runs."""

    @property
    def is_running(self) -> bool:
        return self.life == "running"

    @property
    def is_gone(self) -> bool:
        """Whether certainly no daemon runs; one that is silent may go on."""
        return self.life in ("stopped", "dead", "never started")

    def document(self) -> dict[str, Any]:
        """Return what programs get: the status file, and whether a daemon is behind it."""
        has_heartbeat = self.life not in ("never started", "unreadable")
        return {
            **self.fields,
            "daemon": self.life,
            "heartbeat_age_s": round(self.age_s, 1) if has_heartbeat else None,
            "starts_paused": self.starts_paused,
            "in_inbox": self.in_inbox,
        }

    def life_text(self) -> str:
        """Return for a person what the daemon is; to be read after "the daemon is"."""
        pid, age = self.fields.get("daemon_pid"), f"{self.age_s:.0f} s"
        return {
            "running": f"running (pid {pid})",
            "stopped": "not running (it was stopped)",
            "silent": f"not running properly: no heartbeat from process {pid} for {age}",
            "dead": f"not running: process {pid} is gone, last heartbeat {age} ago",
            "never started": f"not running ({self.problem})",
            "unreadable": f"in an unknown state ({self.problem})",
        }[self.life]


def read_status(layout: Layout, *, now: float | None = None) -> Status:
    """Return the status and how alive the daemon behind it is.

    Args:
        now: Unix seconds; None asks the clock.
    """
    try:
        fields = read_json(layout.status_file)
        TrainingStatus.model_validate_json(json.dumps(fields), strict=True)
        heartbeat_at = datetime.fromisoformat(fields["heartbeat_at"]).timestamp()
    except FileNotFoundError:
        return _without_a_file(layout)
    except (OSError, ValueError, OverflowError) as error:
        return Status({}, "unreadable", 0.0, _problem(layout, error))
    age_s = max(0.0, (time.time() if now is None else now) - heartbeat_at)
    if fields.get("status") == "stopped":
        return Status(fields, "stopped", age_s)
    if not is_running(fields.get("daemon_pid")):
        return Status(fields, "dead", age_s)
    return Status(fields, "silent" if age_s > SILENT_AFTER_S else "running", age_s)


def _without_a_file(layout: Layout) -> Status:
    """Return the status where there is no file yet, or somebody has removed it; a daemon writes it anew."""
    gone = f"there is no {layout.status_file.relative_to(layout.base)}"
    with suppress(OSError, UnreadableFile, KeyError, TypeError):
        if is_running(read_json(layout.process_file)["pid"]):
            return Status({}, "unreadable", 0.0, gone)
    never = f"none has ever run in {printable(str(layout.base))}"
    return Status({}, "never started", 0.0, gone if layout.ledger_file.exists() else never)


def _problem(layout: Layout, error: Exception) -> str:
    place = str(layout.status_file.relative_to(layout.base))
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        value = printable(repr(first["input"]), limit=60)
        field = ".".join(map(str, first["loc"])) or "the document"
        return f"{place}: {printable(field)} is {value}; expected what a daemon writes"
    return f"{place} cannot be read: {printable(str(error), limit=200)}"
