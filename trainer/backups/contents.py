"""What goes into a backup, as it stood at one moment. Changes nothing but its own staging folder.

The ledger is copied first, then the queue, and the newest checkpoint must still be the same afterwards. So no
file is missing that the ledger has as waiting, and none is there that the checkpoint has all of.
"""

import errno
import fcntl
import os
import shutil
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from trainer.backups.manifest import LONGEST_PATH, BackupFile
from trainer.protocol.backups import STAGING
from trainer.protocol.checkpoints import (
    FOLDER,
    Checkpoint,
    DamagedCheckpoint,
    NoUsableCheckpoint,
    published,
    read_manifest,
    verify,
)
from trainer.protocol.files import file_sha256, link_or_copy
from trainer.protocol.layout import Layout
from trainer.protocol.manifest import MANIFEST_NAME
from trainer.protocol.places import Priority
from trainer.protocol.text import printable
from trainer.versions.marks import JOURNAL_NAME
from trainer.versions.record import RECORD_NAME, DamagedVersion, VersionRecord, read_record
from trainer.versions.registry import FOLDER as VERSIONS
from trainer.versions.registry import ID as VERSION_ID
from trainer.versions.registry import RECORDS
from trainer.versions.removal import STATE_FILES

DATA = "data"
BASES = "bases"
MOST_TRIES = 20
LEDGER_PAGES = 4096  # at a time, so that a writer can come between
LEDGER_TIMEOUT_S = 30.0


class NothingToBackUp(RuntimeError):
    """There is no checkpoint that can be used."""


class UnreadableLedger(RuntimeError):
    """The ledger cannot be copied."""


@dataclass(frozen=True)
class Source:
    """A file that goes into a backup."""

    path: str
    """In the backup."""
    file: Path
    sha256: str | None = None
    """Where it is known without reading the file."""


@dataclass
class Contents:
    """Everything that goes into a backup."""

    checkpoint: Checkpoint
    versions: tuple[VersionRecord, ...]
    """Those that are in it whole."""
    sources: list[Source]
    notes: list[str] = field(default_factory=list)
    """What is not in it, in words."""

    def has_base(self, own_base: str | None) -> bool:
        """Whether a consolidated base model is in it."""
        return own_base is not None and any(
            source.path.startswith(f"models/{own_base}/") for source in self.sources
        )


@contextmanager
def gathered(layout: Layout, *, versions: Iterable[str] = ()) -> Iterator[Contents]:
    """Yield what goes into a backup; nothing of it changes or goes while the block lasts.

    Args:
        versions: ids of those that are to be in it whole.
    Raises:
        NothingToBackUp: there is no usable checkpoint.
        UnreadableLedger: it cannot be copied.
        DamagedVersion: one that is to be in it whole cannot be.
    """
    staging = layout.models / STAGING
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(mode=0o700)
    try:
        with ExitStack() as held:
            checkpoint, moment = _moment(layout, staging, held)
            contents = Contents(checkpoint, (), [])
            contents.sources += _of_checkpoint(checkpoint)
            contents.sources += moment
            contents.versions = tuple(_held_version(layout, name, held, contents) for name in versions)
            contents.sources += _of_versions(layout, staging, contents)
            contents.sources += _of_bases(layout, contents)
            contents.sources += _of_data(layout, contents)
            yield contents
    finally:
        shutil.rmtree(staging, ignore_errors=True)


# ---- the moment


def _moment(layout: Layout, staging: Path, held: ExitStack) -> tuple[Checkpoint, list[Source]]:
    """Return the newest checkpoint that verifies, held, and what belongs to the same moment."""
    damaged: set[Path] = set()
    for _ in range(MOST_TRIES):
        with ExitStack() as attempt:
            path = _newest(layout, damaged)
            try:
                _hold(path / MANIFEST_NAME, attempt)
            except FileNotFoundError:
                continue  # retention was faster
            moment = _small_files(layout, staging)
            if _newest(layout, damaged) != path:
                continue
            try:
                checkpoint = Checkpoint(path, verify(path))
            except DamagedCheckpoint:
                damaged.add(path)
                continue
            held.push(attempt.pop_all())
            return checkpoint, moment
    raise NothingToBackUp(
        f"{layout.models / FOLDER}: checkpoints were published faster than they could be read, "
        f"{MOST_TRIES} times; try again"
    )


