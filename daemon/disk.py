"""Watch the disk: have it measured now and then, and space freed before training is blocked.

Reading whole folders takes time and memory, so a process of its own does it. The daemon asks the file system
how much is free, and writes `status/disk.json`.
"""

import os
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel, ValidationError

from daemon.journal.events import DiskAmple, DiskFreed, DiskLow, FewestKept
from daemon.journal.journal import Journal
from daemon.outcomes import outcome_of
from daemon.status.board import StatusBoard
from trainer.config.schema import CheckpointSettings, Settings
from trainer.protocol import one_shot
from trainer.protocol.disk import (
    MODULE,
    ORDER,
    REPORT_NAME,
    ActKind,
    Cleaning,
    CleaningPlan,
    CleanOrder,
    DiskOrder,
    DiskReport,
    MeasureOrder,
    Sample,
    SpineRules,
    Usage,
    full_in_s,
    growth_per_hour,
    limit_bytes,
    with_margin,
    with_sample,
)
from trainer.protocol.files import UnreadableFile, read_json, write_json
from trainer.protocol.layout import Layout
from trainer.protocol.masking import local_folder
from trainer.protocol.status import DiskSpace
from trainer.protocol.text import num_of, size_text, utc_text

FIRST_AFTER_S = 60.0  # a daemon has other things to do at first, and many never live that long
CHECK_EVERY_S = 1.0
TRY_AGAIN_S = 600.0  # after freeing has not helped
WORKER_HELPS_WITHIN_S = 30.0
MOST_TIMES_ASKED = 5
MOST_SHARE = 0.01  # of the time that may go into measuring
REMOVED_SHOWN = 20
KINDS: dict[ActKind, str] = {
    "leftover": "leftover",
    "version_trash": "deleted version",
    "queue_trash": "folder of cleared file",
    "token_cache": "token cache",
    "base_model": "base model that nothing needs",
    "optimizer_state": "optimizer state",
    "checkpoint": "checkpoint",
}
FEWEST = {"keep_last": 2, "keep_every": None, "keep_best": 0}


class DiskKeeper:
    """Measures and frees space, one at a time and in a process of its own.

    Args:
        tell_worker: gives a worker that runs the rules by which it keeps checkpoints.
        on_result: called from a thread when `look_after` has something to do.
        clock: monotonic seconds.
        wall_clock: Unix seconds.
    """

    def __init__(
        self,
        layout: Layout,
        journal: Journal,
        board: StatusBoard,
        *,
        tell_worker: Callable[[CheckpointSettings], None],
        on_result: Callable[[], None],
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
    ) -> None:
        self._layout = layout
        self._journal = journal
        self._board = board
        self._tell_worker = tell_worker
        self._on_result = on_result
        self._clock = clock
        self._wall_clock = wall_clock
        self._file = layout.status / REPORT_NAME
        self._report = read_report(self._file)
        self._task: _Task | None = None
        self._began = clock()
        self._measure_at = self._began + FIRST_AFTER_S
        self._check_at = self._free_at = float("-inf")
        self._is_low = False
        self._times_asked = 0  # how often in a row the worker was to help
        self.advice = ""
        """What a person can do where nothing more may be removed; empty unless that was tried."""
        if self._report:
            self._show(self._report)

    @property
    def is_freeing(self) -> bool:
        """Whether space is being freed right now."""
        return self._task is not None and isinstance(self._task.order, CleanOrder)

    def look_after(self, settings: Settings) -> None:
        """Take in what was measured or freed, and begin what is due."""
        if self._task and self._task.is_done:
            task, self._task = self._task, None
            self._take(task, settings)
        now = self._clock()
        if now < self._check_at:
            return
        self._check_at = now + CHECK_EVERY_S
        wanted = self._wanted_bytes(settings)
        free = _free_bytes(self._layout.models)
        if free is None or free >= wanted:
            self._end_shortage(free)
        elif self._task is None and now >= self._free_at:
            self._start_freeing(settings, wanted)
        if self._task is None and now >= self._measure_at:
            backups = local_folder(settings.backup.to, self._layout.base)
            self._start(MeasureOrder(base_dir=self._layout.base, backups=backups))

    def due_at(self) -> float:
        """Return when `look_after` is to be called next, in monotonic seconds."""
        return self._measure_at if self._task is None else float("inf")  # its result wakes the daemon

    # ---- begin

    def _wanted_bytes(self, settings: Settings) -> int:
        """Return how much is to be free."""
        return limit_bytes(
            settings.disk.min_free_bytes,
            blocks_below=settings.daemon.min_free_bytes,
            checkpoint_bytes=self._report.usage.checkpoint_bytes if self._report else 0,
        )

    def _start_freeing(self, settings: Settings, wanted: int) -> None:
        self._start(
            CleanOrder(
                base_dir=self._layout.base,
                wanted_bytes=with_margin(wanted),
                spine=SpineRules.model_validate(settings.checkpoints, from_attributes=True),
                enough_bytes=wanted,
                version_trash_kept_s=settings.disk.version_trash_kept_s,
                queue_trash_kept_s=settings.disk.queue_trash_kept_s,
                worker_obeys=True,
                carry_out=True,
            )
        )

    def _start(self, order: CleanOrder | MeasureOrder) -> None:
        self._task = _Task(order, self._clock, self._on_result)

    # ---- take in

    def _take(self, task: "_Task", settings: Settings) -> None:
        now = self._clock()
        if isinstance(task.result, Usage):
            self._note(task.result)
        elif isinstance(task.result, CleaningPlan):
            self._note_cleaning(task.result, settings)
        elif isinstance(task.order, CleanOrder):
            self._free_at = now + TRY_AGAIN_S
            self._report_shortage(f"no space could be freed: {task.result}")
        if not isinstance(task.order, CleanOrder):
            # Often at first: a model that is young doubles what it takes with a checkpoint
            interval_s = min(settings.disk.measure_interval_s, now - self._began)
            self._measure_at = now + max(interval_s, task.seconds / MOST_SHARE)

    def _note(self, usage: Usage) -> None:
        sample = Sample(at=self._wall_clock(), used_bytes=usage.used_bytes)
        before = self._report
        samples = with_sample(before.samples if before else (), sample)
        growth = growth_per_hour(samples)
        report = DiskReport(
            measured_at=utc_text(sample.at),
            usage=usage,
            used_bytes=usage.used_bytes,
            growth_bytes_per_hour=growth,
            full_in_s=full_in_s(usage.free_bytes, growth),
            samples=samples,
            last_cleaning=before.last_cleaning if before else None,
        )
        self._publish(report)

    def _note_cleaning(self, done: CleaningPlan, settings: Settings) -> None:
        if done.acts:
            self._journal.record(
                DiskFreed(
                    freed_bytes=done.frees_bytes,
                    free_bytes=done.free_bytes,
                    what=what_went(done),
                    removed=named(done),
                )
            )
            self._note_freed(done)
            self._measure_at = self._clock()
        wanted = self._wanted_bytes(settings)
        needs_worker = done.is_for_worker and done.free_bytes < wanted
        self._times_asked = self._times_asked + 1 if needs_worker else 0
        if 0 < self._times_asked <= MOST_TIMES_ASKED:
            self._journal.record(FewestKept(free_bytes=done.free_bytes))
            # It is the only one that may remove them while it runs; then the rules are as before
            self._tell_worker(settings.checkpoints.model_copy(update=FEWEST))
            self._tell_worker(settings.checkpoints)
            self._free_at = self._clock() + WORKER_HELPS_WITHIN_S
        elif done.is_enough:
            self._free_at = float("-inf")
        else:
            self._free_at = self._clock() + TRY_AGAIN_S
            if done.free_bytes < wanted:
                self._report_shortage(why_nothing_goes(done, wanted))

    def _note_freed(self, done: CleaningPlan) -> None:
        if self._report:
            cleaning = Cleaning(
                at=self._journal.now_text(),
                freed_bytes=done.frees_bytes,
                removed=named(done),
            )
            # What grew before does not tell how fast it grows from here on
            self._report = self._report.model_copy(update={"samples": (), "last_cleaning": cleaning})

    def _report_shortage(self, problem: str) -> None:
        self.advice = f"; {problem}"
        if not self._is_low:
            self._is_low = True
            self._journal.record(DiskLow(problem=problem))

    def _end_shortage(self, free: int | None) -> None:
        self.advice = ""
        if self._is_low and free is not None:
            self._is_low = False
            self._free_at = float("-inf")
            self._journal.record(DiskAmple(free_bytes=free))

    # ---- show

    def _publish(self, report: DiskReport) -> None:
        self._report = report
        self._show(report)
        write_json(self._file, report.model_dump(mode="json"), durable=False)

    def _show(self, report: DiskReport) -> None:
        self._board.set(
            disk=DiskSpace(
                used_bytes=report.used_bytes,
                free_bytes=report.usage.free_bytes,
                growth_bytes_per_hour=report.growth_bytes_per_hour,
                full_in_s=report.full_in_s,
                measured_at=report.measured_at,
            )
        )


