"""Erase what is left of a file once the model has forgotten it. Each part can be done again after a kill."""

import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from trainer.checkpoints.publishing import remove_unused, trash_of
from trainer.data.checks.seen_rows import FILE_NAME as SEEN_ROWS
from trainer.data.checks.seen_rows import SeenRows, UnusableSeenRows
from trainer.data.reading.rows import BadRow, RowFile
from trainer.data.rendering.token_cache import FOLDER as TOKEN_CACHE
from trainer.disk.open_files import is_open_below
from trainer.disk.protection import UnknownNeed, needed_bases
from trainer.forgetting.tainted import tainted_checkpoints, tainted_versions
from trainer.protocol.backups import LOCK_NAME, STAGING
from trainer.protocol.checkpoints import BASES, FOLDER
from trainer.protocol.failpoints import failpoint
from trainer.protocol.files import file_sha256, sync_directory
from trainer.protocol.forgetting import Erased
from trainer.protocol.layout import Layout
from trainer.protocol.manifest import MANIFEST_NAME
from trainer.protocol.pins import unpin
from trainer.protocol.text import printable
from trainer.versions.registry import NoSuchVersion, Versions
from trainer.versions.version import VersionInUse

FLAGGED = "flagged_examples.jsonl"  # in status/
LONGEST_LINE = 1 << 30


def erase(layout: Layout, sha256: str, erased: Erased) -> list[str]:
    """Erase it all; return what could not be erased, and why."""
    unreached: list[str] = []
    contents = list(_contents(layout, sha256))
    unreached += _flagged_rows(layout.status / FLAGGED, contents, sha256)
    failpoint("forget.flags_erased")
    unreached += _seen_rows(layout.models / SEEN_ROWS, sha256)
    shutil.rmtree(
        layout.models / TOKEN_CACHE, ignore_errors=True
    )  # its names do not tell whose tokens it has
    failpoint("forget.caches_erased")
    versions = tainted_versions(layout.models, erased)
    unreached += _versions(layout.models, versions)
    failpoint("forget.versions_erased")
    unreached += _checkpoints(layout.models / FOLDER, tainted_checkpoints(layout.models, erased))
    failpoint("forget.checkpoints_erased")
    # Made of one of them while these went; now there is none left to make one of
    unreached += _versions(layout.models, _besides(versions, tainted_versions(layout.models, erased)))
    unreached += _staged_backup(layout.models)
    unreached += _bases(layout.models, erased.bases)
    failpoint("forget.bases_erased")
    for path in (*(layout.base / name for name in erased.files), *contents):
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            unreached.append(f"{printable(str(path))}: {error.strerror}")
    failpoint("forget.files_erased")
    for path in (layout.base / name for name in erased.others):
        if path.exists():
            unreached.append(f"{printable(str(path))}: rejected rows of another content of that name")
    return unreached


def _contents(layout: Layout, sha256: str) -> Iterator[Path]:
    """Yield every file below the folders of data that has the content, whatever it is called."""
    kept = layout.kept_files / sha256
    size = kept.stat().st_size if kept.is_file() else None
    for root in (layout.queue, layout.inbox):
        for folder, _, names in os.walk(root):
            for path in (Path(folder, name) for name in names):
                with suppress(OSError):
                    is_like_it = path.is_file() and not path.is_symlink()
                    if is_like_it and size in (None, path.stat().st_size) and file_sha256(path) == sha256:
                        yield path
    if kept.is_file():
        yield kept


def _flagged_rows(flagged: Path, contents: list[Path], sha256: str) -> Iterator[str]:
    """Take the rows of the file out of those that people have flagged."""
    if not flagged.is_file():
        return
    if not contents:
        yield f"{flagged.name}: rows of the file may be among those flagged, which cannot be told without it"
        return
    with flagged.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        entries = file.readlines()
        wanted = {digest for entry in entries if (digest := _row_of(entry))}
        gone = _found_in(contents[0], sha256, wanted)
        if not gone:
            return
        partial = flagged.with_name(f".{flagged.name}.tmp")
        with partial.open("wb") as rest:
            os.fchmod(rest.fileno(), os.fstat(file.fileno()).st_mode & 0o777)
            rest.writelines(entry for entry in entries if _row_of(entry) not in gone)
            rest.flush()
            os.fsync(rest.fileno())
        os.replace(partial, flagged)
        sync_directory(flagged.parent)


