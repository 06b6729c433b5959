"""Train a known history again: the commands that lead an engine through its stretches, one after another."""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from trainer.protocol.forgetting import Item, RetrainedJob, Stretch
from trainer.protocol.job import JobRecord, Outcome
from trainer.protocol.manifest import Progress
from trainer.protocol.messages import Command, PreemptJob, QueueEmpty, ShutDown, SkipJob, StartJob

AT_END = "everything is trained again"


class History:
    """Jobs, and the order in which they were trained."""

    def __init__(self, items: Iterable[Item]) -> None:
        self.jobs: dict[str, RetrainedJob] = {}
        self.stretches: list[Stretch] = []
        for item in items:
            match item:
                case RetrainedJob():
                    self.jobs[item.job.id] = item
                case Stretch():
                    self.stretches.append(item)


class Retraining:
    """A source of commands for a session: each job is stopped where it was, or ends where it ended.

    Args:
        progress: asked for how far the engine is.
        replay_folder: where the files that are replayed lie, by the ids of their jobs.
        is_cut_short: asked between steps whether to leave early.
    """

    def __init__(
        self,
        history: History,
        progress: Callable[[], Progress],
        *,
        replay_folder: Path,
        is_cut_short: Callable[[], bool] = lambda: False,
    ) -> None:
        self._history = history
        self._progress = progress
        self._replay_folder = replay_folder
        self._is_cut_short = is_cut_short
        done = stretches_done(history.stretches, progress())
        self._left = deque(history.stretches[done:])
        self._current: Stretch | None = None
        self._has_reported_end = False
        self._is_leaving = False

    def get(self, timeout_s: float | None) -> Command | None:
        """Return the next command; see `CommandSource`."""
        if not self._is_leaving and self._is_cut_short():
            self._is_leaving = True
            return ShutDown(reason="asked to stop")  # once: a session asks until there is nothing left
        if self._is_leaving:
            return None if timeout_s == 0 else ShutDown(reason="asked to stop")
        if timeout_s == 0:
            return self._between_steps()
        while self._left and _has_ended(self._left[0], self._progress()):
            self._left.popleft()  # with its new plan it has fewer steps
        if self._left:
            self._current = self._left.popleft()
            return self._start(self._current)
        if not self._has_reported_end:
            self._has_reported_end = True
            return QueueEmpty()
        return ShutDown(reason=AT_END)

    def _start(self, stretch: Stretch) -> StartJob:
        job = self._history.jobs[stretch.job_id]
        return StartJob(
            job=job.job,
            path=job.path,
            settings=job.settings,
            micro_batch_tokens=job.micro_batch_tokens,
            left_out=job.left_out,
            replayed=job.replayed,
            replay_folder=str(self._replay_folder),
            admitted=True,
        )

    def _between_steps(self) -> Command | None:
        stretch = self._current
        if stretch is None or stretch.until is None:
            return None
        cursor = self._progress().cursors.get(stretch.job_id)
        if cursor is None or cursor.step < stretch.until:
            return None
        self._current = None  # it is told once
        if stretch.then == "is_put_aside":
            return SkipJob(job_id=stretch.job_id)
        return PreemptJob(job_id=stretch.job_id)


def stretches_done(stretches: Sequence[Stretch], progress: Progress) -> int:
    """Return how many of the stretches a state contains that was trained by them."""
    done = [number for number, stretch in enumerate(stretches, start=1) if _is_done(stretch, progress)]
    return max(done, default=0)


def _is_done(stretch: Stretch, progress: Progress) -> bool:
    if _has_ended(stretch, progress):
        return True
    if stretch.until is None or stretch.then != "waits" or _lives(stretch.job_id, progress) < stretch.life:
        return False
    cursor = progress.cursors.get(stretch.job_id)
    return cursor is not None and cursor.step >= stretch.until


def _has_ended(stretch: Stretch, progress: Progress) -> bool:
    """Whether the job has come to its end that is trained in this stretch or a later one."""
    return _lives(stretch.job_id, progress) > stretch.life


def _lives(job_id: str, progress: Progress) -> int:
    return sum(record.job_id == job_id for record in progress.finished)


def as_it_ended(record: JobRecord, earlier: JobRecord | None) -> JobRecord:
    """Return what a checkpoint keeps of a job that was put aside here where it had failed before."""
    if earlier is None or record.outcome is Outcome.COMPLETED:
        return record
    return record.model_copy(update={"outcome": earlier.outcome, "message": earlier.message})
