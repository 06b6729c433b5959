"""Make a backup: send what is not there yet, and publish the manifest last."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from trainer.backups import catalog
from trainer.backups.address import UnusableDestination
from trainer.backups.contents import Contents, Source, as_entry, gathered
from trainer.backups.destination import Destination, Incomplete, object_name, origin_of
from trainer.backups.manifest import BackupFile, BackupManifest, is_ours
from trainer.backups.named_files import NamedFiles, named_sources
from trainer.protocol.backups import BackupMade, CreateTask, LogitsFingerprint
from trainer.protocol.checkpoints import FOLDER, Checkpoint
from trainer.protocol.files import file_sha256
from trainer.protocol.layout import Layout
from trainer.protocol.manifest import MANIFEST_NAME
from trainer.protocol.text import num_of, printable, size_text, utc_text

Tell = Callable[[str], None]
TELL_EVERY_S = 2.0


class ChangedMeanwhile(RuntimeError):
    """A file was written while it was read."""


@dataclass(frozen=True)
class Making:
    """What a backup is made with.

    Args:
        logits: returns the fingerprint of a checkpoint, or why there is none, in words.
        clock: Unix seconds.
        named: the files that settings name.
    """

    layout: Layout
    destination: Destination
    logits: Callable[[Checkpoint], LogitsFingerprint | str]
    tell: Tell
    clock: Callable[[], float] = time.time
    named: NamedFiles = field(default_factory=NamedFiles)


def create(task: CreateTask, making: Making) -> BackupMade:
    """Make a backup of a working directory, whose lock the caller holds.

    Raises:
        NothingToBackUp, UnreadableLedger, DamagedVersion: it cannot be made of what is here.
        UnusableDestination, Busy: it cannot be made there.
    """
    began, destination = making.clock(), making.destination
    origin = origin_of(making.layout.base)
    if destination.is_inside(making.layout.base):
        raise UnusableDestination(
            f"{destination} is in the working directory, so it would be lost with it; choose another place"
        )
    destination.prepare()
    with catalog.announced(destination, "create", origin=origin, now=making.clock) as others:
        catalog.refuse_while_freeing(others, destination)
        earlier = [item for item in catalog.read_all(destination).backups if item.origin == origin]
        with gathered(making.layout, versions=task.versions) as contents:
            contents.sources += named_sources(making.named, making.layout, contents)
            files, sent = _send_all(contents, earlier[-1:], making)
            logits = _logits(contents.checkpoint, files, task, earlier, making)
            if isinstance(logits, str):
                contents.notes.append(logits)
            manifest = _manifest(task, contents, files, origin, made_at=making.clock())
            if isinstance(logits, LogitsFingerprint):
                manifest = manifest.model_copy(update={"logits": logits})
            catalog.publish(destination, manifest)
    return BackupMade(
        id=manifest.id,
        at=manifest.made_at,
        to=str(destination),
        checkpoint=manifest.checkpoint,
        sequence=manifest.sequence,
        global_step=manifest.global_step,
        files=len(files),
        total_bytes=manifest.total_bytes,
        sent_bytes=sent,
        there_bytes=max(0, sum(manifest.objects.values()) - sent),
        seconds=round(making.clock() - began, 3),
        shares_device=destination.shares_device(making.layout.base),
        has_fingerprint=manifest.logits is not None,
        notes=tuple(contents.notes),
    )


def _send_all(
    contents: Contents, earlier: list[BackupManifest], making: Making
) -> tuple[list[BackupFile], int]:
    """Send the objects that are not there; return what the manifest says of all files, and the bytes sent."""
    known = {(file.path, file.bytes, file.mtime_ns): file.sha256 for item in earlier for file in item.files}
    there = making.destination.objects()
    files, sent, reported_at = [], 0, making.clock()
    for number, source in enumerate(contents.sources, start=1):
        try:
            entry = as_entry(source, known)
            if there.get(entry.sha256) != entry.bytes:
                entry = _send(source, entry, making.destination)
                there[entry.sha256] = entry.bytes
                sent += entry.bytes
        except FileNotFoundError:
            if not _may_go(source.path):
                raise
            continue  # a version that was deleted, or a file that is no longer kept
        files.append(entry)
        if making.clock() - reported_at > TELL_EVERY_S:
            reported_at = making.clock()
            making.tell(f"{number:,} of {num_of(len(contents.sources), 'file')}, {size_text(sent)} sent")
    return files, sent


def _send(source: Source, entry: BackupFile, destination: Destination) -> BackupFile:
    sha256 = file_sha256(source.file)  # what is sent must be what its name says, whatever was known of it
    if source.sha256 and sha256 != source.sha256:
        raise ChangedMeanwhile(
            f"{printable(str(source.file))} is not what its record says; "
            "see what is whole: training_health verify"
        )
    entry = entry.model_copy(update={"sha256": sha256, "bytes": source.file.stat().st_size})
    size = destination.put(source.file, object_name(sha256))
    if size != entry.bytes:
        raise Incomplete(f"{printable(str(source.file))} was written while it was sent; try again")
    return entry


def _may_go(path: str) -> bool:
    return path.startswith(("models/versions/", "models/data/"))


def _logits(
    checkpoint: Checkpoint,
    files: list[BackupFile],
    task: CreateTask,
    earlier: list[BackupManifest],
    making: Making,
) -> LogitsFingerprint | str | None:
    """Return the fingerprint of a model's logits: of an earlier backup if that has the same model."""
    own = _checkpoint_sha256(files, checkpoint.path.name)
    for item in reversed(earlier):
        # Not by its number, which comes again after the newest one turned out damaged
        if _checkpoint_sha256(item.files, item.checkpoint) == own:
            if item.logits:
                return item.logits
            break
    if not task.fingerprint_max_bytes:
        return None
    size = sum(
        entry.bytes for name, entry in checkpoint.manifest.files.items() if name.endswith(".safetensors")
    )
    if size > task.fingerprint_max_bytes:
        return (
            f"the model has {size_text(size)}, so there is no fingerprint of its logits "
            f"(backup.fingerprint_max_bytes is {size_text(task.fingerprint_max_bytes)})"
        )
    making.tell("computing the fingerprint of the logits")
    return making.logits(checkpoint)