def _newest(layout: Layout, damaged: set[Path]) -> Path:
    for path in published(layout.models / FOLDER):
        if path in damaged:
            continue
        try:
            read_manifest(path)
            return path
        except DamagedCheckpoint:
            damaged.add(path)
        except NoUsableCheckpoint as error:
            raise NothingToBackUp(str(error)) from error
    what = "no checkpoint that is whole; training_health verify" if damaged else "no checkpoint yet"
    raise NothingToBackUp(f"{layout.models / FOLDER} has {what}")


def _hold(file: Path, held: ExitStack) -> None:
    """Keep whoever would remove a folder from doing so."""
    reader = held.enter_context(file.open("rb"))
    fcntl.flock(reader, fcntl.LOCK_SH)


def _small_files(layout: Layout, staging: Path) -> list[Source]:
    """Copy the ledger, link the files that wait or are in training, and copy the settings."""
    ledger = staging / "ledger.sqlite3"
    for name in ("ledger.sqlite3", "config.json"):
        (staging / name).unlink(missing_ok=True)
    found = []
    if layout.ledger_file.exists():
        copy_ledger(layout.ledger_file, ledger)
        found.append(Source("status/ledger.sqlite3", ledger))
    # After the ledger: a file that comes meanwhile is there, and one that was trained to its end is not
    found += _of_queue(layout, staging / "queue")
    with suppress(FileNotFoundError):
        shutil.copy2(layout.config_file, staging / "config.json")
        found.append(Source("config.json", staging / "config.json"))
    return found


def copy_ledger(ledger: Path, target: Path) -> None:
    """Copy a ledger that a daemon may be writing.

    Raises:
        UnreadableLedger: it is damaged, or no ledger.
    """
    log = ledger.with_name(ledger.name + "-wal")
    if not log.exists():  # nobody writes; a reader that does not know this would leave a log of its own
        before = ledger.stat()
        _copy_ledger(ledger, target, "mode=ro&immutable=1")
        if not log.exists() and ledger.stat().st_mtime_ns == before.st_mtime_ns:
            return  # else a daemon has started meanwhile, and the copy may be of two moments
    _copy_ledger(ledger, target, "mode=ro")


def _copy_ledger(ledger: Path, target: Path, options: str) -> None:
    try:
        with (
            closing(
                sqlite3.connect(f"{ledger.absolute().as_uri()}?{options}", uri=True, timeout=LEDGER_TIMEOUT_S)
            ) as source,
            closing(sqlite3.connect(target)) as copy,
        ):
            source.backup(copy, pages=LEDGER_PAGES, sleep=0.01)
    except sqlite3.Error as error:
        if (
            getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
        ):  # the copy is, and nothing is wrong with the ledger
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target)) from error
        raise UnreadableLedger(
            f"{ledger}: {error}; expected a ledger; the next start quarantines a damaged one"
        ) from error


def _of_queue(layout: Layout, staging: Path) -> list[Source]:
    """Give the files that wait or are in training second names, which stay when they are moved on."""
    folders = [*(layout.waiting(priority) for priority in Priority), layout.processing, layout.replayed]
    for _ in range(MOST_TRIES):
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(mode=0o700)
        before = _listing(folders)
        with suppress(FileNotFoundError):  # one was moved on meanwhile
            for number, file in enumerate(before):
                link_or_copy(file, staging / str(number))
            if _listing(folders) == before:
                break
    return [
        Source(file.relative_to(layout.base).as_posix(), staging / str(number))
        for number, file in enumerate(before)
        if (staging / str(number)).exists()
    ]


def _listing(folders: Iterable[Path]) -> list[Path]:
    found: list[Path] = []
    for folder in folders:
        with suppress(FileNotFoundError):
            found += [
                Path(entry.path)
                for entry in os.scandir(folder)
                if entry.is_file(follow_symlinks=False)
                and not entry.name.endswith((".tmp", ".part"))
                and (folder.name == ".replayed" or not entry.name.startswith("."))
            ]
    return sorted(found)


# ---- what does not change


def _of_checkpoint(checkpoint: Checkpoint) -> Iterator[Source]:
    place = f"models/{FOLDER}/{checkpoint.path.name}"
    yield Source(f"{place}/{MANIFEST_NAME}", checkpoint.path / MANIFEST_NAME)
    for name, entry in checkpoint.manifest.files.items():
        yield Source(f"{place}/{name}", checkpoint.path / name, entry.sha256)


