"""Decide when a checkpoint is due, and see it through: which ended jobs it contains, and what it cost."""

import os
import time
from collections.abc import Callable
from typing import Protocol

from trainer.checkpoints.publishing import NoRoom
from trainer.config.schema import CheckpointSettings
from trainer.protocol.job import JobRecord
from trainer.protocol.manifest import Progress
from trainer.protocol.messages import CheckpointPublished, CheckpointRef
from trainer.reporting.reporter import Reporter

MAX_SHARE = 0.035  # of the time that may go into saving
# Ended jobs that force a save, so that none is forgotten before it was filed away
COMMIT_AT_THE_LATEST = 1_000


class PendingSave(Protocol):
    """A checkpoint on its way to the disk."""

    def is_done(self) -> bool:
        """Whether `result` returns at once."""
        ...

    def result(self) -> CheckpointRef:
        """Return the checkpoint once it is durable; OSError if it could not be written."""
        ...


class Savable(Protocol):
    """What is saved."""

    progress: Progress

    def save(self, settings: CheckpointSettings) -> PendingSave:
        """Begin to publish a checkpoint of the present state."""
        ...


class Saver:
    """Saves one session.

    Args:
        clock: monotonic seconds.
    """

    def __init__(
        self, savable: Savable, reporter: Reporter, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._savable = savable
        self._reporter = reporter
        self._clock = clock
        self._uncommitted: list[JobRecord] = []
        self._first_uncommitted_at = 0.0
        self._pending: PendingSave | None = None
        self._being_saved: list[JobRecord] = []
        self._began_at = 0.0
        self._began_step = savable.progress.global_step
        self._stall_s = 0.0
        self._cost_s = 0.0
        self._is_required = False
        self._saved_at = clock()
        self._saved_step = savable.progress.global_step

    @property
    def has_unsaved(self) -> bool:
        """Something was trained, or ended, that no published checkpoint contains."""
        is_newer = self._savable.progress.global_step != self._saved_step
        return bool(self._uncommitted or self._pending or is_newer or self._is_required)

    def require(self) -> None:
        """Have the next save publish a checkpoint, even if nothing was trained."""
        self._is_required = True

    @property
    def is_saving(self) -> bool:
        """Whether a checkpoint is on its way to the disk."""
        return self._pending is not None

    @property
    def has_uncommitted(self) -> bool:
        """An ended job waits for the checkpoint that contains it."""
        return bool(self._uncommitted or self._being_saved)

    def job_ended(self, record: JobRecord) -> None:
        """Have the next checkpoint tell of a job."""
        if not self._uncommitted:
            self._first_uncommitted_at = self._clock()
        self._uncommitted.append(record)

    # ---- when

    def is_due(self, settings: CheckpointSettings) -> bool:
        """Whether it is time to save. Saving more often than it is worth is put off."""
        now = self._clock()
        if self._uncommitted and (
            now >= self._commit_due_at(settings) or len(self._uncommitted) >= COMMIT_AT_THE_LATEST
        ):
            return True
        steps = self._savable.progress.global_step - self._began_step
        if settings.interval_steps and steps >= settings.interval_steps:
            return True
        return steps > 0 and now - self._saved_at >= max(settings.interval_s, self._cost_s / MAX_SHARE)

    def seconds_to_commit(self, settings: CheckpointSettings) -> float | None:
        """Return how long an idle session may wait; None when nothing waits for a checkpoint."""
        if self._pending:
            return 0.0
        if not self._uncommitted:
            return None
        return max(0.0, self._commit_due_at(settings) - self._clock())

    def _commit_due_at(self, settings: CheckpointSettings) -> float:
        return self._first_uncommitted_at + max(settings.group_commit_s, self._cost_s / MAX_SHARE)

    # ---- how

    def save(self, settings: CheckpointSettings, *, wait: bool) -> None:
        """Save the present state.

        Args:
            wait: until it is durable; otherwise it may be written while training continues.
        Raises:
            OSError: it cannot be written. Nothing is lost: the next save contains everything.
            BrokenModel: what was trained must not be saved.
        """
        self.finish()
        if self.has_unsaved:
            self._begin(settings)
        if self._pending and (wait or self._pending.is_done()):
            self.finish()

    def finish_if_done(self) -> None:
        """Take note of a checkpoint that was written meanwhile."""
        if self._pending and self._pending.is_done():
            self.finish()

    def finish(self) -> None:
        """Wait for the checkpoint that is being written, if there is one, and tell of it."""
        if self._pending is None:
            return
        pending, self._pending = self._pending, None
        waited_from = self._clock()
        try:
            with self._reporter.doing("saving"):
                checkpoint = pending.result()
        except BaseException:
            self._uncommitted = self._being_saved + self._uncommitted
            self._being_saved = []
            raise
        now = self._clock()
        self._stall_s += now - waited_from
        beside_s = now - self._began_at - self._stall_s  # took a core of the training's
        self._cost_s = self._stall_s + beside_s / (os.cpu_count() or 1)
        self._saved_at, self._saved_step = now, self._began_step
        self._is_required = False
        finished, self._being_saved = tuple(self._being_saved), []
        self._reporter.event(
            CheckpointPublished(
                checkpoint=checkpoint,
                finished=finished,
                seconds=now - self._began_at,
                stall_seconds=self._stall_s,
            )
        )

    def _begin(self, settings: CheckpointSettings) -> None:
        self._began_at = self._clock()
        with self._reporter.doing("saving"):
            self._pending = self._savable.save(settings)
        self._began_step = self._savable.progress.global_step
        self._being_saved, self._uncommitted = self._uncommitted, []
        self._stall_s = self._clock() - self._began_at


def why_not_saved(error: OSError) -> str:
    """Return for a person why everything waits."""
    if isinstance(error, NoRoom):
        return str(error)
    return (
        f"no checkpoint can be saved: {error}; expected to write to models/; it is tried again automatically"
    )
