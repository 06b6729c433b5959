"""Events of jobs in training, from the first step to the last."""

import logging
from dataclasses import dataclass

from daemon.journal.events.base import FileEvent, JournalEvent
from trainer.protocol.messages import LOSS_SPIKE
from trainer.protocol.text import num_of

FILES_NAMED = 5


@dataclass(frozen=True, kw_only=True)
class RowsInspected(FileEvent):
    """Something is unusual about a file's rows."""

    kind = "data_report"
    level = logging.WARNING
    summary: str

    @property
    def message(self) -> str:
        return self.summary

    @property
    def alert(self) -> tuple[str, str]:
        return (f"data {self.job_id}", self.message)


@dataclass(frozen=True, kw_only=True)
class TrainingStarted(FileEvent):
    """The worker has opened a job; its next step follows."""

    kind = "started"
    first_step: int
    """From 0; more for a job that continues, all for one that waits for its verdict."""
    total_steps: int

    @property
    def message(self) -> str:
        if self.first_step >= self.total_steps:
            return f"{self.file} has taken all of its {num_of(self.total_steps, 'step')}; its verdict follows"
        if self.first_step:
            return f"training {self.file}: continues at step {self.first_step + 1} of {self.total_steps}"
        return f"training {self.file}: starts with {num_of(self.total_steps, 'step')}"

    @property
    def cleared_alerts(self) -> tuple[str, ...]:
        return (LOSS_SPIKE,)  # it was of the file before


@dataclass(frozen=True, kw_only=True)
class StepNotApplied(FileEvent):
    """A step changed no weight, because its loss or gradient was not finite."""

    kind = "not_applied"
    level = logging.WARNING
    file_step: int
    reason: str

    @property
    def message(self) -> str:
        return f"{self.file}: step {self.file_step} was not applied: {self.reason}"

    @property
    def alert(self) -> tuple[str, str]:
        return (f"not_applied {self.job_id}", self.message)


@dataclass(frozen=True, kw_only=True)
class LossNotFinite(FileEvent):
    """The loss of a step is infinite or not a number, after one that was finite."""

    kind = "loss_not_finite"
    level = logging.WARNING
    global_step: int

    @property
    def message(self) -> str:
        return f"the loss of step {self.global_step} is not a finite number"

    @property
    def alert(self) -> tuple[str, str]:
        return ("loss", self.message)


@dataclass(frozen=True, kw_only=True)
class LossFinite(FileEvent):
    """The loss is a finite number again."""

    kind = "loss_finite"
    global_step: int

    @property
    def message(self) -> str:
        return f"the loss is a finite number again at step {self.global_step}"

    @property
    def cleared_alerts(self) -> tuple[str, ...]:
        return ("loss",)


@dataclass(frozen=True, kw_only=True)
class StepsLeftOut(FileEvent):
    """The worker crashed because steps were not finite. The next one leaves them out."""

    kind = "left_out"
    level = logging.ERROR
    steps: str
    reason: str

    @property
    def message(self) -> str:
        return f"{self.file}: {self.steps} left out: {self.reason}"

    @property
    def alert(self) -> tuple[str, str]:
        return (f"left_out {self.job_id}", self.message)


@dataclass(frozen=True, kw_only=True)
class MicroBatchHalved(FileEvent):
    """Memory ran out, so the next attempt puts fewer tokens through the model at once."""

    kind = "micro_batch"
    level = logging.WARNING
    before_tokens: int | None
    """None if memory ran out before the job had a number."""
    tokens: int | None

    @property
    def message(self) -> str:
        if self.tokens is None:
            return f"{self.file}: memory ran out before its first step; the next try starts the same way"
        return f"{self.file}: the next try has {self.tokens} instead of {self.before_tokens} tokens at once"


@dataclass(frozen=True, kw_only=True)
class TrainingPreempted(FileEvent):
    """A job was saved and waits again, because a more urgent file arrived."""

    kind = "preempted"
    steps: int

    @property
    def message(self) -> str:
        return f"preempted {self.file} after {num_of(self.steps, 'step')}: a more urgent file comes first"