def _row_of(entry: bytes) -> str | None:
    try:
        return _digest(json.loads(entry)["row"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None  # somebody else's line


def _digest(row: object) -> str:
    return hashlib.sha256(json.dumps(row, sort_keys=True).encode()).hexdigest()


def _found_in(content: Path, sha256: str, wanted: set[str]) -> set[str]:
    found = set()
    rows = RowFile.open(content, sha256=sha256, max_line_bytes=LONGEST_LINE)
    try:
        for position in range(len(rows)):
            with suppress(BadRow):
                if (digest := _digest(rows.read(position))) in wanted:
                    found.add(digest)
    finally:
        rows.close()
    return found


def _seen_rows(path: Path, sha256: str) -> Iterator[str]:
    if not path.exists():
        return
    try:
        with SeenRows.open(path) as seen:
            seen.forget(sha256)
    except UnusableSeenRows as error:
        yield str(error)


def _versions(models: Path, ids: tuple[str, ...]) -> Iterator[str]:
    versions = Versions(models, clock=time.time)
    for version_id in ids:
        try:
            with suppress(NoSuchVersion):  # deleted before
                version = versions.find(version_id)
                for alias in version.aliases:
                    versions.unalias(alias)
                versions.delete(versions.find(version_id))
            with suppress(NoSuchVersion):  # freed before
                versions.free(version_id)
        except (VersionInUse, OSError, ValueError) as error:
            yield f"versions/{version_id}: {error}"


def _besides(known: tuple[str, ...], found: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in found if name not in known)


def _checkpoints(folder: Path, names: tuple[str, ...]) -> Iterator[str]:
    for name in names:
        path = folder / name
        unpin(path)
        if not path.is_dir():
            continue
        if not (path / MANIFEST_NAME).exists():  # quarantined for that
            os.rename(path, trash_of(path))
        elif not remove_unused(path):
            yield f"checkpoints/{name} is used by another program; stop it and ask again"
            continue
        sync_directory(folder)
        shutil.rmtree(trash_of(path), ignore_errors=True)


def _staged_backup(models: Path) -> Iterator[str]:
    """Remove what a backup that was killed has left: second names of what it was to contain."""
    if not (models / STAGING).exists():
        return
    try:
        with FileLock(models / LOCK_NAME, blocking=False):
            shutil.rmtree(models / STAGING, ignore_errors=True)
    except Timeout:
        yield f"{STAGING}: a backup is being made, which may contain the file; ask again once it is made"


def _bases(models: Path, names: tuple[str, ...]) -> Iterator[str]:
    """Remove merged base models, but none that something is loaded beside which could not be erased."""
    if names:
        with Versions(models, clock=time.time).unchanging():  # none may be made meanwhile that needs one
            yield from _unneeded_bases(models, names)


def _unneeded_bases(models: Path, names: tuple[str, ...]) -> Iterator[str]:
    folder = models / BASES
    for path in (folder / name for name in names):
        shutil.rmtree(trash_of(path), ignore_errors=True)  # as a kill has left it
        if not path.is_dir():
            continue
        try:
            why = needed_bases(models).get(f"{BASES}/{path.name}")
        except UnknownNeed as error:
            why = str(error)
        if why or is_open_below(path):
            yield f"{BASES}/{path.name} {why or 'is used by another program; stop it and ask again'}"
            continue
        os.rename(path, trash_of(path))  # a half-removed one must not look whole
        sync_directory(folder)
        shutil.rmtree(trash_of(path), ignore_errors=True)
