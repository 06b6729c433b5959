"""Every event of the journal: what happens is recorded once, and log, status and ledger follow from it.

An event has facts. Its class says what else it means: the word for it in the ledger (`kind`), how serious it
is, and which alert it shows or clears. `docs/EVENTS.md` is made from this file.
"""

import logging
from abc import abstractmethod
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from trainer.protocol.text import printable


@dataclass(frozen=True, kw_only=True)
class JournalEvent:
    """Something that happened."""

    kind: ClassVar[str]
    level: ClassVar[int] = logging.INFO

    job_id: str | None = None
    file: str | None = None
    """The name of the file it is about."""

    @property
    @abstractmethod
    def message(self) -> str:
        """One line for a person."""

    @property
    def error(self) -> tuple[str, str] | None:
        """Class and text for `last_error` in the status; None for what is no error."""
        return None

    @property
    def alert(self) -> tuple[str, str] | None:
        """Key and text of an alert that is shown until it is cleared; None for no alert."""
        return None

    @property
    def cleared_alerts(self) -> tuple[str, ...]:
        """The keys of alerts that are no longer true."""
        return ()

    def data(self) -> dict[str, Any]:
        """Return the facts as JSON values; every text is printable."""
        facts = asdict(self).items()
        return {name: _plain(value) for name, value in facts if value is not None and name != "job_id"}


@dataclass(frozen=True, kw_only=True)
class FileEvent(JournalEvent):
    """Something that happened to a file, and to its job if it has one."""


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return printable(value, limit=500)
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


# ---- the daemon


@dataclass(frozen=True, kw_only=True)
class DaemonStarted(JournalEvent):
    """A daemon takes over the working directory."""

    kind = "daemon_started"
    pid: int

    @property
    def message(self) -> str:
        return f"daemon {self.pid} started"


@dataclass(frozen=True, kw_only=True)
class DaemonStopped(JournalEvent):
    """A daemon ends in good order. One that was killed leaves no such event."""

    kind = "daemon_stopped"
    pid: int

    @property
    def message(self) -> str:
        return f"daemon {self.pid} stopped"


@dataclass(frozen=True, kw_only=True)
class StopRequested(JournalEvent):
    """The daemon was asked to stop."""

    kind = "stopping"
    when: str
    """`after the current file` or `at the next step`."""

    @property
    def message(self) -> str:
        return f"stopping {self.when}"


@dataclass(frozen=True, kw_only=True)
class CommandAnswered(JournalEvent):
    """A control command was carried out, or could not be."""

    kind = "command"
    name: str
    result: str
    request_id: str | None = None

    @property
    def message(self) -> str:
        return f"{self.name}: {self.result}"


@dataclass(frozen=True, kw_only=True)
class RequestNotRemoved(JournalEvent):
    """A control file cannot be removed. It is not carried out a second time."""

    kind = "request_not_removed"
    level = logging.ERROR
    path: str
    problem: str

    @property
    def message(self) -> str:
        return f"{self.path} cannot be removed: {self.problem}; it is not obeyed again"


@dataclass(frozen=True, kw_only=True)
class SettingsChanged(JournalEvent):
    """`config.json` has changed and is valid."""

    kind = "settings_changed"

    @property
    def message(self) -> str:
        return "config.json has changed; it takes effect at the next job"

    @property
    def cleared_alerts(self) -> tuple[str, ...]:
        return ("config",)


@dataclass(frozen=True, kw_only=True)
class SettingsRefused(JournalEvent):
    """`config.json` has changed and is invalid; the settings before stay in force."""

    kind = "settings_refused"
    level = logging.ERROR
    problem: str

    @property
    def message(self) -> str:
        return self.problem

    @property
    def alert(self) -> tuple[str, str]:
        return ("config", self.message)


@dataclass(frozen=True, kw_only=True)
class TurnFailed(JournalEvent):
    """A part of a turn of the daemon's loop failed. It is tried again."""

    kind = "turn_failed"
    level = logging.ERROR
    exception: str
    """Name of its class."""
    problem: str

    @property
    def message(self) -> str:
        return f"a part of this turn failed; it is tried again: {self.exception}: {self.problem}"

    @property
    def error(self) -> tuple[str, str]:
        return (self.exception, self.problem)


@dataclass(frozen=True, kw_only=True)
class TrainingBlocked(JournalEvent):
    """Nothing can be trained until something outside changes, such as a full disk."""

    kind = "blocked"
    level = logging.ERROR
    reason: str

    @property
    def message(self) -> str:
        return f"blocked: {self.reason}"

    @property
    def error(self) -> tuple[str, str]:
        return ("Blocked", self.reason)


