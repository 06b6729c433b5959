"""What the curves are marked with: files, checkpoints, versions, ways back, steps that did nothing."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from daemon.client.errors import UnreadableHistory, raising
from daemon.ledger.branches import read_branches
from daemon.ledger.marks import (
    FileBorder,
    NotApplied,
    TrainedRows,
    read_file_borders,
    read_not_applied,
    read_trained_rows,
    read_ways_back,
)
from daemon.ledger.reader import UnreadableLedger
from trainer.protocol.checkpoints import FOLDER, published
from trainer.protocol.layout import Layout

if TYPE_CHECKING:
    from daemon.client.history import History
    from daemon.client.models import Models

MOST = 500  # of each kind
STEP_IN_NAME = re.compile(r"step-(\d+)")


@dataclass(frozen=True, kw_only=True)
class CheckpointMark:
    """A checkpoint that is kept."""

    step: int
    name: str


@dataclass(frozen=True, kw_only=True)
class VersionMark:
    """A version of what the model is now; those of branches that it has left are no part of its curves."""

    step: int
    id: str
    made_by: str
    aliases: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class WayBack:
    """The model went back to a step, and the steps after it were taken anew."""

    step: int
    left_step: int
    at: str
    """UTC, ISO 8601."""
    why: str
    """rollback, gate or forget."""
    reason: str


@dataclass(frozen=True, kw_only=True)
class Marks:
    """What happened in a range of global steps, of each kind the newest, oldest first."""

    files: list[FileBorder]
    checkpoints: list[CheckpointMark]
    versions: list[VersionMark]
    went_back: list[WayBack]
    not_applied: list[NotApplied]
    left_out: dict[str, int]
    """How many more there are of a kind than are listed; kinds of which all are listed are left out."""


@dataclass(frozen=True, kw_only=True)
class TrainedInSteps:
    """Which files, and which of their rows, were trained in a range of steps."""

    rows: list[TrainedRows]
    """The first of them, in their order."""
    left_out: int
    """How many more stretches there are."""


def rows_in_steps(layout: Layout, first: int, last: int, *, limit: int) -> TrainedInSteps:
    """Return what was trained in a range of global steps.

    Raises:
        UnreadableHistory: the ledger cannot be read.
    """
    with raising(UnreadableHistory, UnreadableLedger):
        rows, number = read_trained_rows(layout.ledger_file, first=first, last=last, limit=limit)
    return TrainedInSteps(rows=rows, left_out=number - len(rows))


def read_marks(
    layout: Layout, models: "Models", history: "History", *, first: int | None, last: int | None
) -> Marks:
    """Return the marks in a range of global steps.

    Raises:
        UnreadableHistory: the ledger cannot be read.
    """
    least = first or 0
    newest = history.newest_step()
    last = newest if last is None else min(last, newest)
    with raising(UnreadableHistory, UnreadableLedger):
        files, num_files = read_file_borders(layout.ledger_file, first=least, last=last, limit=MOST)
        idle, num_idle = read_not_applied(layout.ledger_file, first=least, last=last, limit=MOST)
        back = [
            WayBack(
                step=item.from_step,
                left_step=item.left_step,
                at=item.at,
                why=item.why,
                reason=item.reason,
            )
            for item in read_branches(layout.ledger_file)
            if least <= item.from_step <= last
        ]
        until = _present_path(read_ways_back(layout.ledger_file))
    checkpoints = [item for item in _checkpoints(layout) if least <= item.step <= last]
    versions = [
        VersionMark(step=line.global_step, id=line.id, made_by=line.made_by, aliases=line.aliases)
        for line in models.versions()
        if least <= line.global_step <= min(last, until.get(line.branch, -1))
    ]
    versions.sort(key=lambda item: item.step)
    counts = {
        "files": num_files - len(files),
        "checkpoints": len(checkpoints) - MOST,
        "versions": len(versions) - MOST,
        "went_back": len(back) - MOST,
        "not_applied": num_idle - len(idle),
    }
    return Marks(
        files=files,
        checkpoints=checkpoints[-MOST:],
        versions=versions[-MOST:],
        went_back=back[-MOST:],
        not_applied=idle,
        left_out={kind: number for kind, number in counts.items() if number > 0},
    )


def _present_path(began: dict[int, tuple[int, int]]) -> dict[int, float]:
    """Return up to which step each branch led to the present state; others are missing.

    Args:
        began: from which branch, and at which step of it, each branch began.
    """
    branch, until = max(began, default=0), float("inf")
    path = {branch: until}
    while branch in began:
        branch, step = began[branch]
        until = min(until, step)
        path[branch] = until
    return path


def _checkpoints(layout: Layout) -> list[CheckpointMark]:
    """Return the checkpoints that are there, oldest first, without reading any."""
    found = [(STEP_IN_NAME.match(path.name), path.name) for path in published(layout.models / FOLDER)]
    marks = [CheckpointMark(step=int(match[1]), name=name) for match, name in found if match]
    return sorted(marks, key=lambda mark: mark.step)
