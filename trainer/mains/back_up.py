"""Make, list, verify, restore and remove backups. A process of its own, because it hashes gigabytes.

    python -P -m trainer.mains.back_up <order.json >answer.json

It loads no torch; the process that it has compute a fingerprint does.
"""

import os
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path

import psutil
from filelock import FileLock, Timeout
from pydantic import BaseModel

from trainer.backups import catalog
from trainer.backups.address import UnusableDestination
from trainer.backups.catalog import Busy, NoSuchBackup
from trainer.backups.contents import NothingToBackUp, UnreadableLedger
from trainer.backups.creation import ChangedMeanwhile, Making, create
from trainer.backups.destination import Destination, open_destination, origin_of
from trainer.backups.manifest import DamagedManifest
from trainer.backups.named_files import NamedFiles
from trainer.backups.pruning import forget_in_backups, prune
from trainer.backups.restoring import CannotRestore, Target, describe, require_place, restore
from trainer.backups.verification import verify_backups
from trainer.config.loader import BadConfig, load_settings
from trainer.config.named_files import SECRET, named_files
from trainer.mains.one_shot import Tell, serve
from trainer.protocol import one_shot
from trainer.protocol.backups import (
    LOCK_NAME,
    LOGITS_MODULE,
    RESULT_NAME,
    BackupLine,
    BackupList,
    BackupMade,
    BackupOrder,
    CreateTask,
    ForgetTask,
    ListTask,
    LogitsFingerprint,
    LogitsOrder,
    PruneTask,
    RestoreTask,
    VerifyTask,
)
from trainer.protocol.checkpoints import Checkpoint
from trainer.protocol.files import write_json
from trainer.protocol.job import FaultKind
from trainer.protocol.layout import Layout
from trainer.protocol.one_shot import NoAnswer, OrderRefused
from trainer.protocol.text import printable, system_words
from trainer.versions.record import DamagedVersion

LOCK_WAIT_S = 3600.0
NICENESS = 10
LOGITS_TIMEOUT_S = 1800.0
NOT_POSSIBLE = (
    *(NothingToBackUp, UnreadableLedger, DamagedVersion, ChangedMeanwhile, NoSuchBackup, DamagedManifest),
    *(CannotRestore, Busy),
)


def carry_out(order: BackupOrder, tell: Tell) -> BaseModel:
    """Do what is asked.

    Raises:
        OrderRefused: it cannot be done.
    """
    stand_back(idle=isinstance(order.task, CreateTask) and order.task.is_automatic)
    try:
        return _carry_out(order, tell)
    except NOT_POSSIBLE as error:
        raise OrderRefused(str(error), FaultKind.REQUEST) from error
    except UnusableDestination as error:
        raise OrderRefused(str(error), FaultKind.ENVIRONMENT) from error
    except OSError as error:
        raise OrderRefused(system_words(error), FaultKind.ENVIRONMENT) from error


def _carry_out(order: BackupOrder, tell: Tell) -> BaseModel:
    destination = open_destination(order.to, base_dir=order.base_dir)
    origin = origin_of(order.base_dir)
    match order.task:
        case CreateTask() as task:
            with _locked(order.base_dir):
                return _create(task, order, destination, tell)
        case ListTask():
            return _list(destination, order.base_dir)
        case VerifyTask() as task:
            return verify_backups(task, destination, tell=tell)
        case RestoreTask() as task:
            return _restore(task, destination, tell)
        case PruneTask() as task:
            with _locked_unless(task.dry_run, order.base_dir):
                return prune(task, destination, origin=origin)
        case ForgetTask() as task:
            with _locked_unless(task.dry_run, order.base_dir):
                return forget_in_backups(destination, task.sha256, origin=origin, dry_run=task.dry_run)


def stand_back(*, idle: bool) -> None:
    """Let whoever trains go first, at the processor and at the disk."""
    os.nice(NICENESS)
    with suppress(OSError, AttributeError):
        process = psutil.Process()
        process.ionice(psutil.IOPRIO_CLASS_IDLE if idle else psutil.IOPRIO_CLASS_BE)


