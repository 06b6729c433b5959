"""The daemon's log: its newest entries, those about one file, and what is added from now on."""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

from daemon.client.errors import NoLog
from daemon.client.history import History
from daemon.client.log_entries import LogEntry, end_of_last_line, entries_backwards, entries_of
from trainer.protocol.layout import Layout
from trainer.protocol.text import printable

Wanted = Callable[[LogEntry], bool]


class _Opened(NamedTuple):
    """A file of the log, and where its last line ended when it was opened."""

    file: BinaryIO
    inode: int
    end: int


class Logs:
    """The log of one working directory. It is rotated; all of its files are read."""

    def __init__(self, layout: Layout, history: History) -> None:
        self._layout = layout
        self._path = layout.logs / "daemon.log"
        self._history = history

    def last(self, count: int, *, about: str | None = None) -> list[LogEntry]:
        """Return the newest entries, oldest first.

        Args:
            about: a file, as it is or as it is shown, with its folder or without, or a job id; None for all.
        Raises:
            NoLog: no daemon has written one yet, or it cannot be read.
            UnreadableHistory: the ledger, which knows the jobs of a file, cannot be read.
        """
        with ExitStack() as stack:
            opened = self._open_all(stack)
            if not opened:
                raise NoLog(
                    f"{printable(str(self._path))} is not there: no daemon has run here yet; "
                    "start one with: training_daemon start"
                )
            return _newest(opened, count, self._wanted(about))

    def has_any(self, *, about: str) -> bool:
        """Whether there is an entry about a file, as `last` would return it; none without a log."""
        with ExitStack() as stack:
            return bool(_newest(self._open_all(stack), 1, self._wanted(about)))

    def names_like(self, about: str) -> str:
        """Return the end of a message about a file that no entry is about: which names are like its own."""
        from daemon.client.finding import everywhere, like_it

        return like_it([self._layout.inbox, *everywhere(self._layout)], about)

    def follow(self, count: int, *, wait: Callable[[], bool], about: str | None = None) -> Iterator[LogEntry]:
        """Yield the newest entries, and then each that is added. A rotation loses and repeats none.

        Args:
            wait: called when there is nothing new; returns whether to continue.
            about: as for `last`; also the errors are those of `last`, but a log need not be there yet.
        """
        with ExitStack() as stack:
            opened = self._open_all(stack)
            yield from _newest(opened, count, self._wanted(about))
            current = opened[0] if opened else None
            if current:
                current.file.seek(current.end)
            while True:
                successor = self._successor(current)
                # Only now, so that what was written before the rotation comes first
                if current and (lines := list(_complete_lines(current.file))):
                    yield from filter(self._wanted(about), entries_of(lines))  # its job may be new
                if successor:
                    current = self._open(stack, successor)
                    if current:
                        current.file.seek(0)
                elif not wait():
                    return

    def _open_all(self, stack: ExitStack) -> list[_Opened]:
        """Open the files of the log, newest first. A rotation meanwhile shows none of them twice."""
        found: dict[int, _Opened] = {}
        for path in [self._path, *self._rotated()]:
            if opened := self._open(stack, path):
                found.setdefault(opened.inode, opened)
        return list(found.values())

    @staticmethod
    def _open(stack: ExitStack, path: Path) -> _Opened | None:
        try:
            file = stack.enter_context(path.open("rb"))
            return _Opened(file, os.fstat(file.fileno()).st_ino, end_of_last_line(file))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise NoLog(
                f"{printable(str(path))} cannot be read: {error.strerror}; expected a file that you may read"
            ) from error

    def _rotated(self) -> list[Path]:
        """Return the older files, newest first."""
        found = {
            int(path.suffix[1:]): path
            for path in self._path.parent.glob(f"{self._path.name}.*")
            if path.suffix[1:].isdecimal()
        }
        return [found[number] for number in sorted(found)]

    def _successor(self, current: _Opened | None) -> Path | None:
        """Return the file that was begun after this one; None while there is none."""
        if current is None:
            return self._path if self._path.exists() else None
        later = None
        for path in [self._path, *self._rotated()]:
            with suppress(FileNotFoundError):  # it is being rotated
                if path.stat().st_ino == current.inode:
                    return later
                later = path
        return later

    def _wanted(self, name: str | None) -> Wanted:
        if name is None:
            return lambda entry: True
        shown = printable(name.rpartition("/")[2])
        job_ids = {shown, *self._history.job_ids_of(shown)}
        named = re.compile(rf"(?<![\w.-]){re.escape(shown)}(?![\w-])")  # chat.jsonl, but not my-chat.jsonl
        return lambda entry: entry.job_id in job_ids or named.search(entry.message) is not None


def _newest(opened: list[_Opened], count: int, is_wanted: Wanted) -> list[LogEntry]:
    """Return the newest wanted entries, oldest first."""
    found: list[LogEntry] = []
    for part in opened:
        for entry in entries_backwards(part.file, part.end):
            if len(found) >= count:
                return found[::-1]
            if is_wanted(entry):
                found.append(entry)
    return found[::-1]


def _complete_lines(file: BinaryIO) -> Iterator[bytes]:
    """Yield the lines that were added; one that is still being written is left for later."""
    while True:
        start = file.tell()
        line = file.readline()
        if not line.endswith(b"\n"):
            file.seek(start)
            return
        yield line
