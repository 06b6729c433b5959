"""Files that settings name: those below the working directory go into a backup, all others into its notes."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from trainer.backups.contents import Contents, Source
from trainer.backups.manifest import is_clean, may_be_named
from trainer.protocol.backups import STAGING
from trainer.protocol.files import UnreadableFile, file_sha256, open_regular
from trainer.protocol.layout import Layout
from trainer.protocol.text import printable

FOLDER = "named"  # in the staging folder


@dataclass(frozen=True)
class NamedFiles:
    """What settings name, as they say it."""

    files: tuple[tuple[str, str], ...] = ()
    """Setting and path."""
    secret: str | None = None
    """The path of a file that never goes into a backup."""


class _LeftOut(ValueError):
    """A file does not go into a backup. The message goes on after its path."""


def named_sources(named: NamedFiles, layout: Layout, contents: Contents) -> Iterator[Source]:
    """Yield copies of the named files as they are now; what is left out is noted in `contents`."""
    copies = layout.models / STAGING / FOLDER
    copies.mkdir(mode=0o700, exist_ok=True)
    there = {source.path for source in contents.sources}
    for number, (setting, said) in enumerate(named.files):
        path = PurePosixPath(said).as_posix()
        if path in there:
            continue
        try:
            _require_place(path, layout.base, named.secret)
            copy = _copied(layout.base / path, copies / str(number))
        except _LeftOut as error:
            contents.notes.append(f'{setting} is "{printable(said)}", which is not in the backup: {error}')
            continue
        there.add(path)
        yield Source(path, copy, file_sha256(copy))


def _require_place(path: str, base: Path, secret: str | None) -> None:
    """Make sure that a file can be restored where settings will look for it.

    Raises:
        _LeftOut: it cannot, or must not.
    """
    if not is_clean(path):
        raise _LeftOut('expected a relative path without "..", which begins in the working directory')
    real, real_base = os.path.realpath(base / path), os.path.realpath(base)
    if secret and real == os.path.realpath(base / secret):
        raise _LeftOut("notify.secret_file names it, too, and secrets are left out; name another file")
    leads_to = os.path.relpath(real, real_base)
    if leads_to.partition("/")[0] == "..":
        raise _LeftOut("a symbolic link leads out of the working directory; put the file itself there")
    for place in (path, leads_to):
        if not may_be_named(place):
            top = place.partition("/")[0]
            raise _LeftOut(f"{printable(top)} is the daemon's own; put the file elsewhere in the folder")


def _copied(file: Path, copy: Path) -> Path:
    """Copy a file that anybody may change while it is sent; return the copy.

    Raises:
        _LeftOut: it cannot be opened.
    """
    try:
        reader = open_regular(file)
    except UnreadableFile as error:
        raise _LeftOut("it is a pipe or a device; expected a file") from error
    except OSError as error:
        raise _LeftOut(f"{error.strerror}; correct the path") from error
    with reader, copy.open("xb") as writer:
        changed_at = os.fstat(reader.fileno()).st_mtime_ns
        shutil.copyfileobj(reader, writer)
    os.utime(copy, ns=(changed_at, changed_at))
    return copy
