"""Collect what happens in a session and pass it on in order, steps bundled: reporting never slows it."""

import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import SupportsFloat

from trainer.protocol.messages import LOSS_SPIKE, Event, Heartbeat, Notice, Section, StepReport, StepsTaken
from trainer.reporting.loss_spikes import LossSpikeDetector

FLUSH_INTERVAL_S = 0.25
STEPS_REMEMBERED = 2_000  # more than can be on their way when the daemon dies


class Reporter:
    """Passes events to `emit`.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, emit: Callable[[Event], None], *, clock: Callable[[], float] = time.monotonic) -> None:
        self.emit = emit
        self._clock = clock
        self._steps: list[tuple[StepReport, SupportsFloat, SupportsFloat | None]] = []
        self._flushed_at = clock()
        self.recent_steps: deque[StepReport] = deque(maxlen=STEPS_REMEMBERED)
        """The last steps passed on. A checkpoint carries them, in case nobody was left to hear of them."""
        self.section: Section = "loading"
        """What is being done right now; read by the thread that sends heartbeats."""
        self._spikes = LossSpikeDetector()
        self._spikes_of: str | None = None
        self.ticks = 0
        """Counts what was got done, so that a working thread is distinguished from one that hangs."""

    def tick(self) -> None:
        """Note that something was got done."""
        self.ticks += 1

    def event(self, event: Event) -> None:
        """Pass on an event, after the steps before it."""
        self.tick()
        self.flush()
        self.emit(event)

    def step(self, report: StepReport, *, loss: SupportsFloat, grad_norm: SupportsFloat | None) -> None:
        """Note a step. Its numbers may still be on their way from the GPU; they are not waited for here."""
        self.tick()
        self._steps.append((report, loss, grad_norm))
        if self._clock() - self._flushed_at >= FLUSH_INTERVAL_S:
            self.flush()

    def flush(self) -> None:
        """Pass on the steps noted so far."""
        self._flushed_at = self._clock()
        if not self._steps:
            return
        steps, self._steps = self._steps, []
        reports = tuple(
            report.model_copy(update={"loss": finite(loss), "grad_norm": finite(grad_norm)})
            for report, loss, grad_norm in steps
        )
        self.recent_steps.extend(reports)
        self.emit(StepsTaken(steps=reports))
        for report in reports:
            self._watch(report)

    def _watch(self, report: StepReport) -> None:
        if report.job_id != self._spikes_of:  # another file's loss says nothing of what is usual in this one
            self._spikes, self._spikes_of = LossSpikeDetector(), report.job_id
        usual = self._spikes.usual_loss
        if report.loss is not None and self._spikes.is_new_spike(report.loss):
            jump = f"jumped to {report.loss:.4f} (recent average: {usual:.4f})"
            message = f"at step {report.global_step} the loss {jump}"
            self.emit(Notice(key=LOSS_SPIKE, message=message, job_id=report.job_id))

    @contextmanager
    def doing(self, section: Section) -> Iterator[None]:
        """Say what is being done, for as long as the block runs."""
        before = self.section
        self._enter(section)
        try:
            yield
        finally:
            self._enter(before)

    def _enter(self, section: Section) -> None:
        self.section = section
        self.event(Heartbeat(section=section, ticks=self.ticks))


def finite(value: SupportsFloat | None) -> float | None:
    """Return a number that JSON can carry: None instead of NaN and infinities."""
    if value is None:
        return None
    number = float(value)
    return number if math.isfinite(number) else None
