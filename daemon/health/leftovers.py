"""What processes have left half-done. None of it is ever read again."""

import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from daemon.files.leftovers import is_abandoned
from daemon.health.check_result import CheckResult, ok, warning
from daemon.health.machine import FIX
from trainer.protocol.checkpoints import AVERAGE_POINTER, FOLDER, POINTER
from trainer.protocol.layout import Layout
from trainer.protocol.text import printable

# One process makes each of these, so without it nobody needs them
POINTERS = (f"models/.{POINTER}.tmp", f"models/.{AVERAGE_POINTER}.tmp")
OF_WORKER = ("models/.staging", *POINTERS, f"models/{FOLDER}/.trash-*")


def find_leftovers(layout: Layout, *, daemon_runs: bool, worker_runs: bool) -> list[Path]:
    """Return what processes that are gone have left.

    The inbox is left out: whatever lies there is somebody else's.
    """
    unneeded = () if worker_runs else OF_WORKER
    found = [path for pattern in unneeded for path in layout.base.glob(pattern) if not _is_empty(path)]
    folders = [folder for folder in layout.folders() if layout.inbox not in (folder, folder.parent)]
    for folder in [layout.base, *folders]:
        found += _half_written(folder, daemon_runs)
    return sorted(found)


def _is_empty(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink() and not any(path.iterdir())


def _half_written(folder: Path, daemon_runs: bool) -> Iterator[Path]:
    with suppress(OSError):  # what is wrong with a folder is found where folders are checked
        for path in folder.iterdir():
            if is_abandoned(path.name, daemon_runs=daemon_runs):
                yield path


def check_leftovers(leftovers: list[Path], base: Path, *, somebody_runs: bool) -> CheckResult:
    """Say how many there are, and how they go."""
    if not leftovers:
        return ok("leftovers", "none")
    shown = ", ".join(printable(str(path.relative_to(base))) for path in leftovers[:3])
    more = f" and {len(leftovers) - 3} more" if len(leftovers) > 3 else ""
    advice = f"they only take up space; remove them with: {FIX}"
    if somebody_runs:
        advice += ", once the daemon is stopped"
    return warning("leftovers", f"{shown}{more}: left half-done by a process that is gone", advice)


def remove(path: Path) -> None:
    """Remove a left-over; a link is removed itself, not what it points to."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
    else:
        shutil.rmtree(path)
