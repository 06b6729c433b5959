"""A line of the log every 30 seconds while there is work, for whoever looks at the daemon's terminal.

No event of the journal: it happens to nobody, so neither the ledger nor followers have it.
"""

import logging
from collections.abc import Callable, Iterator
from typing import NamedTuple

from daemon.jobs.job_queue import JobQueue
from daemon.settings.live_settings import LiveSettings
from trainer.protocol.status import State, TrainingStatus
from trainer.protocol.text import display_name, duration_text, num_of

INTERVAL_S = 30.0
FIRST_AFTER_S = 5.0  # of work that begins; shorter work has its own lines in the log
UNSAID = (None, "training", "loading")  # sections of the worker that a line about a file does not name
WORK = (State.LOADING, State.CHECKING, State.TRAINING, State.STOPPING)

logger = logging.getLogger("daemon")


class _Seen(NamedTuple):
    """What had been trained when."""

    at: float
    tokens: int
    rows: int
    step: int


class _Speed(NamedTuple):
    """Per second."""

    tokens: float
    rows: float


class ProgressLines:
    """Says how far the work has come, at most every 30 seconds.

    Args:
        shown: returns the status as it is shown; a display of a display, which decides nothing.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        shown: Callable[[], TrainingStatus],
        queue: JobQueue,
        settings: LiveSettings,
        *,
        clock: Callable[[], float],
    ) -> None:
        self._shown = shown
        self._queue = queue
        self._settings = settings
        self._clock = clock
        self._due_at = float("-inf")
        self._quiet_since: float | None = float("-inf")
        self._worker: int | None = None
        self._loading_since = 0.0
        self._seen = _Seen(0.0, 0, 0, 0)

    def say_if_due(self) -> None:
        """Write the line if there is work and it is time."""
        now, status = self._clock(), self._shown()
        if status.worker_pid != self._worker:
            self._worker, self._loading_since = status.worker_pid, now
        if status.status is State.LOADING:
            self._seen = _seen(status, now)  # the time it takes says nothing about the speed of training
        if not _is_work(status):
            self._quiet_since = now if self._quiet_since is None else self._quiet_since
            return
        # Between two files there is nothing to do for a moment, which begins no new work
        if self._quiet_since is not None and now - self._quiet_since >= FIRST_AFTER_S:
            self._due_at = max(self._due_at, now + FIRST_AFTER_S)
            self._seen = _seen(status, now)
        self._quiet_since = None
        if now >= self._due_at:
            self._due_at = now + INTERVAL_S
            line = "; ".join(self._parts(status, now))
            logger.info("%s", line, extra={"job_id": status.current_job})
            self._seen = _seen(status, now)

    def due_at(self) -> float:
        """Return when the next line is due, in monotonic seconds."""
        return self._due_at if self._quiet_since is None else float("inf")

    def _parts(self, status: TrainingStatus, now: float) -> Iterator[str]:
        """Yield what is done at the moment, and what is left."""
        if status.status is State.LOADING:
            yield self._loading(status, now)
        elif status.status is State.CHECKING or status.file_total_steps is None:
            yield _before_its_steps(status)
        else:
            yield ", ".join(self._facts_of_file(status, now))
        files, rows = self._queue.rows_left(besides=status.current_job)
        if files:
            left = self._left_s(status, rows, now)
            until = f", about {duration_text(left)} until all are trained" if left is not None else ""
            noun = "more file" if status.current_file else "file"
            yield f"{num_of(rows, 'row')} in {num_of(files, noun)} {'waits' if rows == 1 else 'wait'}{until}"

    def _loading(self, status: TrainingStatus, now: float) -> str:
        name = display_name(self._settings.current.model.base_model)
        if status.worker_pid is None and status.status_reason:
            return status.status_reason  # such as that the next worker waits
        detail = f" ({status.status_reason})" if status.status_reason else ""
        return f"loading {name} for {duration_text(now - self._loading_since)}{detail}"

    def _facts_of_file(self, status: TrainingStatus, now: float) -> Iterator[str]:
        yield f"{status.current_file}: step {status.file_step or 0:,} of {status.file_total_steps:,}"
        # Before the first step since it was started or continued, the loss is that of another file
        if status.tokens_per_sec is not None and status.loss is not None:
            yield f"loss {status.loss:.4f}"
        tokens_per_s = status.tokens_per_sec or self._per_s(status, now).tokens
        if tokens_per_s:
            yield f"{tokens_per_s:,.0f} tokens/s"
        if status.eta_s is not None:
            yield f"{duration_text(status.eta_s)} left"
        if status.current_step == self._seen.step and status.worker_section not in UNSAID:
            yield f"now {status.worker_section}"

    def _left_s(self, status: TrainingStatus, rows: int, now: float) -> float | None:
        """Return how long the current file and those that wait will take; None if that is unknown."""
        if status.file_total_steps is None:
            return None  # while a file is forgotten, or the next one is prepared
        rows_per_s = status.samples_per_sec or self._per_s(status, now).rows
        if not rows_per_s:
            return None
        training = self._settings.current.training
        steps_left = status.file_total_steps - (status.file_step or 0)
        rows_per_step = training.batch_size * training.gradient_accumulation
        of_file_s = status.eta_s if status.eta_s is not None else steps_left * rows_per_step / rows_per_s
        return of_file_s + rows * training.epochs / rows_per_s

    def _per_s(self, status: TrainingStatus, now: float) -> _Speed:
        """Return the speed since the line before, for a file that has just begun; 0 if it is unknown."""
        seconds = now - self._seen.at
        tokens, rows = (
            (status.tokens_seen or 0) - self._seen.tokens,
            (status.samples_seen or 0) - self._seen.rows,
        )
        if seconds <= 0 or tokens < 0 or rows < 0:  # the model may have gone back meanwhile
            return _Speed(0.0, 0.0)
        return _Speed(tokens / seconds, rows / seconds)


def _is_work(status: TrainingStatus) -> bool:
    return status.status in WORK and (status.status is not State.STOPPING or status.current_file is not None)


def _before_its_steps(status: TrainingStatus) -> str:
    doing = status.status_reason or status.worker_section or "starting"
    if status.status is State.CHECKING:
        doing = "checking its rows"
    return f"{status.current_file}: {doing}" if status.current_file else doing


def _seen(status: TrainingStatus, now: float) -> _Seen:
    return _Seen(now, status.tokens_seen or 0, status.samples_seen or 0, status.current_step or 0)
