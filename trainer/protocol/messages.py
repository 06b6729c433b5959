"""What daemon and worker say to each other.

Commands go to the worker, events come back; all are plain data.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from trainer.protocol.costs import CostKind
from trainer.protocol.data_report import DataReport
from trainer.protocol.gate import GateVerdict
from trainer.protocol.job import Cursor, EarlierFile, FaultKind, Job, JobRecord, Window
from trainer.protocol.manifest import Branch, WhichWeights


class ProtocolMessage(BaseModel):
    model_config = ConfigDict(frozen=True)


# ---- commands: daemon -> worker


class LoadModel(ProtocolMessage):
    """Load model and newest checkpoint, then say `WorkerReady`. Always the first command."""

    kind: Literal["load_model"] = "load_model"
    settings: dict[str, Any]


class StartJob(ProtocolMessage):
    """Train this file, from its cursor if there is one."""

    kind: Literal["start_job"] = "start_job"
    job: Job
    path: str
    settings: dict[str, Any]
    micro_batch_tokens: int | None = None
    """What fits into memory, as known from an earlier worker's end, or what the job started with where the
    settings say `auto`; the smaller of this and what the job has reached counts."""
    left_out: tuple[Window, ...] = ()
    """Steps that are not trained, because their loss was not finite again and again."""
    replayed: tuple[EarlierFile, ...] = ()
    """The files that `training.replay_fraction` is drawn from; those in the job's cursor count instead."""
    replay_folder: str = ""
    """Holds them, by the ids of their jobs."""
    admitted: bool = False
    """Somebody wants it trained, whatever the report on its data says."""


class PrepareJob(ProtocolMessage):
    """A hint: this file will probably be next, so index it while the current one trains."""

    kind: Literal["prepare_job"] = "prepare_job"
    job: Job
    path: str


class QueueEmpty(ProtocolMessage):
    """Nothing else waits: do not hold a finished job back for the sake of a group commit."""

    kind: Literal["queue_empty"] = "queue_empty"


class Pause(ProtocolMessage):
    """Hold at the next optimizer step."""

    kind: Literal["pause"] = "pause"


class Resume(ProtocolMessage):
    """Continue with the following step."""

    kind: Literal["resume"] = "resume"


class SkipJob(ProtocolMessage):
    """End this job at the next optimizer step and keep what was trained."""

    kind: Literal["skip_job"] = "skip_job"
    job_id: str


class PreemptJob(ProtocolMessage):
    """Save at the next optimizer step and let this job wait: a more urgent one takes over."""

    kind: Literal["preempt_job"] = "preempt_job"
    job_id: str


class ForgetJobs(ProtocolMessage):
    """Drop the cursors of jobs that will not come back."""

    kind: Literal["forget_jobs"] = "forget_jobs"
    job_ids: tuple[str, ...]


class ChangeCheckpoints(ProtocolMessage):
    """Save by these settings from now on."""

    kind: Literal["change_checkpoints"] = "change_checkpoints"
    settings: dict[str, Any]
    """As `CheckpointSettings`."""


class ShutDown(ProtocolMessage):
    """Save at the next optimizer step and exit 0."""

    kind: Literal["shut_down"] = "shut_down"
    reason: str


Command = (
    LoadModel
    | StartJob
    | PrepareJob
    | QueueEmpty
    | Pause
    | Resume
    | SkipJob
    | PreemptJob
    | ForgetJobs
    | ChangeCheckpoints
    | ShutDown
)


# ---- events: worker -> daemon

Section = Literal[
    "loading",
    "idle",
    "preparing",
    "training",
    "evaluating",
    "previewing",
    "saving",
    "paused",
    "blocked",
]
EndedBy = Literal["end", "tokens", "time"]
"""Why a generated text ends: the model ended it, it had all tokens it may have, or its time was over."""


class CheckpointRef(ProtocolMessage):
    """A published checkpoint."""

    path: str
    """Relative to the models folder."""
    step: int
    at: str