class _Task:
    """One order, carried out beside the daemon."""

    def __init__(
        self, order: CleanOrder | MeasureOrder, clock: Callable[[], float], on_result: Callable[[], None]
    ) -> None:
        self.order = order
        self.result: BaseModel | Exception | None = None
        self.seconds = 0.0
        self._clock = clock
        self._on_result = on_result
        self._began = clock()
        threading.Thread(target=self._run, name="disk", daemon=True).start()

    @property
    def is_done(self) -> bool:
        return self.result is not None

    def _run(self) -> None:
        answer: type[Usage] | type[CleaningPlan] = (
            CleaningPlan if isinstance(self.order, CleanOrder) else Usage
        )
        result = outcome_of(
            lambda: one_shot.ask(MODULE, DiskOrder(order=self.order), answer),
            failure="the disk could not be measured or freed",
        )
        self.seconds = self._clock() - self._began
        self.result = result
        self._on_result()


def read_report(file: Path) -> DiskReport | None:
    """Return what was measured last; None if nothing was, or it cannot be read."""
    try:
        return DiskReport.model_validate(read_json(file))
    except (OSError, UnreadableFile, ValidationError):
        return None


def what_went(done: CleaningPlan) -> str:
    """Return how many of each kind were removed."""
    counts = Counter(act.kind for act in done.acts)
    return ", ".join(num_of(counts[kind], KINDS[kind]) for kind in ORDER if counts[kind])


def named(done: CleaningPlan) -> tuple[str, ...]:
    """Return the first paths; those of caches say nothing to anybody."""
    return tuple(act.path for act in done.acts if act.kind != "token_cache")[:REMOVED_SHOWN]


def why_nothing_goes(done: CleaningPlan, wanted: int) -> str:
    """Return for a person why not enough is free, and what can be done."""
    freed = f"{size_text(done.frees_bytes)} were freed, and" if done.acts else "nothing was freed, because"
    return (
        f"{freed} what else may be removed would not make {size_text(wanted)} free; delete what you do not "
        "need (training_models disk shows what lies where), or unpin checkpoints, or add a disk"
    )


def _free_bytes(folder: Path) -> int | None:
    try:
        disk = os.statvfs(folder)
    except OSError:  # it is unmounted, for instance, which is reported elsewhere
        return None
    return disk.f_bavail * disk.f_frsize
