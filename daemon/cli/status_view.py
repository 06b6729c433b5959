"""Draw the status for people."""

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

from daemon.cli.disk_view import growth_text
from daemon.cli.options import typed_here
from daemon.cli.small_terminal import Row, fitting
from daemon.cli.validation_text import with_weights
from trainer.protocol.text import duration_text, num_of, printable, size_text

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from daemon.client.results import Status

BAR = "bar"  # below the progress
# What the panel is headed with where no daemon is known to run
NOT_RUNNING = dict.fromkeys(["stopped", "dead", "never started"], "not running") | {
    "silent": "silent",
    "unreadable": "unknown",
}
# What the worker does besides steps
ACTIVITIES = {
    "preparing": "preparing its rows",
    "evaluating": "evaluating",
    "previewing": "answering the prompts of previews",
    "saving": "saving a checkpoint",
}
LEAST_IMPORTANT_FIRST = (
    *(
        "done",
        "suites",
        "not measured",
        "disk",
        "checkpoint",
        "model",
        "global step",
        BAR,
        "waiting",
        "inbox",
        "speed",
        "now",
    ),
    *("loss", "progress", "file", "pause", "last state", "reason"),
)
AROUND_VALUES = 6  # columns: border and padding of the panel, and between the two columns
BORDER_LINES = 3  # and the line below, where the cursor stands
BAR_WIDTH = 40  # columns; fits beside the names on the narrowest terminal


def draw(status: "Status", *, within: "Console | None" = None) -> "RenderableType":
    """Return a panel that shows the status to a person.

    Args:
        within: the terminal that it must fit into as a whole; None shows everything.
    """
    from rich.panel import Panel
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    fields = status.fields
    rows = list(_rows(status))
    if within:
        rows = _fitted(rows, within)
    table = Table.grid(padding=(0, 2))
    for row in rows:
        if row.name == BAR:
            done, total = fields.get("file_step") or 0, fields["file_total_steps"]
            table.add_row(Text(), ProgressBar(total=total, completed=done, width=BAR_WIDTH))
        else:
            table.add_row(Text(row.name, style=row.style or "dim"), Text(row.value, style=row.style))
    colour = "green" if status.is_running else "red"
    state = str(fields.get("status") or "unknown") if status.is_running else NOT_RUNNING[status.life]
    return Panel(table, title=Text(printable(state), style=f"bold {colour}"), border_style=colour)


def _fitted(rows: list[Row], terminal: "Console") -> list[Row]:
    from rich.text import Text

    beside = max(len(row.name) for row in rows if row.name != BAR) + AROUND_VALUES
    width = max(1, terminal.width - beside)

    def wrap(value: str) -> list[str]:
        return [line.plain for line in Text(value).wrap(terminal, width)]

    room = terminal.height - BORDER_LINES
    return fitting(rows, room=room, wrap=wrap, least_important_first=LEAST_IMPORTANT_FIRST)


def _rows(status: "Status") -> Iterator[Row]:
    for name, value in _lines(status):
        yield Row(name, typed_here(value), is_urgent=name in ("daemon", "last error"))
        if name == "progress" and status.is_running:
            yield Row(BAR, " ")
    for alert in status.fields.get("alerts") or []:
        yield Row(
            "alert" if status.is_running else "last alert",
            typed_here(printable(str(alert))),
            style="yellow",
            is_urgent=True,
        )


def _lines(status: "Status") -> list[tuple[str, str]]:
    fields = status.fields
    lines = [("daemon", status.life_text())]
    reason = fields.get("status_reason")
    if reason and status.is_running:
        lines.append(("reason", printable(str(reason))))
    elif reason:  # what a daemon that was killed had said of itself
        lines.append(("last state", f"{fields.get('status')}: {printable(str(reason))}"))
    if status.starts_paused:
        why = f" ({status.pause_reason})" if status.pause_reason else ""
        lines.append(("pause", f"the next daemon starts paused{why}, until: training_controller resume"))
    if fields.get("model_name"):
        lines.append(("model", f"{printable(str(fields['model_name']))} ({fields.get('method')})"))
    lines += _file_lines(status)
    lines += [
        ("global step", _number(fields.get("current_step"))),
        ("loss", f"{_decimal(fields.get('loss'))}   validation {_validation(fields)}"),
    ]
    lines += _evaluation_lines(fields)
    if is_stepping(status) and fields.get("tokens_per_sec") is not None:
        lines.append(("speed", f"{_number(fields['tokens_per_sec'])} tokens/s"))
    if status.in_inbox:
        lines.append(("inbox", f"{num_of(status.in_inbox, 'file')}, not taken in yet"))
    lines += _queue_lines(fields.get("queue") or {})
    if checkpoint := fields.get("last_checkpoint"):
        path = printable(str(checkpoint.get("path")))
        lines.append(("checkpoint", f"{path}, {_moment(checkpoint.get('at'))}"))
    lines += _disk_lines(fields.get("disk"), now=_now(status))
    error = fields.get("last_error")
    if error and error.get("message") != reason:
        where = f"{printable(str(error.get('file')))}: " if error.get("file") else ""
        message = printable(str(error.get("message")))
        lines.append(("last error", f"{_moment(error.get('at'))}, {where}{message}"))
    return lines


