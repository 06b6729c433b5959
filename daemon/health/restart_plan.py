"""What a restart would do: which file comes first, at which step and which lines. Changes nothing."""

import math
import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from daemon.files.identity import Identity, identity_of
from daemon.files.names import is_training_file
from daemon.files.notes import is_users_file
from daemon.jobs.replay import choose
from daemon.ledger.completed_files import Completed
from daemon.ledger.reader import LedgerJob
from trainer.config.schema import Settings
from trainer.data.plan import plan_of
from trainer.data.reading.rows import FileChanged, RowIndex, index_rows, open_regular
from trainer.protocol.job import Cursor, EarlierFile, Priority
from trainer.protocol.layout import Layout
from trainer.protocol.manifest import Progress
from trainer.protocol.text import printable

PROCESSING = "processing"


@dataclass(frozen=True, kw_only=True)
class GoesOn:
    """The file that is trained first."""

    file: str
    """Its place below the working directory, printable."""
    job_id: str
    step: int
    """The next step of the file, counted from 1."""
    total_steps: int
    lines: tuple[int, ...]
    """Where the rows of that step are in the file, counted from 1, in the order of training; without rows
    that are replayed from other files."""


@dataclass(frozen=True, kw_only=True)
class CannotGoOn:
    """The file that comes first, and why no step of it would be trained."""

    file: str
    job_id: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class RestartPlan:
    """The first things a restart does with the files, in this order."""

    put_away: tuple[str, ...]
    """Files in processing/ that are fully trained."""
    checked: tuple[str, ...]
    """Files that the ledger does not know."""
    first: GoesOn | CannotGoOn | None
    overtaken_by: str | None
    """A more urgent file, which preempts the first one after a step."""
    others: int
    """Known files that come later."""


@dataclass(frozen=True)
class NoPlan:
    """What a restart would do with the files cannot be said."""

    reason: str


@dataclass(frozen=True)
class _Found:
    """An open job with its file."""

    job: LedgerJob
    path: Path

    @property
    def is_started(self) -> bool:
        return self.path.parent.name == PROCESSING

    @property
    def rank(self) -> int:
        """How urgent it is; the folder of a waiting file says so, whatever the ledger says."""
        return self.job.priority.rank if self.is_started else Priority(self.path.parent.name).rank

    def order(self) -> tuple[int, float, str]:
        """Sort as the daemon chooses: in the order of begins, then the most urgent, then the oldest."""
        number = math.inf if self.job.start_number is None else self.job.start_number
        return (0, number, self.job.id) if self.is_started else (1, self.rank, self.job.id)


def plan_restart(
    layout: Layout,
    jobs: Collection[LedgerJob],
    progress: Progress,
    settings: Settings,
    *,
    completed: Sequence[Completed] = (),
) -> RestartPlan:
    """Return what a restart would do with the files as they lie there now.

    Args:
        jobs: the open ones, and those that have ended with a file of `processed_inodes`.
        progress: of the checkpoint that would be loaded.
        settings: those for a job that has not started.
        completed: files that such a job may replay rows from.
    """
    found, unknown = _match(layout, jobs)
    ended = {record.job_id for record in progress.finished}
    put_away = [item for item in found if item.is_started and (item.job.is_ended or item.job.id in ended)]
    coming = sorted((item for item in found if item not in put_away), key=_Found.order)
    first = None
    if coming:
        job = coming[0].job
        chosen = choose(completed, layout, sha256=job.sha256) if job.settings is None else ()
        replayed = job.replayed or tuple(item.file for item in chosen)
        first = _look_into(coming[0], layout, progress.cursors.get(job.id), settings, replayed)
    return RestartPlan(
        put_away=tuple(_place(item.path, layout) for item in put_away),
        checked=tuple(_place(path, layout) for path in unknown),
        first=first,
        overtaken_by=_overtaking(coming, layout) if settings.daemon.preempt else None,
        others=max(0, len(coming) - 1),
    )


