"""Effects on files that must survive a crash: atomic writes and moves that never overwrite."""

import errno
import hashlib
import json
import os
import re
import shutil
import stat
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from trainer.protocol.failpoints import failpoint

# Errors of link(2) that mean "not here", where a rename does the same job
NO_LINK_HERE = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EACCES)
MAX_NAME_BYTES = 255
LARGEST_JSON = 256 << 20  # bytes; no record, note or report of ours comes near
PACKED_SUFFIXES = (".jsonl.gz", ".jsonl.zst")
LONGEST_EXTENSION = 32  # characters; what is longer is a part of the name that happens to follow a dot


class UnreadableFile(ValueError):
    """A file of ours does not hold what it should."""


def sync_directory(folder: Path) -> None:
    """Make the names in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    """Make the content of `path` durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomically(path: Path, content: bytes, *, durable: bool) -> None:
    """Replace `path` so that a reader sees the old content or the new one, never a part.

    Args:
        durable: whether the new content must survive a power cut when this returns.
    """
    partial = _partial(path)
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        failpoint("write.synced")
        os.replace(partial, path)
        failpoint("write.replaced")
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    if durable:
        sync_directory(path.parent)


def _partial(path: Path) -> Path:
    # Same folder: a rename must not cross file systems. Shortened: `path` may have the longest name there is
    return path.with_name(f".{shortened(path.name, 200)}.{_writer()}.tmp")


def _writer() -> str:
    """Return what no other thread bears that writes now: the process's number, behind a thread's own.

    The main thread bears that of the process alone, so that it overwrites what it left when it died and its
    number came back, as it does in a container.
    """
    thread, process = threading.get_native_id(), os.getpid()
    return str(process) if thread == process else f"{thread}.{process}"


def write_json(path: Path, value: Any, *, durable: bool) -> None:
    """Replace `path` by `value` as JSON. NaN is refused: it is not JSON."""
    text = json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False) + "\n"
    write_atomically(path, text.encode("utf-8", "backslashreplace"), durable=durable)


def open_anew(path: Path) -> BinaryIO:
    """Open a file to write it from its beginning; what it held stays in `NAME.1`."""
    with suppress(FileNotFoundError):
        path.replace(path.with_name(f"{path.name}.1"))
    return path.open("wb")