@dataclass(frozen=True, kw_only=True)
class TrainingEnded(FileEvent):
    """A job took its last step. It is finished once a checkpoint contains it; a crash may undo it."""

    kind = "trained"
    outcome: str
    """`completed`, `failed` or `skipped`."""
    rows: int
    steps: int
    loss: float | None
    remarks: tuple[str, ...] = ()
    """What happened to rows that were not trained as they are."""

    @property
    def message(self) -> str:
        loss = f", loss {self.loss:.4f}" if self.steps and self.loss is not None else ""
        counts = f"{num_of(self.rows, 'row')} in {num_of(self.steps, 'step')}{loss}"
        done = "trained" if self.outcome == "completed" else self.outcome  # completed it is once it is saved
        return "; ".join([f"{done} {self.file}: {counts}", *self.remarks])

    @property
    def cleared_alerts(self) -> tuple[str, ...]:
        return (f"rejected {self.job_id}", f"data {self.job_id}")


@dataclass(frozen=True, kw_only=True)
class TrainingFailed(TrainingEnded):
    """A job gets no further step, because its rows cannot be trained."""

    kind = "training_failed"
    level = logging.WARNING
    reason: str

    @property
    def error(self) -> tuple[str, str]:
        return ("BadFile", self.reason)


@dataclass(frozen=True, kw_only=True)
class JobFinished(FileEvent):
    """A job is over: a checkpoint contains it, or it failed or was skipped. Recorded exactly once."""

    kind = "finished"
    outcome: str
    """`completed`, `failed` or `skipped`."""
    rows: int | None
    """Trained; None for a job that never reached the worker, or was given up."""
    steps: int | None
    reason: str | None
    """Why it was not completed."""

    @property
    def message(self) -> str:
        return f"{self.outcome} {self.file}" + (f": {self.reason}" if self.reason else "")

    @property
    def ends_error(self) -> bool:
        return self.outcome == "completed"


@dataclass(frozen=True, kw_only=True)
class JobGivenUp(FileEvent):
    """A job failed for good: it crashed the worker too often, or cannot be trained."""

    kind = "given_up"
    level = logging.ERROR
    attempts: int
    reason: str

    @property
    def message(self) -> str:
        return f"gave up on {self.file} after {num_of(self.attempts, 'attempt')}: {self.reason}"


@dataclass(frozen=True, kw_only=True)
class JobReopened(FileEvent):
    """An older checkpoint had to be used, which does not contain this completed job."""

    kind = "reopened"
    level = logging.WARNING
    is_there: bool
    """The file is still where it was put, so it can be trained again."""

    @property
    def message(self) -> str:
        what = "it is trained again" if self.is_there else "its file is gone, so drop it again"
        return f"{self.file or self.job_id} is not in the checkpoint that had to be used; {what}"

    @property
    def alert(self) -> tuple[str, str]:
        return (f"reopened {self.job_id}", self.message)


@dataclass(frozen=True, kw_only=True)
class ModelWentBack(JournalEvent):
    """The model went back to an earlier checkpoint, and what it was trained on since is undone."""

    kind = "went_back"
    level = logging.WARNING
    branch: int
    """Counts from 1 how often it went back."""
    from_step: int
    left_step: int
    why: str
    """rollback, gate or forget."""
    reason: str
    files: tuple[str, ...]
    """Those that lost steps."""

    @property
    def message(self) -> str:
        if self.why == "forget":
            names = tuple(dict.fromkeys(self.files))  # of one content, whose jobs may all have had one name
            return (
                f"the model has forgotten {_listed(names)}: it is now as if it had been trained without that "
                f"from step {self.from_step} on ({self.reason})"
            )
        return f"the model went from step {self.left_step} to step {self.from_step} ({self.reason})" + (
            f"; undone: {_listed(self.files)}" if self.files else ""
        )

    @property
    def cleared_alerts(self) -> tuple[str, ...]:
        return (LOSS_SPIKE,)  # the model may have left that step behind


def _listed(files: tuple[str, ...]) -> str:
    more = f" and {len(files) - FILES_NAMED} more" if len(files) > FILES_NAMED else ""
    return (", ".join(files[:FILES_NAMED]) or "no file") + more


@dataclass(frozen=True, kw_only=True)
class ModelConsolidated(JournalEvent):
    """The adapter was merged into its base model, and training continues with a fresh one."""

    kind = "consolidated"
    global_step: int
    base: str
    """The new base model, relative to `models/`."""
    kept_as: str
    """The version that is the state before."""
    max_difference: float
    """Of the logits that were tried."""

    @property
    def message(self) -> str:
        return (
            f"the adapter of step {self.global_step} was merged into models/{self.base}; the state before is "
            f"{self.kept_as}"
        )