def _held_version(layout: Layout, name: str, held: ExitStack, contents: Contents) -> VersionRecord:
    folder = layout.models / VERSIONS / name
    if not VERSION_ID.fullmatch(name):
        raise DamagedVersion(f"{printable(name)!r} is no version; expected an id such as v003")
    try:
        _hold(folder / RECORD_NAME, held)
    except FileNotFoundError as error:
        raise DamagedVersion(f"{name} is gone; choose another: training_models list") from error
    record = read_record(folder / RECORD_NAME)
    missing = [file for file in record.files if not (folder / file).is_file()]
    if lost := [file for file in missing if file not in STATE_FILES]:
        raise DamagedVersion(
            f"{name} cannot be backed up whole: {printable(lost[0])} is missing; "
            "its record is in every backup"
        )
    if missing:
        contents.notes.append(f"{name} is in it without its optimizer state, which was removed before")
    return record


def _of_versions(layout: Layout, staging: Path, contents: Contents) -> Iterator[Source]:
    """Yield the records of all versions and their marks, and the weights that are in the backup anyway."""
    root = layout.models / VERSIONS
    whole = {record.id for record in contents.versions}
    at_hand = {source.sha256 for source in contents.sources}
    for folder in sorted(root.glob("v*")):
        if not VERSION_ID.fullmatch(folder.name) or not folder.is_dir():
            continue
        for name in (RECORD_NAME, MANIFEST_NAME, "README.md"):
            if (folder / name).is_file():
                yield Source(f"models/{VERSIONS}/{folder.name}/{name}", folder / name)
        try:
            record = read_record(folder / RECORD_NAME)
        except DamagedVersion as error:
            contents.notes.append(f"the weights of {folder.name} are left out: {printable(str(error))}")
            continue
        for name, entry in record.files.items():
            if (folder.name in whole or entry.sha256 in at_hand) and (folder / name).is_file():
                yield Source(f"models/{VERSIONS}/{folder.name}/{name}", folder / name, entry.sha256)
    for file in sorted((root / RECORDS).glob("v*.json")):
        yield Source(f"models/{VERSIONS}/{RECORDS}/{file.name}", file)
    if (root / JOURNAL_NAME).is_file():
        copy = staging / JOURNAL_NAME  # others append to it
        shutil.copyfile(root / JOURNAL_NAME, copy)
        yield Source(f"models/{VERSIONS}/{JOURNAL_NAME}", copy)


def _of_bases(layout: Layout, contents: Contents) -> Iterator[Source]:
    """Yield the consolidated base models that something in the backup is loaded beside.

    Nobody removes one of them meanwhile, because whatever names it is held.
    """
    named = {contents.checkpoint.manifest.own_base: contents.checkpoint.path.name}
    named |= {record.own_base: record.id for record in contents.versions if record.own_base not in named}
    for own_base, name in named.items():
        if own_base is None:
            continue
        folder = layout.models / own_base
        files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
        if not files or not folder.is_relative_to(layout.models / BASES) or ".." in folder.parts:
            contents.notes.append(
                f"models/{printable(own_base)} is not there, so {name} cannot be loaded: "
                "the adapter is in it, its base model is not"
            )
            continue
        for file in files:
            yield Source(file.relative_to(layout.base).as_posix(), file)


def _of_data(layout: Layout, contents: Contents) -> Iterator[Source]:
    """Yield the training files that are kept, which are named after their content."""
    for file in sorted((layout.models / DATA).rglob("*")):
        path = file.relative_to(layout.base).as_posix()
        if not file.is_file() or file.is_symlink() or file.name.startswith(".") or len(path) > LONGEST_PATH:
            continue
        yield Source(path, file)


def as_entry(source: Source, known: Mapping[tuple[str, int, int], str]) -> BackupFile:
    """Return what a manifest says of a file; it is read unless its hash is known.

    Args:
        known: hashes of files of an earlier backup, by path, bytes and time of change.
    """
    found = source.file.stat()
    key = (source.path, found.st_size, found.st_mtime_ns)
    sha256 = source.sha256 or known.get(key) or file_sha256(source.file)
    return BackupFile(path=source.path, sha256=sha256, bytes=found.st_size, mtime_ns=found.st_mtime_ns)
