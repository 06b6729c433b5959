"""The noun Job: a file accepted for training, and why it may fail."""

from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict

from trainer.protocol.places import Outcome as Outcome
from trainer.protocol.places import Priority as Priority


class FaultKind(StrEnum):
    """What went wrong. It decides who pays: a file with an attempt, or nobody while the daemon waits."""

    BAD_DATA = "bad_data"
    BAD_CONFIG = "bad_config"
    ENVIRONMENT = "environment"
    OUT_OF_MEMORY = "out_of_memory"  # of the machine
    GPU_OUT_OF_MEMORY = "gpu_out_of_memory"
    NAN = "nan"  # loss or gradients that are not finite numbers, again and again
    HANG = "hang"
    CRASH = "crash"
    REQUEST = "request"  # somebody asked for it
    REGRESSION = "regression"  # the gate found the model worse after it

    @property
    def blames_file(self) -> bool:
        """Whether a file pays for it with an attempt.

        For NaN it pays with the rows of those steps instead.
        """
        return self in BLAMES_FILE

    @property
    def is_out_of_memory(self) -> bool:
        return self in (FaultKind.OUT_OF_MEMORY, FaultKind.GPU_OUT_OF_MEMORY)


BLAMES_FILE = (
    FaultKind.BAD_DATA,
    FaultKind.OUT_OF_MEMORY,
    FaultKind.GPU_OUT_OF_MEMORY,
    FaultKind.HANG,
    FaultKind.CRASH,
)


class Reason(BaseModel):
    """Why a file lies in `failed/` or `skipped/`: the content of `NAME.reason.json`."""

    model_config = ConfigDict(frozen=True)

    kind: FaultKind
    message: str
    file: str
    """The file's name, made printable."""
    at: str
    """UTC, ISO 8601."""
    job_id: str | None = None
    attempts: int = 0
    details: str | None = None
    """Traceback or the last words of the worker."""
    priority: Priority = Priority.NORMAL
    """Where `retry` puts the file back."""


class Job(BaseModel):
    """A file accepted for training."""

    model_config = ConfigDict(frozen=True)

    id: str
    """Sorts by arrival."""
    name: str
    """The file's name in the queue, as the system gave it (may hold surrogates for non-UTF-8 bytes)."""
    priority: Priority
    sha256: str
    rows: int
    """Rows that will be trained; rejected ones are not counted."""
    size_bytes: int
    rejected_lines: tuple[int, ...] = ()
    """Numbers of the lines rejected at intake, counted from 1, ascending."""
    format: str = ""
    """Of all its rows, such as `messages`; empty for jobs of earlier releases."""
    metadata: dict[str, dict[str, int]] = {}
    """How many rows have which skill, difficulty and source. For people."""


class JobRecord(BaseModel):
    """A job that a checkpoint has put behind it."""

    model_config = ConfigDict(frozen=True)

    job_id: str
    name: str = ""
    sha256: str
    outcome: Outcome
    message: str | None = None
    rows_trained: int
    steps: int


class EarlierFile(BaseModel):
    """A completed file whose rows are replayed: trained again among those of a later one."""

    model_config = ConfigDict(frozen=True)

    job_id: str
    """Also its name in the folder that holds such files."""
    name: str
    """Made printable; for people."""
    sha256: str
    rows: int
    rejected_lines: tuple[int, ...] = ()
    fields: tuple[tuple[str, str], ...] = ()
    """`data.fields` with which it was trained."""


class Window(BaseModel):
    """Steps of one job that are left out, counted from 0 as in its plan; both ends belong to it."""

    model_config = ConfigDict(frozen=True)

    first: int
    last: int

    def __contains__(self, step: int) -> bool:
        return self.first <= step <= self.last


class Cursor(BaseModel):
    """How far an open job's plan has been trained."""

    job_id: str
    name: str = ""
    sha256: str
    plan: str
    """Fingerprint of everything that decides order and grouping of the rows."""
    step: int
    """Steps of this job already trained; the next one has this index."""
    rows_trained: int
    settings: dict[str, Any]
    """The settings the job started with."""
    micro_batch_tokens: int | None = None
    """Tokens that go through the model at once; in cursors of earlier releases only when they are fewer than
    the settings say."""
    bad_steps: tuple[int, ...] = ()
    """Steps (as `step` counts them) that were not applied because loss or gradients were not finite."""
    replayed: tuple[EarlierFile, ...] = ()
    """The files that rows are replayed from, as they were chosen when the job first started."""
    profile_code: str | None = None
    """Hash of the code of a profile from elsewhere; empty where the profile is ours. None in cursors of
    earlier releases."""
