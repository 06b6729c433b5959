"""The current status, and the file that shows it. The only writer of `status/training_status.json`."""

import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from daemon.status.overhead import Overhead
from trainer.protocol.files import write_json
from trainer.protocol.job import Job
from trainer.protocol.layout import COSTS_FILE
from trainer.protocol.messages import (
    CheckpointRef,
    Evaluated,
    JobStarted,
    StepReport,
    SuiteScored,
    Validated,
    WorkerReady,
)
from trainer.protocol.status import (
    LastCheckpoint,
    LastCommand,
    LastError,
    State,
    SuiteResult,
    TrainingStatus,
)
from trainer.protocol.text import printable, utc_text

TRAINING_INTERVAL_S = 1.0
IDLE_INTERVAL_S = 5.0
QUEUE_INTERVAL_S = 0.2  # thousands of files may come at once, and each write is one of the disk
SPEED_WINDOW_S = 15.0
MAX_ALERTS = 20


class StatusBoard:
    """Collects facts and writes them when they are due.

    Args:
        path: of the status file.
        clock: monotonic seconds.
        wall_clock: Unix seconds, for display.
    """

    def __init__(
        self,
        path: Path,
        *,
        daemon_pid: int,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._path = path
        self._clock = clock
        self._wall_clock = wall_clock
        self._status = TrainingStatus(daemon_pid=daemon_pid, heartbeat_at=self.now_text())
        self._alerts: dict[str, str] = {}
        self._warnings: set[str] = set()  # keys of alerts
        self._written_at = float("-inf")
        self._shown: State | None = None
        self._is_urgent = False
        self._waiting: tuple[int, ...] | None = None  # files of each priority
        self._has_moved = False  # files, since the last write
        self._recent: deque[tuple[float, StepReport]] = deque()
        self._steps_per_epoch = 1
        self._left_out: dict[str, str] = {}  # kinds of evaluation, with the reasons
        self.costs = Overhead(path.with_name(COSTS_FILE), since=self.now_text(), clock=clock)
        """What is spent besides training; shown in a file of its own."""

    def now_text(self) -> str:
        """Return the present time as all status fields show it."""
        return utc_text(self._wall_clock())

    @property
    def status(self) -> TrainingStatus:
        return self._status

    # ---- facts

    def set(self, **fields: Any) -> None:
        """Note facts by the names of the status fields."""
        self._status = self._status.model_copy(update=fields)

    def set_state(self, state: State, reason: str | None = None) -> None:
        """Note what the daemon is doing; a change is published at once."""
        reason = reason and printable(reason, limit=500)
        if (state, reason) != (self._status.status, self._status.status_reason):
            self.set(status=state, status_reason=reason)
            self._is_urgent = True

    def alert(self, key: str, message: str, *, is_warning: bool = False) -> None:
        """Show a message until it is cleared or replaced by another of the same key.

        Args:
            is_warning: whether it is no error.
        """
        message = printable(message, limit=500)
        self._is_urgent |= self._alerts.get(key) != message
        self._alerts[key] = message
        (self._warnings.add if is_warning else self._warnings.discard)(key)
        while len(self._alerts) > MAX_ALERTS:
            # About single files there may be many; they must not push out what concerns everything
            oldest = next((known for known in self._alerts if " " in known), next(iter(self._alerts)))
            del self._alerts[oldest]

    def clear_alert(self, key: str) -> None:
        """Take a message down."""
        self._is_urgent |= self._alerts.pop(key, None) is not None

    def error(self, error_class: str, message: str, file: str | None) -> None:
        """Note the newest error."""
        self._is_urgent = True
        self.set(
            last_error=LastError(
                error_class=error_class,
                message=printable(message, limit=500),
                file=file and printable(file),
                at=self.now_text(),
            )
        )

    def end_error(self) -> None:
        """Note that the newest error is over."""
        self._is_urgent |= self._status.last_error is not None
        self.set(last_error=None)

    def command(self, name: str, request_id: str | None, result: str) -> None:
        """Note that a control command was obeyed."""
        self._is_urgent = True
        self.set(
            last_command=LastCommand(name=name, id=request_id, result=printable(result), at=self.now_text())
        )

    def files_waiting(self, counts: tuple[int, ...]) -> None:
        """Note how many files of each priority wait; a change is published soon."""
        self._has_moved |= counts != self._waiting
        self._waiting = counts

    def worker_ready(self, ready: WorkerReady) -> None:
        self.set(
            model_name=ready.model_name,
            method=ready.method,
            current_step=ready.global_step,
            tokens_seen=ready.tokens_seen,
            samples_seen=ready.samples_seen,
        )
        if ready.checkpoint:
            self.checkpoint(ready.checkpoint)

    def checkpoint(self, checkpoint: CheckpointRef) -> None:
        self._is_urgent = True
        self.set(last_checkpoint=LastCheckpoint(**checkpoint.model_dump()))

    def job_started(self, job: Job, started: JobStarted) -> None:
        self._recent.clear()
        self._steps_per_epoch = started.steps_per_epoch
        self._is_urgent = True
        self.set(
            current_file=printable(job.name),
            current_job=job.id,
            priority=job.priority.value,
            current_step=started.global_step,
            total_steps=started.global_step + started.total_steps - started.first_step,
            file_step=started.first_step,
            file_total_steps=started.total_steps,
            epoch=min(started.first_step, started.total_steps - 1) // started.steps_per_epoch + 1,
            **dict.fromkeys(
                ("tokens_per_sec", "samples_per_sec", "eta_s")
            ),  # not known before its first step
        )

    def job_ended(self) -> None:
        """Clear what is true only while a file is trained."""
        self._recent.clear()
        self._is_urgent = True
        names = "current_file current_job priority total_steps file_step file_total_steps epoch eta_s"
        speeds = "tokens_per_sec samples_per_sec"
        self.set(**dict.fromkeys(f"{names} {speeds}".split()))

    def steps(self, steps: tuple[StepReport, ...]) -> None:
        now = self._clock()
        self._recent.extend((now, step) for step in steps)
        while self._recent and now - self._recent[0][0] > SPEED_WINDOW_S:
            self._recent.popleft()
        last = steps[-1]
        self.set(
            current_step=last.global_step,
            file_step=last.file_step,
            epoch=(last.file_step - 1) // self._steps_per_epoch + 1,
            loss=last.loss,
            learning_rate=last.learning_rate,
            grad_norm=last.grad_norm,
            tokens_seen=(self._status.tokens_seen or 0) + sum(step.tokens for step in steps),
            samples_seen=(self._status.samples_seen or 0) + sum(step.rows for step in steps),
            **self._speed(last),
        )
        self._compare_losses()

    def model_is(self, known: Mapping[str, Any], measured: Mapping[str, float | None]) -> None:
        """Show the model of the newest checkpoint, and nothing of another one from which it went back.

        Args:
            known: by name, as `last_known` returns it.
            measured: loss, learning rate and gradient norm of its last step.
        """
        self.set(**known, **measured, suite_scores={})
        self._compare_losses()

    def steps_lost(self, known: Mapping[str, Any], measured: Mapping[str, float | None]) -> None:
        """Show the model of the newest checkpoint again; its arguments are those of `model_is`."""
        step = known["current_step"]
        scores = {name: score for name, score in self._status.suite_scores.items() if score.step <= step}
        self._is_urgent = True
        self.model_is(known, measured)
        self.set(suite_scores=scores)

    def validated(self, result: Validated) -> None:
        self.set(
            validation_loss=result.loss,
            validation_weights=result.weights,
            validation_other_loss=result.other_loss,
        )
        self._compare_losses()

    def suite_scored(self, scored: SuiteScored) -> None:
        result = SuiteResult(
            step=scored.global_step,
            rows=scored.overall.rows,
            exact_match=scored.overall.exact_match,
            loss=scored.overall.loss,
        )
        self.set(suite_scores={**self._status.suite_scores, printable(scored.suite): result})

    def evaluated(self, event: Evaluated) -> None:
        """Note what an evaluation has cost, and why it was left out if it was."""
        self.costs.add(event.what, event.seconds)
        self.costs.set_interval(event.what, event.interval_steps)
        self._left_out.pop(event.what, None)
        if event.left_out:
            self._left_out[event.what] = printable(event.left_out, limit=500)
        self.set(evaluation_left_out="; ".join(self._left_out.values()) or None)

    def _speed(self, last: StepReport) -> dict[str, float | None]:
        seconds = sum(step.seconds for _, step in self._recent)
        if not seconds:
            return {}
        steps_left = (self._status.file_total_steps or last.file_step) - last.file_step
        return {
            "tokens_per_sec": round(sum(step.tokens for _, step in self._recent) / seconds, 1),
            "samples_per_sec": round(sum(step.rows for _, step in self._recent) / seconds, 1),
            "eta_s": round(steps_left * seconds / len(self._recent), 1),
        }

    def _compare_losses(self) -> None:
        status = self._status  # the training loss is always that of the last weights
        of_average = status.validation_weights == "average"
        loss, validation = status.loss, status.validation_other_loss if of_average else status.validation_loss
        self.set(val_train_gap=None if loss is None or validation is None else validation - loss)

    # ---- the file

    def due_at(self) -> float:
        """Return when the file is to be written next, in monotonic seconds."""
        if self._is_urgent:
            return float("-inf")
        if self._has_moved:
            return self._written_at + QUEUE_INTERVAL_S
        is_busy = self._status.status in (State.TRAINING, State.CHECKING, State.LOADING)
        return self._written_at + (TRAINING_INTERVAL_S if is_busy else IDLE_INTERVAL_S)

    def publish_if_due(self, refresh: Callable[[], None]) -> None:
        """Write the file if it is time.

        Args:
            refresh: called before, to fill in what costs something to find out.
        """
        if self._clock() < self.due_at():
            return
        refresh()
        self.publish()

    def publish(self) -> None:
        """Write the file now."""
        self._written_at = self._clock()
        self._is_urgent = self._has_moved = False
        self._warnings &= self._alerts.keys()
        warnings = [message for key, message in self._alerts.items() if key in self._warnings]
        self.set(heartbeat_at=self.now_text(), alerts=list(self._alerts.values()), warnings=warnings)
        write_json(self._path, self._status.model_dump(mode="json", by_alias=True), durable=False)
        self.costs.publish(self.now_text(), is_last=self._status.status is State.STOPPED)
