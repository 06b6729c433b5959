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

from trainer.checkpoints.publishing import remove_unused, trash_of
from trainer.data.checks.seen_rows import FILE_NAME as SEEN_ROWS
from trainer.data.checks.seen_rows import SeenRows, UnusableSeenRows
from trainer.data.reading.rows import BadRow, RowFile
from trainer.data.rendering.token_cache import FOLDER as TOKEN_CACHE
from trainer.protocol.checkpoints import FOLDER
from trainer.protocol.failpoints import failpoint
from trainer.protocol.files import file_sha256, sync_directory
from trainer.protocol.forgetting import Erased
from trainer.protocol.layout import Layout
from trainer.protocol.pins import unpin
from trainer.protocol.text import printable
from trainer.versions.registry import NoSuchVersion, VersionInUse, Versions

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
    unreached += _versions(layout.models, erased.versions)
    failpoint("forget.versions_erased")
    unreached += _checkpoints(layout.models / FOLDER, erased.checkpoints)
    failpoint("forget.checkpoints_erased")
    for path in (*(layout.base / name for name in erased.files), *contents):
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            unreached.append(f"{printable(str(path))}: {error.strerror}")
    failpoint("forget.files_erased")
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


def _checkpoints(folder: Path, names: tuple[str, ...]) -> Iterator[str]:
    for name in names:
        path = folder / name
        unpin(path)
        if not path.is_dir():
            continue
        if not remove_unused(path):
            yield f"checkpoints/{name} is used by another program; stop it and ask again"
            continue
        sync_directory(folder)
        shutil.rmtree(trash_of(path), ignore_errors=True)