class StepReport(ProtocolMessage):
    """One optimizer step that was taken."""

    global_step: int
    """The step's number in the model's life, counted from 1."""
    job_id: str
    file_step: int
    """The step's number in its job, counted from 1."""
    rows: int
    """Of the file itself."""
    tokens: int
    supervised_tokens: int
    loss: float | None
    """Mean over the step's supervised tokens; null when there were none, or it was not a finite number."""
    learning_rate: float
    grad_norm: float | None
    seconds: float
    not_applied: str | None = None
    """Why the weights were left as they were; None for an ordinary step."""
    lines: tuple[int, ...] = ()
    """Line numbers of the rows of a step that was not applied."""
    replayed: int = 0
    """Rows of earlier files, besides `rows`; tokens and loss are those of both."""
    waited_s: float | None = None
    """Seconds before the step, besides `seconds`, in which its rows were not ready yet; None if unknown."""


class WorkerReady(ProtocolMessage):
    """The model is loaded; this is where it stands."""

    kind: Literal["worker_ready"] = "worker_ready"
    model_name: str
    method: str
    global_step: int
    tokens_seen: int
    samples_seen: int
    cursors: tuple[Cursor, ...]
    finished: tuple[JobRecord, ...]
    checkpoint: CheckpointRef | None
    recent_steps: tuple[StepReport, ...] = ()
    """The last steps in the checkpoint, which a daemon that died may not have noted."""
    branches: tuple[Branch, ...] = ()
    """How often the model went back until then, oldest first."""
    notices: tuple[str, ...] = ()
    """What a person should know about the load, such as a damaged checkpoint that was quarantined."""


class Heartbeat(ProtocolMessage):
    """The worker lives, and does this."""

    kind: Literal["heartbeat"] = "heartbeat"
    section: Section
    detail: str | None = None
    ticks: int = 0
    """Counts what the working thread has got done; in one that hangs it stands still."""


class DataChecked(ProtocolMessage):
    """A job's rows were inspected, before its first step."""

    kind: Literal["data_checked"] = "data_checked"
    job_id: str
    report: DataReport


class JobStarted(ProtocolMessage):
    kind: Literal["job_started"] = "job_started"
    job_id: str
    first_step: int
    """Steps of this job that an earlier run has already trained."""
    total_steps: int
    steps_per_epoch: int
    global_step: int
    """Steps of the model's life before this job's next one."""
    micro_batch_tokens: int | None = None
    """Tokens that go through the model at once, where the settings leave it open."""


class StepsTaken(ProtocolMessage):
    """Steps since the last such message, oldest first."""

    kind: Literal["steps_taken"] = "steps_taken"
    steps: tuple[StepReport, ...]


class Validated(ProtocolMessage):
    kind: Literal["validated"] = "validated"
    global_step: int
    loss: float | None
    """Of the weights that `training.preferred_weights` names."""
    rows: int
    weights: WhichWeights = "last"
    other_loss: float | None = None
    """Of the other ones; null where no average is kept, or they were not measured."""


LENGTH_PERCENT = "length_percent"
"""The metric that says how many characters an answer has, in percent of those of the expected one."""


class Score(ProtocolMessage):
    """How well a suite's questions, or those of one difficulty, are answered."""

    rows: int
    loss: float | None
    """Mean over the tokens of the expected answers; null where rows hold none to be trained."""
    exact_match: float
    """Share of the answers that are right, from 0 to 1."""
    metrics: dict[str, float] = {}
    """What the data profile measures, averaged."""


class SuiteAnswer(ProtocolMessage):
    """The model's answer to one question of a suite."""

    prompt: str
    """As people see it. Of all three texts, what is too long is cut off."""
    expected: str
    text: str
    is_right: bool
    difficulty: str | None = None


class SuiteScored(ProtocolMessage):
    """A suite of questions with known answers was put to the model."""

    kind: Literal["suite_scored"] = "suite_scored"
    global_step: int
    suite: str
    overall: Score
    by_difficulty: dict[str, Score] = {}
    answers: tuple[SuiteAnswer, ...] = ()
    """One for each question, in their order."""


class PreviewMade(ProtocolMessage):
    """The model's answer to one of the fixed prompts."""

    kind: Literal["preview_made"] = "preview_made"
    global_step: int
    prompt: str
    text: str
    ended_by: EndedBy
    seconds: float
    metrics: dict[str, float] = {}


