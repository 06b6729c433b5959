"""The fields of the status JSON, `status/training_status.json`; `daemon.status.reader` reads it.

Unknown is null, never invented.
"""

from enum import StrEnum

from pydantic import AliasChoices, BaseModel, Field

SCHEMA_VERSION = 1


class State(StrEnum):
    """What the daemon is doing."""

    STARTING = "starting"
    IDLE = "idle"
    CHECKING = "checking"
    LOADING = "loading"
    TRAINING = "training"
    PAUSED = "paused"
    BLOCKED = "blocked"
    STOPPING = "stopping"
    STOPPED = "stopped"


class QueueCounts(BaseModel):
    """Files in each folder of the queue."""

    high: int = 0
    normal: int = 0
    low: int = 0
    processing: int = 0
    failed: int = 0
    skipped: int = 0
    recently_completed: int = 0


class LastCheckpoint(BaseModel):
    """The checkpoint that was published most recently."""

    path: str
    step: int
    at: str


class Memory(BaseModel):
    """Memory of the machine, and what our processes use of it."""

    daemon_rss_bytes: int | None = None
    worker_rss_bytes: int | None = None
    system_available_bytes: int | None = None


class Gpu(BaseModel):
    """One GPU of the machine."""

    name: str
    used_bytes: int
    total_bytes: int
    utilization_percent: int | None
    temperature_c: int | None


class DiskSpace(BaseModel):
    """What the working directory takes, as it was measured last; `status/disk.json` says more."""

    used_bytes: int
    free_bytes: int
    """Of the file system of `models/`."""
    growth_bytes_per_hour: float | None
    """Over the last hours; null while they are too few."""
    full_in_s: float | None
    """Seconds until the disk is full at this pace; null if nothing grows or it is not known."""
    measured_at: str | None = None
    """UTC, ISO 8601; null in a file that an earlier release has written."""


class LastError(BaseModel):
    """What went wrong most recently."""

    error_class: str = Field(
        validation_alias=AliasChoices("class", "error_class"), serialization_alias="class"
    )
    message: str
    file: str | None
    at: str


class LastCommand(BaseModel):
    """The control command obeyed most recently, so that its sender can see the answer."""

    name: str
    id: str | None
    """As given by the sender; null for a plain `touch`."""
    result: str
    at: str


class SuiteResult(BaseModel):
    """How well a suite of questions was answered last."""

    step: int
    """Of the model's life."""
    rows: int
    exact_match: float
    """Share of correct answers, from 0 to 1."""
    loss: float | None


class BackupStatus(BaseModel):
    """The newest backup, and what keeps the next one from being made."""

    id: str | None = None
    at: str | None = None
    to: str | None = None
    """Without a password."""
    step: int | None = None
    """Of the model's life."""
    problem: str | None = None
    """Why the newest attempt has failed; null if it has not."""


class TrainingStatus(BaseModel):
    """The content of `status/training_status.json`."""

    schema_version: int = SCHEMA_VERSION
    status: State = State.STARTING
    status_reason: str | None = None
    heartbeat_at: str
    """UTC, ISO 8601. A daemon silent for 15 seconds is not running."""
    daemon_pid: int | None
    worker_pid: int | None = None
    worker_section: str | None = None
    """What the worker does right now: loading, training, saving, …"""

    model_name: str | None = None
    method: str | None = None

    current_file: str | None = None
    current_job: str | None = None
    priority: str | None = None
    current_step: int | None = None
    """Optimizer steps over the model's life."""
    total_steps: int | None = None
    """What `current_step` will be at the end of this file."""
    file_step: int | None = None
    file_total_steps: int | None = None
    epoch: int | None = None
    """Pass over the current file, counted from 1."""

    loss: float | None = None
    learning_rate: float | None = None
    grad_norm: float | None = None
    validation_loss: float | None = None
    validation_weights: str | None = None
    """Whose loss it is: that of the weights after the `last` step, or of their `average`. None where there is
    no loss, or an earlier release measured it."""
    validation_other_loss: float | None = None
    """Of the other ones, where an average is kept."""
    val_train_gap: float | None = None
    """Validation loss minus training loss, both of the last weights."""
    suite_scores: dict[str, SuiteResult] = {}
    """Of `validation.suites`, by name."""
    evaluation_left_out: str | None = None
    """What was not measured when it was due, and why."""
    think_tag_percent: float | None = None

    tokens_per_sec: float | None = None
    samples_per_sec: float | None = None
    tokens_seen: int | None = None
    samples_seen: int | None = None
    eta_s: float | None = None
    """Seconds to the end of the current file at the present speed."""

    queue: QueueCounts = QueueCounts()
    last_checkpoint: LastCheckpoint | None = None
    disk: DiskSpace | None = None
    """null until it was measured for the first time."""
    memory: Memory = Memory()
    gpus: list[Gpu] = []
    last_error: LastError | None = None
    last_command: LastCommand | None = None
    backup: BackupStatus | None = None
    """Null where `backup.to` is null."""
    alerts: list[str] = []
    warnings: list[str] = []
    """Those of the alerts that are no errors, by the level of their events."""
