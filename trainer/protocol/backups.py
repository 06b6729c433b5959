"""What the processes are asked that make and read backups, and what they answer."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from trainer.protocol.child_process import is_running
from trainer.protocol.one_shot import OneShotOrder

MODULE = "trainer.mains.back_up"
LOGITS_MODULE = "trainer.mains.fingerprint_logits"
DRILL_MODULE = "trainer.mains.drill_backup"
RESULT_NAME = "backup.json"
"""In `status/`: the newest backup, as `BackupMade`; only the process that makes them writes it."""
LATEST = "latest"
STAGING = ".backup"
"""In `models/`: second names of what goes into the backup that is being made."""
LOCK_NAME = ".backup.lock"
"""In `models/`; held by whoever changes backups."""
UNFINISHED = ".restore-unfinished"
"""Lies in a folder that is being restored; what has it is nobody's."""
DRILL_SCRATCH = ".drill-"
"""How the folders below `models/` begin in which backups are restored for a trial; then comes the process."""


def abandoned_drills(models: Path) -> list[Path]:
    """Return what drills have left that were killed: a copy of a whole backup each."""
    found = []
    for path in models.glob(f"{DRILL_SCRATCH}*"):
        number = path.name.removeprefix(DRILL_SCRATCH).partition("-")[0]
        if not is_running(int(number) if number.isdecimal() else None):
            found.append(path)
    return found


class _Fact(BaseModel):
    model_config = ConfigDict(frozen=True)


class LogitsFingerprint(_Fact):
    """What a model answers to a few fixed prompts, to be compared after a restore."""

    sha256: str
    """Of all logits after the last token of each prompt, as 32-bit numbers."""
    sample: tuple[float, ...]
    """Some of them at even distances, for machines that round differently."""
    libraries: dict[str, str]
    """Their versions."""


# ---- what is asked


class Keep(_Fact):
    """Which backups of one working directory are kept; the newest one always is."""

    last: int
    daily: int
    """Days of which the newest backup is kept; so with weeks (ISO) and months."""
    weekly: int
    monthly: int


class CreateTask(_Fact):
    kind: Literal["create"] = "create"
    why: str
    """For people; printable."""
    versions: tuple[str, ...] = ()
    """Versions that are backed up whole, besides the newest checkpoint."""
    saw: tuple[str, ...] = ()
    """SHA-256 of the files that the weights were trained on, as far as the ledger knows."""
    is_saw_complete: bool = True
    fingerprint_max_bytes: int = 0
    """Larger models get no fingerprint of their logits."""
    keep: Keep | None = None
    """By which old backups are removed afterwards."""
    is_automatic: bool = False


class ListTask(_Fact):
    kind: Literal["list"] = "list"


class VerifyTask(_Fact):
    kind: Literal["verify"] = "verify"
    backup: str | None = None
    """Its id, or `latest`; None for all."""


class RestoreTask(_Fact):
    kind: Literal["restore"] = "restore"
    backup: str = LATEST
    into: Path
    """Absolute."""
    force: bool = False
    """Move a working directory that is there aside."""
    dry_run: bool = False


class PruneTask(_Fact):
    kind: Literal["prune"] = "prune"
    keep: Keep
    dry_run: bool = False


class ForgetTask(_Fact):
    kind: Literal["forget"] = "forget"
    sha256: tuple[str, ...]
    """Of the files that are to be forgotten."""
    dry_run: bool = False


Task = CreateTask | ListTask | VerifyTask | RestoreTask | PruneTask | ForgetTask


class BackupOrder(OneShotOrder):
    """What is to be done with the backups at a destination."""

    base_dir: Path
    """The working directory; absolute. Relative paths in `to` begin there."""
    to: str = Field(repr=False)
    """A folder or an address; may hold a password."""
    task: Annotated[Task, Field(discriminator="kind")]


class LogitsOrder(OneShotOrder):
    """A model whose logits are wanted."""

    base_dir: Path
    """The working directory, where the base model of an adapter is found."""
    checkpoint: Path
    models: Path
    """Where the embedded model is built."""


class DrillOrder(OneShotOrder):
    """A backup that is restored for a trial."""

    base_dir: Path
    to: str = Field(repr=False)
    backup: str = LATEST


# ---- what is answered


class BackupMade(_Fact):
    """A backup that can be restored."""

    id: str
    at: str
    """UTC, ISO 8601."""
    to: str
    """Without a password."""
    checkpoint: str
    sequence: int
    global_step: int
    files: int
    total_bytes: int
    """Of all its files."""
    sent_bytes: int
    """Those that were not there yet."""
    there_bytes: int = 0
    """Of the contents that were there already; what several of its files have counts once."""
    seconds: float
    shares_device: bool
    """Whether it lies on the same device as the working directory."""
    has_fingerprint: bool
    pruned: tuple[str, ...] = ()
    """Older backups that were removed afterwards."""
    notes: tuple[str, ...] = ()
    """What a person should know; printable."""


class BackupLine(_Fact):
    """A backup as the list shows it."""

    id: str
    at: str
    why: str
    origin: str
    """Host and working directory; printable."""
    global_step: int
    branch: int
    versions: tuple[str, ...]
    """Those whose weights are in it; the others are in it as records."""
    files: int
    total_bytes: int
    has_fingerprint: bool


class BackupList(_Fact):
    """All backups at a destination, oldest first."""

    to: str
    backups: tuple[BackupLine, ...]
    damaged: dict[str, str]
    """Manifests that cannot be trusted, with what is wrong."""
    stored_bytes: int
    """Of all objects there; what several backups have in common lies there once."""
    shares_device: bool


class VerifiedBackups(_Fact):
    """What was found when everything was hashed again."""

    to: str
    backups: int
    objects: int
    hashed_bytes: int
    damaged: dict[str, str]
    """Objects and manifests by their names at the destination, with what is wrong."""
    unusable: tuple[str, ...]
    """Backups that cannot be restored because of that."""

    @property
    def is_whole(self) -> bool:
        return not self.damaged


class RestoredBackup(_Fact):
    """A working directory that was made of a backup, or would be."""

    id: str
    at: str
    into: str
    checkpoint: str
    global_step: int
    files: int
    total_bytes: int
    moved_aside: str | None = None
    """Where the working directory is now that was there before; before it is done, with TIME in its name."""
    needs_base_model: str | None = None
    """The base model of its adapter, which is not in the backup."""
    origin: str = ""
    """Host and working directory that it was made of; printable."""


class PrunedBackups(_Fact):
    """Backups that were removed, or would be."""

    to: str
    removed: tuple[str, ...]
    kept: tuple[str, ...]
    freed_objects: int
    freed_bytes: int
    notes: tuple[str, ...] = ()


class ForgottenInBackups(_Fact):
    """What became of backups that had something to do with forgotten files, or would."""

    to: str
    removed: tuple[str, ...]
    """Backups whose weights were trained on one of them."""
    cleaned: tuple[str, ...]
    """Backups that had one of them as a file only, and have it no more."""
    unsure: tuple[str, ...]
    """Backups that do not say all that their weights were trained on; they are still there."""
    freed_objects: int
    freed_bytes: int
    notes: tuple[str, ...] = ()


class DrillResult(_Fact):
    """Whether a backup could be restored and used."""

    id: str
    at: str
    passed: bool
    message: str
    """Why, in words."""
    global_step: int
    files: int
    total_bytes: int
    is_exact: bool | None = None
    """Whether all logits are the very same; None where the backup has no fingerprint."""
    max_difference: float | None = None
    """Of the logits that are compared."""
    seconds: float