def _file_lines(status: "Status") -> list[tuple[str, str]]:
    fields = status.fields
    current, total = fields.get("current_file"), fields.get("file_total_steps")
    started = (fields.get("queue") or {}).get("processing") or 0
    if not current:
        is_held = not status.is_running or fields.get("status") in ("paused", "blocked", "loading")
        return [("file", f"{started:,} in queue/processing/, to be continued")] if started and is_held else []
    lines = [("file", f"{printable(str(current))} ({fields.get('priority') or 'being checked'})")]
    if words := activity(status):
        lines.append(("now", words))
    if total:
        is_known = is_stepping(status) and fields.get("eta_s") is not None
        left = f", {duration_text(fields['eta_s'])} left" if is_known else ""
        lines.append(("progress", f"step {_number(fields.get('file_step'))} of {_number(total)}{left}"))
    return lines


def _validation(fields: dict[str, Any]) -> str:
    loss, other = fields.get("validation_loss"), fields.get("validation_other_loss")
    weights = fields.get("validation_weights")
    if other is None:
        return with_weights(_decimal(loss), weights)
    average, last = (loss, other) if weights == "average" else (other, loss)
    return f"{_decimal(average)} averaged, {_decimal(last)} last"


def _evaluation_lines(fields: dict[str, Any]) -> list[tuple[str, str]]:
    lines = []
    if scores := fields.get("suite_scores"):
        shown = (f"{printable(str(name))} {_percent(score)}" for name, score in scores.items())
        lines.append(("suites", "   ".join(shown)))
    if why := fields.get("evaluation_left_out"):
        lines.append(("not measured", printable(str(why))))
    return lines


def _queue_lines(queue: dict[str, Any]) -> list[tuple[str, str]]:
    ended = {"completed": "recently_completed", "failed": "failed", "skipped": "skipped"}
    return [
        ("waiting", "   ".join(f"{name} {queue.get(name, 0):,}" for name in ("high", "normal", "low"))),
        ("done", "   ".join(f"{name} {queue.get(folder, 0):,}" for name, folder in ended.items())),
    ]


def _now(status: "Status") -> float | None:
    """Return when the status was read, in Unix seconds."""
    beat = status.fields.get("heartbeat_at")
    return datetime.fromisoformat(beat).timestamp() + status.age_s if isinstance(beat, str) else None


def _disk_lines(disk: dict[str, Any] | None, *, now: float | None) -> list[tuple[str, str]]:
    if not disk:
        return []
    growth = growth_text(disk.get("growth_bytes_per_hour"), disk.get("full_in_s"))
    used, free = (size_text(disk.get(name, 0)) for name in ("used_bytes", "free_bytes"))
    measured = _measured(disk.get("measured_at"), now)
    return [("disk", f"{used} used here, {free} free{growth}{measured}")]


def _measured(at: object, now: float | None) -> str:
    """Return how long ago the disk was measured, unless that is not known, or less than a minute."""
    from daemon.cli.history_view import UNKNOWN, ago_text

    ago = ago_text(at, now=now) if isinstance(at, str) and now is not None else UNKNOWN
    return f" (measured {ago})" if ago.endswith(" ago") else ""


def is_stepping(status: "Status") -> bool:
    """Whether steps are being taken, so that speed and time left mean something."""
    return status.is_running and status.fields.get("status") in ("training", "stopping")


def activity(status: "Status") -> str | None:
    """Return what the worker does while it takes no step; None while it does, or nothing is known."""
    return ACTIVITIES.get(str(status.fields.get("worker_section"))) if is_stepping(status) else None


def _moment(at: object) -> str:
    """Return a time of the status file without its fractions of a second."""
    return f"{at[:10]} {at[11:19]} UTC" if isinstance(at, str) else "-"


def _number(value: Any) -> str:
    return f"{value:,.0f}" if isinstance(value, int | float) else "-"


def _percent(score: dict[str, Any]) -> str:
    """Return how many of a suite's answers were right, and when."""
    return f"{score.get('exact_match', 0):.0%} correct at step {_number(score.get('step'))}"


def _decimal(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, int | float) else "-"
