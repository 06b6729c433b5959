"""What each command prints with `--json`: the types of the documents. Loaded only to describe them.

Most are what the client returns; the others are put together by a command, and declared here.
"""

from dataclasses import dataclass
from types import GenericAlias
from typing import Any, ClassVar, Literal, NotRequired, get_type_hints

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict  # pydantic wants it before Python 3.12

from daemon.cli.models_json_outputs import MODELS_OUTPUTS
from daemon.client.results import (
    BrokenCheckpoint,
    CheckResult,
    Cleared,
    CompletedFile,
    CrashGroup,
    Created,
    Curve,
    Diagnosis,
    FileValue,
    FinishedFile,
    FittingLength,
    Flagged,
    ImpossibleRestart,
    Installed,
    KnownFile,
    LogEntry,
    Obeyed,
    PreviewHistory,
    ProposedLength,
    QueuedFile,
    Restart,
    Started,
    WholeCheckpoint,
)
from daemon.data_tools.analysis.findings import Analysis
from daemon.data_tools.reading import LeftOut
from daemon.notify.notification import Notification
from trainer.protocol.data_report import DataReport
from trainer.protocol.dry_run import Planned
from trainer.protocol.places import Priority
from trainer.protocol.show import Shown
from trainer.protocol.status import QueueCounts, TrainingStatus

# ---- training_controller


class StatusOfDaemon(TrainingStatus):
    """The status file, and whether a daemon is behind it."""

    daemon: Literal["running", "stopped", "silent", "dead"]
    heartbeat_age_s: float
    """Seconds since the last heartbeat."""
    starts_paused: bool | None
    """Whether the next daemon will start paused; null while one runs."""
    in_inbox: int | None
    """Files that the next daemon will take in; null while one runs."""


class StatusOfNobody(TypedDict):
    """The status if no daemon has ever run, or if the status file is unreadable."""

    daemon: Literal["never started", "unreadable"]
    heartbeat_age_s: None
    """No heartbeat is known."""
    starts_paused: bool | None
    """Whether the first daemon will start paused; null if the status file is unreadable."""
    in_inbox: int | None
    """Files that it will take in; null as well then."""
    queue: NotRequired[QueueCounts]
    """The files that lie in the queue's folders; absent if the ledger is unreadable, too."""


# ---- training


class Overview(TypedDict):
    """Where things stand, and what to do next."""

    base_dir: str
    """Printable."""
    status: StatusOfDaemon | StatusOfNobody | None
    """As `training_controller status` prints it; null if the folder is not a working directory."""
    in_inbox: int
    """Files that have not been taken in yet."""
    version: str | None
    """The version of the model that has the weights of the newest checkpoint; null if it has none."""
    next: str
    """What one can do; in words."""


# ---- training_queue


class Added(TypedDict):
    """A file that was copied into the inbox."""

    file: str
    """The one it was copied from; printable."""
    added_as: str
    """The copy's name; printable."""
    priority: Priority
    converted_rows: int | None
    """Rows that were converted to JSON Lines; null if the file was copied as it is."""


