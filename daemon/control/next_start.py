"""Say whether the next daemon will start paused, or stop at once. Reads what lies there, changes nothing."""

from dataclasses import dataclass
from pathlib import Path

from daemon.control.control_files import read_requests
from daemon.control.pause_file import PauseFile
from trainer.protocol.layout import Layout
from trainer.protocol.text import printable


@dataclass(frozen=True)
class Pause:
    """A pause that will hold when a daemon starts."""

    reason: str | None
    """Printable."""


def pause_at_start(layout: Layout) -> Pause | None:
    """Return the pause that would hold after a start; None if training would begin.

    A daemon obeys a pause or a resume that was requested while none ran, the older one first.
    """
    kept = PauseFile(layout.pause_file)
    pause = Pause(kept.reason and printable(kept.reason)) if kept.is_set else None
    for request in read_requests(layout):
        if request.name == "pause":
            pause = Pause(request.reason or (pause.reason if pause else None))
        elif request.name == "resume":
            pause = None
    return pause


def stop_at_start(layout: Layout) -> Path | None:
    """Return the control file for which a daemon stops again as soon as it has started; None without one."""
    return next((request.path for request in read_requests(layout) if request.is_emergency), None)
