"""What the process is asked that trains a model again without a file, and what it leaves behind.

models/.forget/order.jsonl     what is to be done: a header, then jobs and stretches in the order of training
models/.forget/models/         a models folder of its own, in which that is trained
models/.forget/steps.jsonl     what happened there: the steps of the new branch, for the ledger
models/branches/NNN.jsonl      the same, once the branch is published; the ledger takes it in
models/branches/SHA256.json    a file was erased that the model had never seen, so that there is no branch
"""

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from trainer.protocol.files import UnreadableFile, sync_directory
from trainer.protocol.job import EarlierFile, Job, Window
from trainer.protocol.layout import BRANCHES as BRANCHES
from trainer.protocol.layout import ORDER_FILE as ORDER_FILE
from trainer.protocol.layout import SCRATCH as SCRATCH
from trainer.protocol.manifest import Branch, JobFate
from trainer.protocol.one_shot import OneShotOrder

MODULE = "trainer.mains.forget"


class _Fact(BaseModel):
    model_config = ConfigDict(frozen=True)


class ForgetOrder(OneShotOrder):
    """Carry out what `models/.forget/order.jsonl` says."""

    base_dir: Path
    """The working directory; absolute."""
    backup_to: str | None = Field(default=None, repr=False)
    """As `backup.to`, with the password that it may hold."""


class Erased(_Fact):
    """What is erased once the model has forgotten a file. Paths are relative to the working directory."""

    files: tuple[str, ...] = ()
    """Those with the content, or a part of it."""
    checkpoints: tuple[str, ...] = ()
    """Names of those whose weights have seen it."""
    versions: tuple[str, ...] = ()
    """Ids of those whose weights have seen it."""
    bases: tuple[str, ...] = ()
    """Names of the merged base models that have seen it, and that nothing needs which stays."""
    names: tuple[str, ...] = ()
    """Under which it was trained; printable."""
    seen: tuple[tuple[int, int], ...] = ()
    """The branches, and the steps there, at which the model has seen it: for states made since."""
    keeps_versions: bool = False
    """Versions that have seen it stay."""
    others: tuple[str, ...] = ()
    """Lists of rejected rows of other contents of its names, such as before it was corrected. They stay."""


class OrderHeader(_Fact):
    """What is to be forgotten, and from where on the model is trained again."""

    sha256: str
    reason: str
    """For people; printable."""
    newest: str
    """Name of the checkpoint that the model has; another one in its place, and the order is void."""
    base: str | None
    """The checkpoint or version that is trained on, relative to `models/`; None for the base model."""
    base_branch: int
    base_step: int
    is_trained: bool
    """False if the weights have never seen the file, so that there is nothing to train again."""
    dropped_cursors: tuple[str, ...] = ()
    """Ids of jobs that start anew although the base has cursors of theirs."""
    fates: tuple[JobFate, ...] = ()
    settings: dict[str, Any]
    """All that are in force."""
    erased: Erased
    unjudged: tuple[str, ...] = ()
    """Names of files that waited for the gate's verdict, and get none; printable."""
    steps: int = 0
    """About how many are to be trained."""


class RetrainedJob(_Fact):
    """A job that is trained again."""

    job: Job
    path: str
    """Of its content; absolute."""
    frozen: dict[str, Any]
    """The sections of the settings that it has kept since it started."""
    settings: dict[str, Any] = {}
    """All of them; filled in where it is trained."""
    replayed: tuple[EarlierFile, ...] = ()
    replay_paths: dict[str, str] = {}
    """Where the contents of these are, by the ids of their jobs."""
    has_new_plan: bool = False
    """It has replayed the file, and replays others now."""
    micro_batch_tokens: int | None = None
    left_out: tuple[Window, ...] = ()


class Stretch(_Fact):
    """Steps of one job that follow each other."""

    job_id: str
    life: int = 0
    """Counts how often the job ended before, after the base, and was trained from its start once more."""
    until: int | None
    """The last one, as the job counts them; None if it is trained to its end."""
    then: Literal["ends", "is_put_aside", "waits"]
    """What becomes of the job at `until`, unless its end comes first."""