class QueueStatus(BaseModel):
    """Files in each folder of the queue; and `format_NAME`: those waiting or in training, by format."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, int] = Field(init=False)

    high: int
    normal: int
    low: int
    processing: int
    recently_completed: int
    failed: int
    skipped: int
    trash: int
    """Cleared away from failed/ and skipped/."""


def _list_of(kind: Any) -> Any:
    """Return a list of the objects that named tuples are printed as."""
    make: Any = TypedDict
    found = make(kind.__name__, get_type_hints(kind))
    found.described_by = kind
    return GenericAlias(list, (found,))


class ClearedFiles(TypedDict, total=False):
    """What was cleared away, by what was asked for."""

    failed: Cleared
    skipped: Cleared


class PrioritySet(TypedDict):
    """A file whose priority was set."""

    name: str
    """As the queue has it now; printable."""
    priority: Priority


class Removed(TypedDict):
    """A file that was taken out of the queue."""

    name: str
    """As the folder has it now; printable."""
    moved_to: str


class Unadmitted(TypedDict):
    """A file whose content is no longer admitted."""

    name: str
    """Printable."""


# ---- training_health


class HealthCheck(TypedDict):
    """The state of everything."""

    repaired: list[str]
    """A sentence for each thing that `--fix` has done or could not do."""
    findings: list[CheckResult]


class VerifiedCheckpoints(TypedDict):
    """All checkpoints, newest first, and what follows from them."""

    checkpoints: list[WholeCheckpoint | BrokenCheckpoint]
    restart: Restart | ImpossibleRestart


class Unlocked(TypedDict):
    """A locked setting that may change."""

    setting: str
    was: Any
    becomes: Any
    result: str
    """In words."""


class Pinned(TypedDict):
    """A checkpoint that was pinned or unpinned."""

    name: str
    """Printable."""
    result: str
    """In words."""


# ---- training_daemon


class SettingsInForce(TypedDict):
    """All settings, as docs/config.schema.json describes them."""

    settings: dict[str, dict[str, Any]]
    """By section and key."""
    origins: dict[str, str]
    """The source of every setting that is set explicitly, by name, such as training.epochs."""
    problems: list[str]
    """Settings that name a file, a model or a profile which is not there; exit code 78 if there are any."""
    remarks: list[str]
    """What is not wrong, but good to know: profiles of packages that cannot be chosen, a merged base model
    that takes the place of `model.base_model`, and what the daemon that runs was given with `--set` and this
    command was not."""


class DryRunPlan(Planned):
    """What training the file would be like."""

    not_shown: ClassVar = ("kind",)

    tokens_per_s: float | None
    """None if it is unknown; the same holds for the next two."""
    speed_source: str | None
    """How that is known."""
    seconds: float | None
    """How long training would take."""


# ---- training_data


class InspectedFile(DataReport):
    """The report on a file, and what `--auto-adjust` says."""

    max_length_adjusted: FittingLength | ProposedLength | None
    """None without `--auto-adjust`."""


@dataclass(frozen=True, kw_only=True)
class ValueOfFile(FileValue):
    """What training a file achieved."""

    validation_change: float | None
    """How much the validation loss has changed; None unless both are of as many rows and the same weights."""


class RowFlagged(TypedDict):
    """A row that was flagged."""

    flagged: str
    """Folder, file and line; printable."""


class WrittenFile(TypedDict):
    """A file that was written."""

    file: str
    """Printable."""
    rows: int


class LeftOutRows(TypedDict):
    """Rows that a tool could not use."""

    left_out: int
    first_left_out: list[str]
    """Place and reason of the first ones; printable."""


class Converted(WrittenFile, LeftOutRows):
    """A file that was written in another format."""

    losses: dict[str, int]
    """What the new format cannot represent: how many rows had it."""


class SplitFile(LeftOutRows):
    """A file that was split in two."""

    training: WrittenFile
    validation: WrittenFile


class NearPair(TypedDict):
    """A row that is dropped because an earlier one is nearly the same."""

    line: int
    other_line: int
    """Of the row that is kept."""
    similarity: float
    text: str
    """How the row begins; printable."""
    other_text: str


class _Dropped(LeftOutRows):
    dropped: int
    """Rows with the same content as an earlier one, or nearly the same."""
    similarity: NotRequired[float]
    """From which rows are nearly the same; with `--near`."""
    pairs: NotRequired[list[NearPair]]
    """The first rows that are nearly the same; with `--near`."""


class Deduplicated(WrittenFile, _Dropped):
    """A file without duplicate rows."""


class DuplicatesFound(_Dropped):
    """What would be dropped."""

    rows: int
    """Those that would be kept."""


class SampledRows(WrittenFile, LeftOutRows):
    """A file of rows that were drawn."""

    of: int
    """Rows that they were drawn from."""


class Merged(WrittenFile, LeftOutRows):
    """A file with the rows of several."""

    files: int


class Generated(WrittenFile):
    """A file of puzzles."""

    skill: str
    difficulty: int
    seed: int


@dataclass(frozen=True, kw_only=True)
class AnalyzedFile(Analysis):
    """Everything about one file."""

    file: str
    """Printable."""
    left_out: LeftOut


class Failure(TypedDict):
    """Why a command could not do what it was asked; its exit code is not 0."""

    error: str


_FINISHED = _list_of(FinishedFile)

OUTPUTS: dict[str, Any] = {
    "training": Overview,
    "training_daemon --check-config": SettingsInForce,
    "training_daemon --dry-run": DryRunPlan,
    "training_daemon init": Created,
    "training_daemon start": Started,
    "training_daemon restart": Started,
    "training_daemon install-service": Installed,
    "training_controller pause": Obeyed,
    "training_controller resume": Obeyed,
    "training_controller skip": Obeyed,
    "training_controller stop": Obeyed,
    "training_controller status": StatusOfDaemon | StatusOfNobody,
    "training_controller status --previews": list[PreviewHistory],
    "training_controller logs": list[LogEntry],
    "training_controller plot": Curve,
    "training_queue add": list[Added],
    "training_queue list": _list_of(QueuedFile),
    "training_queue list --failed": _FINISHED,
    "training_queue list --skipped": _FINISHED,
    "training_queue list --trash": _FINISHED,
    "training_queue status": QueueStatus,
    "training_queue history": list[CompletedFile],
    "training_queue show": KnownFile,
    "training_queue set-priority": PrioritySet,
    "training_queue retry": list[str],
    "training_queue unadmit": Unadmitted,
    "training_queue remove": Removed,
    "training_queue clear": ClearedFiles,
    "training_health check": HealthCheck,
    "training_health verify": VerifiedCheckpoints,
    "training_health crashes": list[CrashGroup],
    "training_health diagnose": Diagnosis,
    "training_health unlock": Unlocked,
    "training_health pin": Pinned,
    "training_health unpin": Pinned,
    "training_data validate": InspectedFile,
    "training_data report": DataReport,
    "training_data show": Shown,
    "training_data value": ValueOfFile,
    "training_data flag": RowFlagged,
    "training_data flag --list": list[Flagged],
    "training_data flag --export": WrittenFile,
    "training_data convert": Converted,
    "training_data split": SplitFile,
    "training_data dedupe": Deduplicated,
    "training_data dedupe --dry-run": DuplicatesFound,
    "training_data sample": SampledRows,
    "training_data merge": Merged,
    "training_data merge --to": Converted,
    "training_data generate": Generated,
    "training_data analyze": AnalyzedFile,
    **MODELS_OUTPUTS,
    "any command that fails": Failure,
    "a notification": Notification,
}
"""The document of each command; `training queue list` prints what `training_queue list` does."""