@dataclass(frozen=True, kw_only=True)
class WorkerBlocked(TrainingBlocked):
    """The worker waits in the middle of its work, for room to save for instance."""

    @property
    def alert(self) -> tuple[str, str]:
        return ("blocked", self.reason)


@dataclass(frozen=True, kw_only=True)
class TrainingUnblocked(JournalEvent):
    """What kept training from going on is over."""

    kind = "unblocked"

    @property
    def message(self) -> str:
        return "no longer blocked"

    @property
    def cleared_alerts(self) -> tuple[str, ...]:
        return ("blocked",)


# ---- files


@dataclass(frozen=True, kw_only=True)
class FileAccepted(FileEvent):
    """A file was checked and became a job."""

    kind = "accepted"
    rows: int
    priority: str
    rejected_rows: int = 0
    first_rejection: str | None = None

    @property
    def message(self) -> str:
        accepted = f"accepted {self.file} ({self.rows} rows, {self.priority})"
        if not self.rejected_rows:
            return accepted
        return f"{accepted}; {self.rejected_rows} rows rejected, the first: {self.first_rejection}"

    @property
    def alert(self) -> tuple[str, str] | None:
        if not self.rejected_rows:
            return None
        return (f"rejected {self.job_id}", f"{self.file}: {self.rejected_rows} rows rejected")

    @property
    def cleared_alerts(self) -> tuple[str, ...]:
        return ("intake",)


@dataclass(frozen=True, kw_only=True)
class FileRefused(FileEvent):
    """A file was moved to `failed/` without ever becoming a job."""

    kind = "failed"
    level = logging.WARNING
    reason: str

    @property
    def message(self) -> str:
        return f"{self.file}: {self.reason}"

    @property
    def error(self) -> tuple[str, str]:
        return ("BadFile", self.reason)


@dataclass(frozen=True, kw_only=True)
class FileSkipped(FileEvent):
    """A file was moved to `skipped/` on request, before it became a job."""

    kind = "skipped"
    level = logging.WARNING
    reason: str

    @property
    def message(self) -> str:
        return f"{self.file}: {self.reason}"


@dataclass(frozen=True, kw_only=True)
class IntakeDelayed(FileEvent):
    """Disk or ledger failed while a file was taken in. It stays where it is and is tried again."""

    kind = "intake_delayed"
    level = logging.ERROR
    problem: str

    @property
    def message(self) -> str:
        return f"{self.file} cannot be taken in: {self.problem}; trying again"

    @property
    def alert(self) -> tuple[str, str]:
        return ("intake", self.message)


@dataclass(frozen=True, kw_only=True)
class FileMoved(FileEvent):
    """A file was not where it had been left: a crash came in the middle of a move, or a person moved it."""

    kind = "moved"
    what: str

    @property
    def message(self) -> str:
        return f"{self.file} {self.what}"


@dataclass(frozen=True, kw_only=True)
class FileRemoved(FileEvent):
    """A job's file was taken out of the queue by hand."""

    kind = "removed"

    @property
    def message(self) -> str:
        return f"{self.file} was taken out of the queue by hand"


# ---- jobs


@dataclass(frozen=True, kw_only=True)
class RowsInspected(FileEvent):
    """Something is odd about a file's rows."""

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
    """The worker has opened a job; its next step comes now."""

    kind = "started"
    first_step: int
    """From 0; more than 0 for a job that continues."""
    total_steps: int

    @property
    def message(self) -> str:
        at = f"continues at step {self.first_step + 1} of" if self.first_step else "starts with"
        return f"training {self.file}: {at} {self.total_steps} steps"


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
            return f"{self.file}: memory ran out before its first step; the next try starts in the same way"
        return f"{self.file}: the next try has {self.tokens} instead of {self.before_tokens} tokens at once"


@dataclass(frozen=True, kw_only=True)
class TrainingPreempted(FileEvent):
    """A job was saved and waits again, because a more urgent file has come."""

    kind = "preempted"
    steps: int

    @property
    def message(self) -> str:
        return f"preempted {self.file} after {self.steps} steps: a more urgent file comes first"