def processed_inodes(layout: Layout) -> set[int]:
    """Return the inodes of the files in processing/, of which some may have ended already."""
    return {identity.inode for path, identity in _files(layout) if path.parent == layout.processing}


def _overtaking(coming: Sequence[_Found], layout: Layout) -> str | None:
    waiting = next((item for item in coming if not item.is_started), None)
    return _place(waiting.path, layout) if waiting and waiting.rank < coming[0].rank else None


def _match(layout: Layout, jobs: Collection[LedgerJob]) -> tuple[list[_Found], list[Path]]:
    """Find the files of jobs by what they are; names and folders may have changed by hand."""
    by_identity: dict[Identity, list[LedgerJob]] = {}
    for job in jobs:
        by_identity.setdefault(job.identity, []).append(job)
    found, unknown = [], []
    for path, identity in _files(layout):
        known = by_identity.get(identity, [])
        is_processed = path.parent == layout.processing
        candidates = [job for job in known if is_processed or not job.is_ended]
        if not candidates:
            unknown.append(path)
            continue
        job = min(
            candidates, key=lambda job: (job.is_ended, job.name != path.name)
        )  # hard links share a file
        known.remove(job)
        found.append(_Found(job, path))
    return found, unknown


def _files(layout: Layout) -> Iterator[tuple[Path, Identity]]:
    for folder in [layout.processing, *(layout.waiting(priority) for priority in Priority)]:
        is_meant = is_users_file if folder == layout.processing else is_training_file
        for name in sorted(filter(is_meant, os.listdir(folder))):
            try:
                yield folder / name, identity_of((folder / name).lstat())
            except FileNotFoundError:
                continue  # a daemon that runs has just moved it


def _look_into(
    item: _Found,
    layout: Layout,
    cursor: Cursor | None,
    settings: Settings,
    replayed: Sequence[EarlierFile],
) -> GoesOn | CannotGoOn:
    place, job = _place(item.path, layout), item.job
    frozen = cursor.settings if cursor else job.settings
    try:
        own = settings if frozen is None else Settings.model_validate(frozen)
        with open_regular(item.path) as file:
            rows = index_rows(
                file,
                item.path.name,
                sha256=job.sha256,
                rejected_lines=job.rejected_lines,
                max_line_bytes=own.data.max_line_bytes,
            )
    except (OSError, FileChanged, ValidationError) as error:
        return CannotGoOn(file=place, job_id=job.id, reason=printable(str(error)))
    return _next_step(place, job, rows, own, cursor, cursor.replayed if cursor else replayed)


def _next_step(
    place: str,
    job: LedgerJob,
    rows: RowIndex,
    settings: Settings,
    cursor: Cursor | None,
    replayed: Sequence[EarlierFile],
) -> GoesOn | CannotGoOn:
    plan = plan_of(
        job.sha256,
        len(rows),
        replayed,
        rows_per_step=settings.training.rows_per_step,
        epochs=settings.training.epochs,
        seed=settings.training.seed,
        replay_fraction=settings.training.replay_fraction,
    )
    if cursor and cursor.plan != plan.fingerprint:
        reason = (
            f"the checkpoint counts steps of plan {printable(cursor.plan)}, "
            f"but the file and its settings make plan {plan.fingerprint}"
        )
        return CannotGoOn(file=place, job_id=job.id, reason=reason)
    ahead = range(cursor.step if cursor else 0, plan.num_steps)
    step = next((step for step in ahead if not any(step in window for window in job.left_out)), None)
    if step is None:
        return CannotGoOn(file=place, job_id=job.id, reason="it has no steps left to train")
    return GoesOn(
        file=place,
        job_id=job.id,
        step=step + 1,
        total_steps=plan.num_steps,
        lines=tuple(rows.line_number(position) for position in plan.positions(step)),
    )


def _place(path: Path, layout: Layout) -> str:
    return printable(str(path.relative_to(layout.base)))