def _checkpoint_sha256(files: Sequence[BackupFile], checkpoint: str) -> str:
    """Return the hash of a checkpoint's manifest, which has the hashes of its files."""
    path = f"models/{FOLDER}/{checkpoint}/{MANIFEST_NAME}"
    return next(file.sha256 for file in files if file.path == path)


def _manifest(
    task: CreateTask, contents: Contents, files: list[BackupFile], origin: str, *, made_at: float
) -> BackupManifest:
    found = contents.checkpoint.manifest
    progress = found.progress
    trained = {cursor.sha256 for cursor in progress.cursors.values()}
    trained |= {earlier.sha256 for cursor in progress.cursors.values() for earlier in cursor.replayed}
    trained |= {record.sha256 for record in progress.finished if record.steps}
    return BackupManifest(
        id=catalog.new_id(made_at),
        made_at=utc_text(made_at),
        why=printable(task.why, limit=200),
        origin=origin,
        checkpoint=contents.checkpoint.path.name,
        sequence=found.sequence,
        global_step=progress.global_step,
        branch=found.branch,
        base_model=printable(found.base_model),
        own_base=found.own_base if contents.has_base(found.own_base) else None,
        method=found.method,
        versions=tuple(record.id for record in contents.versions),
        files=tuple(files),
        named=tuple(file.path for file in files if not is_ours(file.path)),
        saw=tuple(sorted(trained | set(task.saw))),
        is_saw_complete=task.is_saw_complete,
        logits=None,
    )