class Evaluated(ProtocolMessage):
    """What one kind of evaluation has cost, or why it was left out."""

    kind: Literal["evaluated"] = "evaluated"
    what: CostKind
    global_step: int
    seconds: float
    interval_steps: int
    """Steps between two of them from now on."""
    left_out: str | None = None


class GateJudged(ProtocolMessage):
    """The gate has compared the model with what it was. If it refuses the files, no step follows."""

    kind: Literal["gate_judged"] = "gate_judged"
    verdict: GateVerdict


class JobEnded(ProtocolMessage):
    """The job will get no further step. Its file may move once a checkpoint contains it."""

    kind: Literal["job_ended"] = "job_ended"
    record: JobRecord
    fault: FaultKind | None = None
    durable: bool
    """True when there is nothing to make durable: the job took no step."""
    truncated_rows: int = 0
    """Rows of which something was left out, because they had more tokens than `data.max_length`."""
    split_rows: int = 0
    dropped_rows: int = 0
    rows_without_target: int = 0
    """Rows that had no supervised token within `data.max_length`, and so are untrainable."""
    counted_from_step: int | None = None
    """The step, counted from 1, before which none of these rows were counted: the job continued there, in its
    last epoch. None if those of the whole file were."""


class JobPreempted(ProtocolMessage):
    """The job waits again, and a durable checkpoint contains its cursor."""

    kind: Literal["job_preempted"] = "job_preempted"
    job_id: str
    steps: int
    """Trained so far."""


class CheckpointPublished(ProtocolMessage):
    kind: Literal["checkpoint_published"] = "checkpoint_published"
    checkpoint: CheckpointRef
    finished: tuple[JobRecord, ...]
    """Jobs that this checkpoint is the first to contain whole."""
    seconds: float
    stall_seconds: float = 0.0
    """The part of `seconds` in which no step could be taken."""


class Held(ProtocolMessage):
    """Pause was obeyed."""

    kind: Literal["held"] = "held"
    global_step: int


class Continued(ProtocolMessage):
    """Resume was obeyed."""

    kind: Literal["continued"] = "continued"


class Blocked(ProtocolMessage):
    """Something outside has to change, such as the free disk space, before training can continue.

    Everything trained so far is kept in memory meanwhile.
    """

    kind: Literal["blocked"] = "blocked"
    reason: str


class Unblocked(ProtocolMessage):
    """What blocked has gone."""

    kind: Literal["unblocked"] = "unblocked"


LOSS_SPIKE = "loss spike"
"""The key of the notice that the loss of a file jumped. It stands until the next file starts."""


class Notice(ProtocolMessage):
    """Something a person should know: it is shown as an alert and noted in the ledger."""

    kind: Literal["notice"] = "notice"
    key: str
    """A later notice with the same key takes its place."""
    message: str
    job_id: str | None = None


class Faulted(ProtocolMessage):
    """The worker cannot continue and will exit."""

    kind: Literal["faulted"] = "faulted"
    fault: FaultKind
    error_class: str
    message: str
    traceback: str | None = None
    job_id: str | None = None
    left_out: Window | None = None
    """With NaN: the steps that must be left out for the job to go on from the last checkpoint."""


CONNECTION_LOST = 75
"""The exit code of a worker that was cut off from its daemon. In sysexits' words: a temporary failure."""


class Leaving(ProtocolMessage):
    """Everything is saved; the worker exits 0."""

    kind: Literal["leaving"] = "leaving"
    reason: str


Event = (
    WorkerReady
    | Heartbeat
    | DataChecked
    | JobStarted
    | StepsTaken
    | Validated
    | SuiteScored
    | PreviewMade
    | Evaluated
    | GateJudged
    | JobEnded
    | JobPreempted
    | CheckpointPublished
    | Held
    | Continued
    | Blocked
    | Unblocked
    | Notice
    | Faulted
    | Leaving
)

COMMANDS: TypeAdapter[Command] = TypeAdapter(Annotated[Command, Field(discriminator="kind")])
EVENTS: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="kind")])
