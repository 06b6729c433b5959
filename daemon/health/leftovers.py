"""What processes that died have left half-done. None of it is ever read again."""

import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from daemon.health.finding import Finding, ok, warning
from daemon.health.machine import FIX
from trainer.protocol.checkpoints import FOLDER, POINTER
from trainer.protocol.child_process import is_running
from trainer.protocol.layout import Layout
from trainer.protocol.text import printable

# .NAME.PID.tmp and .PID.part: written beside their target and renamed onto it
WRITTEN_BY = re.compile(r"\.(?:.+\.)?(\d+)\.(?:tmp|part)")
# One process makes each of these, so without it nobody needs them
OF_WORKER = ("models/.staging", f"models/.{POINTER}.tmp", f"models/{FOLDER}/.trash-*")
OF_DAEMON = ("queue/failed/.*.rejected.jsonl.part",)


def find_leftovers(layout: Layout, *, daemon_runs: bool, worker_runs: bool) -> list[Path]:
    """Return what dead processes have left.

    The inbox is left out: whatever lies there is somebody else's.
    """
    unneeded = (() if worker_runs else OF_WORKER) + (() if daemon_runs else OF_DAEMON)
    found = [path for pattern in unneeded for path in layout.base.glob(pattern)]
    folders = [folder for folder in layout.folders() if layout.inbox not in (folder, folder.parent)]
    for folder in [layout.base, *folders]:
        found += _half_written(folder)
    return sorted(found)


def _half_written(folder: Path) -> Iterator[Path]:
    with suppress(OSError):  # what is wrong with a folder is found where folders are looked at
        for path in folder.iterdir():
            writer = WRITTEN_BY.fullmatch(path.name)
            if writer and not is_running(int(writer[1])):
                yield path


def check_leftovers(leftovers: list[Path], base: Path, *, somebody_runs: bool) -> Finding:
    """Say how many there are, and how they go."""
    if not leftovers:
        return ok("leftovers", "none")
    shown = ", ".join(printable(str(path.relative_to(base))) for path in leftovers[:3])
    more = f" and {len(leftovers) - 3} more" if len(leftovers) > 3 else ""
    advice = f"they only take up space; remove them with: {FIX}"
    if somebody_runs:
        advice += ", once the daemon is stopped"
    return warning("leftovers", f"a process that died has left {shown}{more}", advice)


def remove(path: Path) -> None:
    """Remove a left-over; a link is removed itself, not what it points to."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
    else:
        shutil.rmtree(path)