Item = RetrainedJob | Stretch


class Forgot(BaseModel):
    """The model has forgotten the file."""

    model_config = ConfigDict(frozen=True)

    branch: Branch | None
    """None if the weights had never seen it."""
    trained_steps: int = 0
    unjudged: tuple[str, ...] = ()
    """As in the order."""
    removed_backups: tuple[str, ...] = ()
    """Ids of those that are removed, because their weights had seen it."""
    cleaned_backups: tuple[str, ...] = ()
    """Ids of those that had the file, and have it no more."""
    unreached: tuple[str, ...] = ()
    """What could not be erased, and why."""


class UnreadableOrder(ValueError):
    """The order is cut off, or none of this release."""


def write_order(path: Path, header: OrderHeader, items: Iterable[Item]) -> None:
    """Write an order, durably; it appears whole or not at all. Nothing but one item is held at a time."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    partial = path.with_name(f"{path.name}.tmp")
    with partial.open("w", encoding="ascii") as file:
        file.write(json.dumps(header.model_dump(mode="json")) + "\n")
        for item in items:
            kind = "stretch" if isinstance(item, Stretch) else "job"
            file.write(json.dumps({kind: item.model_dump(mode="json")}) + "\n")
        file.write(json.dumps({"end": True}) + "\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)
    sync_directory(path.parent)


def read_header(path: Path) -> OrderHeader:
    """Return the header of an order.

    Raises:
        FileNotFoundError: there is none.
        UnreadableOrder: it is none.
    """
    with path.open(encoding="ascii") as file, _understood(path):
        return OrderHeader.model_validate(json.loads(file.readline()))


def read_items(path: Path) -> Iterator[Item]:
    """Yield the jobs and stretches of an order; a job comes before its first stretch.

    Raises:
        UnreadableOrder: it is cut off.
    """
    is_whole = False
    with path.open(encoding="ascii") as file, _understood(path):
        file.readline()
        for line in file:
            match json.loads(line):
                case {"job": found}:
                    yield RetrainedJob.model_validate(found)
                case {"stretch": found}:
                    yield Stretch.model_validate(found)
                case _:
                    is_whole = True
    if not is_whole:
        raise UnreadableOrder(f"{path} is cut off; expected a whole order; ask again")


class _understood:
    """Names the file in what goes wrong."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, ValueError) and not isinstance(error, UnreadableOrder):
            raise UnreadableOrder(f"{self._path}: {error}; expected an order; ask again") from error


# ---- the steps of a branch


class BranchHeader(_Fact):
    """The first line of `models/branches/NNN.jsonl`."""

    number: int
    at: str
    """As the branch has it: a file that was written for another one, which was never published, differs."""
    sha256: str
    """Of the content that was forgotten."""


class NewPlan(_Fact):
    """A job that replays other files now."""

    job_id: str
    replayed: tuple[EarlierFile, ...]


class ErasedUnseen(_Fact):
    """A file was erased that had no part in the model, so no branch says so."""

    job_ids: tuple[str, ...]
    reason: str
    """For people; printable."""


def erased_unseen_file(models: Path, sha256: str) -> Path:
    """Return where it is noted that a file was erased which the model had never seen."""
    return models / BRANCHES / f"{sha256}.json"


def erased_unseen(models: Path) -> Iterator[tuple[Path, ErasedUnseen]]:
    """Yield these notes, as far as they can be understood."""
    for path in sorted((models / BRANCHES).glob("*.json")):
        with suppress(ValueError, OSError):
            yield path, ErasedUnseen.model_validate_json(path.read_bytes())


def branch_file(models: Path, number: int) -> Path:
    """Return where the steps of a branch are that was trained before it was published."""
    return models / BRANCHES / f"{number:03d}.jsonl"


def read_branch_header(path: Path) -> BranchHeader | None:
    """Return whose steps a file has; None if there is none, or it cannot be understood."""
    try:
        with path.open(encoding="utf-8") as file:
            return BranchHeader.model_validate(json.loads(file.readline()))
    except (FileNotFoundError, ValueError, UnreadableFile):
        return None
