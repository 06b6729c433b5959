"""Probe a file without disturbing whoever writes it."""

import errno
import fcntl
import json
import os
import signal
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from daemon.files.identity import Identity, identity_of

TAIL_BYTES = 1 << 16  # a last line longer than this counts as whole when it ends in a closing brace

Kind = Literal["file", "symbolic link", "directory", "named pipe", "socket", "device"]
KINDS: dict[int, Kind] = {
    stat.S_IFREG: "file",
    stat.S_IFLNK: "symbolic link",
    stat.S_IFDIR: "directory",
    stat.S_IFIFO: "named pipe",
    stat.S_IFSOCK: "socket",
}


@dataclass(frozen=True, kw_only=True)
class FileProbe:
    """What one probe of a file showed."""

    kind: Kind
    identity: Identity
    has_writer: bool | None
    """Whether a process has it open for writing; None where the system cannot tell."""
    ends_whole: bool
    """Whether the last line is finished, as far as a look can tell."""
    is_readable: bool = True


def ignore_lease_breaks() -> None:
    """Keep SIGIO from killing this process when a writer opens a file at the instant it is probed."""
    signal.signal(signal.SIGIO, signal.SIG_IGN)


def probe(path: Path) -> FileProbe | None:
    """Return what is at `path`; None when nothing is.

    Raises:
        OSError: it cannot be probed, for a reason that lies in the machine and not in the file.
    """
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    kind = KINDS.get(stat.S_IFMT(found.st_mode), "device")
    if kind != "file":
        return FileProbe(kind=kind, identity=identity_of(found), has_writer=None, ends_whole=False)
    try:
        # Non-blocking: the file may have become a named pipe since
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.ELOOP):
            raise  # such as too many open files
        return FileProbe(
            kind="file", identity=identity_of(found), has_writer=None, ends_whole=False, is_readable=False
        )
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            return probe(path)  # it has been replaced since
        return FileProbe(
            kind="file",
            identity=identity_of(found),
            has_writer=_has_writer(descriptor),
            ends_whole=_ends_whole(descriptor, found.st_size),
        )
    finally:
        os.close(descriptor)


def _has_writer(descriptor: int) -> bool | None:
    """Ask for a read lease: the kernel refuses one while anybody has the file open for writing.

    See fcntl(2), F_SETLEASE. Works on local file systems, for files of our own.
    """
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        return True if error.errno == errno.EAGAIN else None
    fcntl.fcntl(
        descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK
    )  # at once: a writer who opens it now would wait for us
    return False


def _ends_whole(descriptor: int, size: int) -> bool:
    tail = os.pread(descriptor, TAIL_BYTES, max(0, size - TAIL_BYTES))
    if tail.endswith(b"\n"):
        return True
    last_line = tail[tail.rfind(b"\n") + 1 :]
    if len(last_line) == TAIL_BYTES:
        return last_line.rstrip().endswith(b"}")
    try:
        json.loads(last_line)
    except (ValueError, RecursionError):
        return False
    return True
