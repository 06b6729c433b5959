"""MANIFEST.json: what a checkpoint contains and how far the model was trained by then."""

import hashlib
import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from trainer.protocol.job import Cursor, JobRecord

MANIFEST_NAME = "MANIFEST.json"
FORMAT = 2
READABLE_FORMATS = (1, 2)  # what 2 has beyond 1 has a default here
CHECKSUM = "checksum"
"""Stands beside the fields below in every format, so that a changed manifest is not taken for a newer one."""


class FileEntry(BaseModel):
    """One file of a checkpoint, so that damage is noticed."""

    model_config = ConfigDict(frozen=True)

    bytes: int
    sha256: str


WhichWeights = Literal["last", "average"]
"""Those after the last step, or their average over many steps."""


class Progress(BaseModel):
    """How far the model is trained, apart from its tensors."""

    global_step: int = 0
    """Optimizer steps over the model's life; never resets."""
    tokens_seen: int = 0
    samples_seen: int = 0
    cursors: dict[str, Cursor] = {}
    """Open jobs by id."""
    finished: list[JobRecord] = []
    """The most recently ended jobs, oldest first."""
    ended_files: int = 0
    """How many jobs with steps have ended in the model's life. Checkpoints of earlier releases have 0."""
    validation_loss: float | None = None
    """The newest one; None when there has been none."""
    validation_weights: WhichWeights | None = None
    """Whose it is; None when there has been none, and in checkpoints of earlier releases."""
    validation_other_loss: float | None = None
    """Of the other weights; None where no average is kept, or they were not measured."""
    validated_step: int | None = None
    """The value of `global_step` that it belongs to."""
    gate_checkpoints: tuple[str, ...] = ()
    """Names of checkpoints that the model may have to go back to, until the gate has judged what came after
    them; retention keeps those that the newest checkpoint names."""

    @property
    def loss_of_these_weights(self) -> float | None:
        """The validation loss, if it was measured at this very step."""
        return self.validation_loss if self.is_validated else None

    @property
    def is_validated(self) -> bool:
        """Whether the validation loss was measured at this very step."""
        return self.validated_step == self.global_step

    def without_average(self) -> "Progress":
        """Return the progress of a model that lost its averaged weights: with no loss that was of these."""
        changed: dict[str, Any] = {"validation_other_loss": None}
        if self.validation_weights == "average":
            changed |= {"validation_loss": self.validation_other_loss, "validation_weights": "last"}
            if self.validation_other_loss is None:
                changed |= {"validation_weights": None, "validated_step": None}
        return self.model_copy(update=changed)


class Unlocked(BaseModel):
    """A locked setting that somebody changed on purpose."""

    model_config = ConfigDict(frozen=True)

    setting: str
    was: Any
    becomes: Any
    at: str


BranchReason = Literal["rollback", "gate", "forget"]


class JobFate(BaseModel):
    """What becomes of a job's file when the model goes back."""

    model_config = ConfigDict(frozen=True)

    job_id: str
    fate: Literal["undone", "requeued", "trained", "continues", "forgotten"]
    """undone: the model lacks all of it, or the last steps, and it is put away. requeued: the same, but it is
    trained again. trained: the model has all of it again. continues: it is trained on from where the model
    has it. forgotten: the model is what it would be without it, and its file is erased."""


class Branch(BaseModel):
    """The model went back to an earlier checkpoint, and continues from there."""

    model_config = ConfigDict(frozen=True)

    number: int
    """Counts the branches of a model's life from 1; steps before the first belong to branch 0."""
    from_branch: int
    from_step: int
    """The global step that it went back to."""
    left_step: int
    """The global step that it went back from."""
    at: str
    """UTC, ISO 8601."""
    why: BranchReason
    reason: str
    """For people; printable."""
    jobs: tuple[JobFate, ...]

    @property
    def text(self) -> str:
        """What happened, for people."""
        if self.why == "forget":
            return f"the model was trained again from step {self.from_step} without the file"
        lost = sum(job.fate in ("undone", "requeued") for job in self.jobs)
        regained = sum(job.fate in ("trained", "continues") for job in self.jobs)
        again = sum(job.fate == "requeued" for job in self.jobs)
        queued = f" ({again} of them queued again)" if 0 < again < lost else " and queued again" * bool(again)
        files = [f"{_files(lost)} undone{queued}"] if lost or not regained else []
        files += [f"{_files(regained)} in it again"] if regained else []
        return f"the model went from step {self.left_step} to step {self.from_step}; {', '.join(files)}"


def _files(number: int) -> str:
    return "1 file" if number == 1 else f"{number:,} files"


class Consolidation(BaseModel):
    """The adapter was merged into its base model; training continued with a fresh one beside the result."""

    model_config = ConfigDict(frozen=True)

    at: str
    """UTC, ISO 8601."""
    global_step: int
    """The step of the weights, which stayed the same."""
    base: str
    """The new base model, relative to `models/`."""
    base_sha256: str
    """Its fingerprint."""
    merged: str
    """Name of the checkpoint whose adapter was merged."""
    kept_as: str
    """Id of the version that has this adapter, and names the base model of before."""
    max_difference: float
    """Of the logits, on the rows that were tried before and after."""


class Origin(BaseModel):
    """What a checkpoint was made with."""

    model_config = ConfigDict(frozen=True)

    base_model: str
    method: str
    chat_template: str = "own"
    """As `model.chat_template`."""
    chat_template_sha256: str | None = None
    """Of the training template, or the file, that it was trained with; None for `own` and `chatml`."""
    locked: dict[str, Any] = {}
    """Settings that cannot change any more, by their names, with their values."""
    unlocked: tuple[Unlocked, ...] = ()
    """Those that were changed anyway, oldest first."""
    branches: tuple[Branch, ...] = ()
    """How often the model went back until now, oldest first."""
    consolidations: tuple[Consolidation, ...] = ()
    """How often the adapter was merged on the way here, oldest first. The last one names the base model."""
    base_sha256: str | None = None
    """Fingerprint of the base model's files."""
    device: str = "cpu"
    settings: dict[str, Any] = {}
    """All settings in force."""
    settings_sha256: str | None = None
    versions: dict[str, str]
    """Of the libraries that wrote it."""


class Manifest(Origin):
    """The content of MANIFEST.json, written last."""

    format: int = FORMAT
    sequence: int
    """Counts checkpoints; the highest verified one is the newest, whatever the clock says."""
    parent: str | None
    """Name of the checkpoint this one continues."""
    written_at: str
    progress: Progress
    files: dict[str, FileEntry]

    @property
    def branch(self) -> int:
        """The number of the branch that it belongs to; 0 before the model first went back."""
        return self.branches[-1].number if self.branches else 0

    @property
    def own_base(self) -> str | None:
        """The base model that was made for it, relative to `models/`; None for that of the settings."""
        return self.consolidations[-1].base if self.consolidations else None

    @property
    def merged_at(self) -> int | None:
        """The global step at which an adapter was last merged; None if none was."""
        return self.consolidations[-1].global_step if self.consolidations else None

    @property
    def total_bytes(self) -> int:
        """What the files need on disk."""
        return sum(entry.bytes for entry in self.files.values())


def checksum(content: dict[str, Any]) -> str:
    """Return the SHA-256 of a manifest's content without its checksum: the list of hashes is hashed too."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