@dataclass(frozen=True, kw_only=True)
class TrainingEnded(FileEvent):
    """A job gets no further step: completed, or skipped. Its file moves once a checkpoint contains it."""

    kind = "trained"
    outcome: str
    """`completed`, `failed` or `skipped`."""
    rows: int
    steps: int
    loss: float | None
    remarks: tuple[str, ...] = ()
    """What became of rows that were not trained as they are."""

    @property
    def message(self) -> str:
        loss = f", loss {self.loss:.4f}" if self.steps and self.loss is not None else ""
        counts = f"{self.outcome} {self.file}: {self.rows} rows in {self.steps} steps{loss}"
        return "; ".join([counts, *self.remarks])

    @property
    def cleared_alerts(self) -> tuple[str, ...]:
        return (f"rejected {self.job_id}", f"data {self.job_id}")


@dataclass(frozen=True, kw_only=True)
class TrainingFailed(TrainingEnded):
    """A job gets no further step, because its rows cannot be trained."""

    level = logging.WARNING
    reason: str

    @property
    def error(self) -> tuple[str, str]:
        return ("BadFile", self.reason)


@dataclass(frozen=True, kw_only=True)
class JobGivenUp(FileEvent):
    """A job failed for good: it crashed the worker too often, or cannot be trained."""

    kind = "given_up"
    level = logging.ERROR
    attempts: int
    reason: str

    @property
    def message(self) -> str:
        return f"gave up on {self.file} after {self.attempts} attempts: {self.reason}"


@dataclass(frozen=True, kw_only=True)
class JobReopened(FileEvent):
    """An older checkpoint had to be taken, which does not contain this completed job."""

    kind = "reopened"
    level = logging.WARNING
    is_there: bool
    """The file still is where it was put, so that it can be trained again."""

    @property
    def message(self) -> str:
        what = "it is trained again" if self.is_there else "its file is gone, so drop it again"
        return f"{self.file or self.job_id} is not in the checkpoint that had to be taken; {what}"

    @property
    def alert(self) -> tuple[str, str]:
        return (f"reopened {self.job_id}", self.message)


# ---- the worker


@dataclass(frozen=True, kw_only=True)
class WorkerStarted(JournalEvent):
    """A worker process was started; it loads the model."""

    kind = "worker_started"
    pid: int

    @property
    def message(self) -> str:
        return f"worker {self.pid} started"


@dataclass(frozen=True, kw_only=True)
class ModelLoaded(JournalEvent):
    """A worker has loaded the model."""

    kind = "worker_ready"
    model_name: str
    global_step: int

    @property
    def message(self) -> str:
        return f"worker is ready: {self.model_name} at step {self.global_step}"


@dataclass(frozen=True, kw_only=True)
class WorkerNotice(JournalEvent):
    """The worker reports something that a person should know."""

    kind = "notice"
    level = logging.WARNING
    key: str
    """Of the alert."""
    text: str

    @property
    def message(self) -> str:
        return self.text

    @property
    def alert(self) -> tuple[str, str]:
        return (self.key, self.message)


@dataclass(frozen=True, kw_only=True)
class CheckpointSaved(JournalEvent):
    """A checkpoint was published."""

    kind = "checkpoint"
    path: str
    global_step: int
    seconds: float

    @property
    def message(self) -> str:
        return f"saved {self.path} in {self.seconds:.2f} s"


@dataclass(frozen=True, kw_only=True)
class WorkerLeft(FileEvent):
    """A worker ended in good order, and says why."""

    kind = "worker_ended"
    reason: str

    @property
    def message(self) -> str:
        return f"worker left: {self.reason}"


@dataclass(frozen=True, kw_only=True)
class WorkerFailed(WorkerLeft):
    """A worker ended because something outside is wrong; the event `blocked` says what."""

    level = logging.ERROR

    @property
    def message(self) -> str:
        return self.reason


@dataclass(frozen=True, kw_only=True)
class WorkerCrashed(WorkerLeft):
    """A worker ended otherwise than it should. Another one is started."""

    level = logging.ERROR
    fault: str
    """Its class, such as `crash`, `hang` or `out_of_memory`."""
    restart_in_s: float

    @property
    def message(self) -> str:
        when = f" in {self.restart_in_s:.0f} s" if self.restart_in_s else ""
        return f"{self.reason}; starting again{when}"

    @property
    def alert(self) -> tuple[str, str]:
        return ("worker", self.reason)

    @property
    def error(self) -> tuple[str, str]:
        return ("WorkerCrash", self.reason)


@dataclass(frozen=True, kw_only=True)
class WorkerNotFinite(WorkerCrashed):
    """A worker gave up on steps that were not finite. Another one is started at once."""

    @property
    def alert(self) -> None:  # type: ignore[override]
        return None  # the steps that are left out have one

    @property
    def error(self) -> tuple[str, str]:
        return ("NotFinite", self.reason)