def _create(task: CreateTask, order: BackupOrder, destination: Destination, tell: Tell) -> BackupMade:
    layout = Layout(order.base_dir)

    def logits(checkpoint: Checkpoint) -> LogitsFingerprint | str:
        return _logits_of(checkpoint, layout)

    named, unnamed = _named_files(layout)
    made = create(task, Making(layout, destination, logits, tell, named=named))
    made = made.model_copy(update={"notes": (*made.notes, *unnamed)})
    write_json(layout.status / RESULT_NAME, made.model_dump(mode="json"), durable=False)
    if task.keep is None:
        return made
    origin = origin_of(order.base_dir)
    pruned = prune(PruneTask(keep=task.keep), destination, origin=origin)
    notes = (*made.notes, *pruned.notes)
    return made.model_copy(update={"pruned": pruned.removed, "notes": notes})


def _named_files(layout: Layout) -> tuple[NamedFiles, list[str]]:
    """Return the files that settings name; with a note if the settings cannot be used."""
    try:
        settings = load_settings(layout.config_file).settings
    except BadConfig as error:
        why = printable(str(error).partition("\n")[0], limit=300)
        return NamedFiles(), [f"files that settings name are not in it, because these cannot be used: {why}"]
    files = tuple((setting, path) for setting, path in named_files(settings) if setting != SECRET)
    return NamedFiles(files, settings.notify.secret_file), []


def _logits_of(checkpoint: Checkpoint, layout: Layout) -> LogitsFingerprint | str:
    order = LogitsOrder(base_dir=layout.base, checkpoint=checkpoint.path, models=layout.models)
    try:
        return one_shot.ask(LOGITS_MODULE, order, LogitsFingerprint, timeout_s=LOGITS_TIMEOUT_S)
    except (OrderRefused, NoAnswer, OSError) as error:
        return f"there is no fingerprint of the logits: {printable(str(error), limit=300)}"


def _list(destination: Destination, base_dir: Path) -> BackupList:
    found = catalog.read_all(destination)
    lines = [
        BackupLine(
            id=item.id,
            at=item.made_at,
            why=item.why,
            origin=item.origin,
            global_step=item.global_step,
            branch=item.branch,
            versions=item.versions,
            files=len(item.files),
            total_bytes=item.total_bytes,
            has_fingerprint=item.logits is not None,
        )
        for item in found.backups
    ]
    return BackupList(
        to=str(destination),
        backups=tuple(lines),
        damaged=found.damaged,
        stored_bytes=sum(destination.objects().values()),
        shares_device=destination.shares_device(base_dir),
    )


def _restore(task: RestoreTask, destination: Destination, tell: Tell) -> BaseModel:
    manifest, target = catalog.find(destination, task.backup), Target(task.into, task.force)
    if task.dry_run:
        require_place(target, destination)
        aside = None if target.is_free else f"{target.into}.before-restore-TIME"
        return describe(manifest, target).model_copy(update={"moved_aside": aside and printable(aside)})
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    return restore(manifest, destination, target, stamp=stamp, tell=tell)


def _locked_unless(only_looks: bool, base_dir: Path) -> AbstractContextManager[None]:
    """Do the same, unless nothing is changed: whoever looks does not wait for an upload."""
    return nullcontext() if only_looks else _locked(base_dir)


@contextmanager
def _locked(base_dir: Path) -> Iterator[None]:
    """Let one process at a time change the backups of a working directory."""
    models = Layout(base_dir).models
    try:
        with FileLock(models / LOCK_NAME, timeout=LOCK_WAIT_S):
            yield
    except Timeout as error:
        raise Busy(f"another process has been working on the backups of {base_dir} for an hour") from error


if __name__ == "__main__":
    serve(BackupOrder, carry_out)