def create_json(path: Path, value: Any) -> None:
    """Write `value` as JSON where nothing is yet; it appears whole. Not durable.

    Raises:
        FileExistsError: something is there.
        OSError: it cannot be written, or this file system has no links.
    """
    partial = _partial(path)
    try:
        write_json(partial, value, durable=False)
        os.link(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def read_json(path: Path) -> Any:
    """Return the content of a JSON file.

    Raises:
        FileNotFoundError: there is none.
        UnreadableFile: it is not JSON in UTF-8, or no file but a pipe or device.
    """
    try:
        return json.loads(_read_file(path))
    except UnreadableFile:
        raise
    except (ValueError, RecursionError) as error:
        raise UnreadableFile(f"{path}: {error}; expected JSON in UTF-8; restore it or remove it") from error


def _read_file(path: Path) -> bytes:
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > LARGEST_JSON:
            raise UnreadableFile(
                f"{path} has {size:,} bytes; expected {LARGEST_JSON:,} at most; restore it or remove it"
            )
        return file.read()


def open_regular(path: Path) -> BinaryIO:
    """Open a file for reading: a pipe would keep a reader waiting for ever, and a device never ends.

    Raises:
        UnreadableFile: it is a pipe or a device.
        OSError: there is none, or it cannot be read; IsADirectoryError for a folder.
    """
    file = open(path, "rb", opener=_open_without_waiting)  # noqa: SIM115 - the caller closes it
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise UnreadableFile(f"{path} is a pipe or a device; expected a file; restore it or remove it")
    return file


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def numbered(name: str, number: int) -> str:
    """Return `name` for the `number`-th file that wants it: `chat.jsonl`, `chat-2.jsonl`, …"""
    if number == 1:
        return name
    stem, extension = _split(name)
    tail = f"-{number}{extension}"
    return shortened(stem, MAX_NAME_BYTES - len(os.fsencode(tail))) + tail


def _split(name: str) -> tuple[str, str]:
    for suffix in PACKED_SUFFIXES:
        if name.endswith(suffix) and name != suffix:
            return name.removesuffix(suffix), suffix
    stem, dot, extension = name.rpartition(".")
    return (stem, dot + extension) if stem and len(extension) <= LONGEST_EXTENSION else (name, "")


def shortened(name: str, max_bytes: int) -> str:
    """Return the longest beginning of `name` that fits into `max_bytes`; no character is cut in two."""
    while len(os.fsencode(name)) > max_bytes:
        name = name[:-1]
    return name


def is_numbered_from(name: str, wanted: str) -> bool:
    """Whether `name` is what a file that wanted to be called `wanted` may have got."""
    if name == wanted:
        return True
    number = re.search(r"-(\d+)(\.jsonl)?(\.[^.]*)?$", name)
    return number is not None and numbered(wanted, int(number[1])) == name


def move_durably(source: Path, folder: Path, *, name: str | None = None) -> Path:
    """Move one file as `move_all_durably` does and return its new path.

    Raises:
        FileNotFoundError: the source is gone.
    """
    [target] = move_all_durably([(source, folder, name or source.name)])
    if target is None:
        raise FileNotFoundError(errno.ENOENT, "gone before it could be moved", str(source))
    return target


def move_all_durably(moves: Iterable[tuple[Path, Path, str]]) -> list[Path | None]:
    """Move files without ever overwriting one; when this returns the moves survive a power cut.

    The new name is durable before the old one goes, so a crash leaves at worst two names of one file.
    The directory syncs, by far the dearest part, are shared by all moves of one call.

    Args:
        moves: (source, target folder, wanted name); a taken name gets a number.
    Returns:
        The new paths, in the order of `moves`; None where the source was gone.
    """
    moved: list[tuple[Path, tuple[int, int] | None, Path | None]] = []
    try:
        for source, folder, name in moves:
            moved.append((source, _identity(source), _give_name(source, folder, name)))
    except BaseException:
        for _, _, target in moved:
            if target is not None:
                target.unlink()  # every original is still in its place
        raise
    failpoint("move.linked")
    for folder in {target.parent for _, _, target in moved if target is not None}:
        sync_directory(folder)
    failpoint("move.synced")
    for source, identity, target in moved:
        if target is not None:
            _drop_old_name(source, identity, target)
            failpoint("move.dropped")
    return [target for _, _, target in moved]


def _drop_old_name(source: Path, identity: tuple[int, int] | None, target: Path) -> None:
    if _identity(source) != identity:
        return  # another file came under the same name meanwhile; it has been moved nowhere, so it stays
    try:
        source.unlink(missing_ok=True)
    except BaseException:
        target.unlink()  # a file in two places would be trained twice
        raise


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.lstat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def _give_name(source: Path, folder: Path, name: str) -> Path | None:
    number = 1
    while True:
        target = folder / numbered(name, number)
        try:
            os.link(source, target, follow_symlinks=False)
            return target
        except FileExistsError:
            number += 1
        except FileNotFoundError:
            if os.path.lexists(source):
                raise  # it is the folder that is missing
            return None
        except OSError as error:
            if error.errno == errno.EXDEV:
                identity = _identity(source)
                copy = copy_durably(source, folder, name)
                # At once: after a crash a copy is not recognised as the same file, so at most one is doubled
                _drop_old_name(source, identity, copy)
                return copy
            if error.errno not in NO_LINK_HERE:
                raise
            return rename_durably(source, folder, name)  # needs rights to the folders only, not to the file


def keep_durably(source: Path, folder: Path, *, name: str) -> None:
    """Give a file a second name, which stays when the first one goes; where there are no links it is copied.

    Raises:
        FileNotFoundError: the source is gone.
        FileExistsError: the name is taken.
    """
    try:
        os.link(source, folder / name, follow_symlinks=False)
    except OSError as error:
        if error.errno not in (errno.EXDEV, *NO_LINK_HERE):
            raise
        with verified_copy(source, folder) as copy:
            _claim(copy, folder / name)
    sync_directory(folder)


def behind_link(path: Path) -> Path:
    """Return what a link names, or a path that is none as it is.

    What is written into a checkpoint must not name a link in a folder that is removed.
    """
    return path.parent / os.readlink(path) if path.is_symlink() else path


def link_or_copy(source: Path, target: Path) -> None:
    """Give a file a second name; a durable copy where the file system has no links."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in (*NO_LINK_HERE, errno.EXDEV):
            raise
        with source.open("rb") as reader, target.open("xb") as writer:
            shutil.copyfileobj(reader, writer)
            writer.flush()
            os.fsync(writer.fileno())


def copy_durably(source: Path, folder: Path, name: str) -> Path:
    """Copy a file into `folder` under a free name, verified and durable; it appears whole or not at all.

    Raises:
        OSError: `source` is a symbolic link, or the copy reads back differently from what was read.
    """
    with verified_copy(source, folder) as copy:
        return rename_durably(copy, folder, name)


@contextmanager
def verified_copy(source: Path, folder: Path) -> Iterator[Path]:
    """Yield a copy under a name that nobody reads; what is not renamed inside the block is removed.

    Raises:
        OSError: `source` is a symbolic link, or the copy reads back differently from what was read.
    """
    partial = folder / f".{_writer()}.part"
    partial.unlink(missing_ok=True)  # left by a crash; in a container every daemon has the same number
    try:
        with open(source, "rb", opener=_open_without_following) as reader, partial.open("xb") as writer:
            shutil.copyfileobj(reader, writer, 1 << 20)
            writer.flush()
            os.fsync(writer.fileno())
        if file_sha256(partial) != file_sha256(source):
            raise OSError(errno.EIO, "the copy differs from the original; try again", str(source))
        yield partial
    finally:
        partial.unlink(missing_ok=True)


def _open_without_following(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def rename_durably(partial: Path, folder: Path, name: str) -> Path:
    """Rename a file that nobody looks at yet onto the first free name in `folder`; return its new path."""
    number = 1
    while True:
        target = folder / numbered(name, number)
        try:
            _claim(partial, target)
        except FileExistsError:
            number += 1
            continue
        sync_directory(folder)
        return target


def _claim(partial: Path, target: Path) -> None:
    """Rename onto a name that this call itself created, so that nobody else's file is replaced."""
    os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    try:
        os.replace(partial, target)
    except BaseException:
        target.unlink()
        raise


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
