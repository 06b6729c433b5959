"""Read the status file and say honestly whether anybody keeps it up to date; draw it for people."""

import os
import time
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from trainer.protocol.files import UnreadableFile, read_json
from trainer.protocol.layout import Layout
from trainer.protocol.text import printable

if TYPE_CHECKING:
    from rich.console import RenderableType

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
        """Return one sentence for a person."""
        pid, age = self.fields.get("daemon_pid"), f"{self.age_s:.0f} s"
        return {
            "running": f"daemon {pid} is running",
            "stopped": "the daemon is not running (it was stopped)",
            "silent": f"daemon {pid} is NOT RUNNING properly: no heartbeat for {age}",
            "dead": f"the daemon is NOT RUNNING: process {pid} is gone, last heartbeat {age} ago",
            "never started": "no daemon has ever run here",
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
    if not _is_alive(fields.get("daemon_pid")):
        return Status(fields, "dead", age_s)
    return Status(fields, "silent" if age_s > SILENT_AFTER_S else "running", age_s)


def _is_alive(pid: object) -> bool:
    if not isinstance(pid, int) or pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # somebody else's, but alive
    return True


def draw(status: Status) -> "RenderableType":
    """Return a panel that shows the status to a person."""
    from rich.console import Group
    from rich.panel import Panel
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    fields = status.fields
    table = Table.grid(padding=(0, 2))
    for name, value in _lines(status):
        table.add_row(Text(name, style="dim"), Text(value))
    parts: list[RenderableType] = [table]
    if status.is_running and fields.get("file_total_steps"):
        bar = ProgressBar(total=fields["file_total_steps"], completed=fields.get("file_step") or 0)
        parts += [Text(), bar]
    for alert in fields.get("alerts") or []:
        parts.append(Text(f"! {printable(str(alert))}", style="yellow"))
    colour = "green" if status.is_running else "red"
    state = str(fields.get("status") or "unknown") if status.is_running else "not running"
    return Panel(Group(*parts), title=Text(printable(state), style=f"bold {colour}"), border_style=colour)


def _lines(status: Status) -> list[tuple[str, str]]:
    fields = status.fields
    queue = fields.get("queue") or {}
    lines = [("daemon", status.life_text())]
    if reason := fields.get("status_reason"):
        lines.append(("reason", printable(str(reason))))
    if fields.get("model_name"):
        lines.append(("model", f"{printable(str(fields['model_name']))} ({fields.get('method')})"))
    if current := fields.get("current_file"):
        steps = f"step {_number(fields.get('file_step'))} of {_number(fields.get('file_total_steps'))}"
        lines.append(("file", f"{printable(str(current))} ({fields.get('priority') or 'being checked'})"))
        if fields.get("file_total_steps"):
            lines.append(("progress", f"{steps}, {_duration(fields.get('eta_s'))} left"))
    lines += [
        ("global step", _number(fields.get("current_step"))),
        ("loss", f"{_decimal(fields.get('loss'))}   validation {_decimal(fields.get('validation_loss'))}"),
        ("speed", f"{_number(fields.get('tokens_per_sec'))} tokens/s"),
        ("waiting", "   ".join(f"{name} {queue.get(name, 0)}" for name in ("high", "normal", "low"))),
        (
            "done",
            f"completed {queue.get('recently_completed', 0)}   failed {queue.get('failed', 0)}   "
            f"skipped {queue.get('skipped', 0)}",
        ),
    ]
    if checkpoint := fields.get("last_checkpoint"):
        lines.append(("checkpoint", f"{printable(str(checkpoint.get('path')))} at {checkpoint.get('at')}"))
    if error := fields.get("last_error"):
        where = f"{printable(str(error.get('file')))}: " if error.get("file") else ""
        lines.append(("last error", f"{where}{printable(str(error.get('message')))}"))
    return lines


def _number(value: Any) -> str:
    return f"{value:,.0f}" if isinstance(value, int | float) else "-"


def _decimal(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, int | float) else "-"


def _duration(value: Any) -> str:
    if not isinstance(value, int | float):
        return "-"
    minutes, seconds = divmod(int(value), 60)
    hours, minutes = divmod(minutes, 60)
    return (
        f"{hours} h {minutes:02} min"
        if hours
        else f"{minutes} min {seconds:02} s"
        if minutes
        else f"{seconds} s"
    )
