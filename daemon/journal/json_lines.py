"""A follower that writes each event as a line of JSON to `logs/events.jsonl`, for log collectors and scripts.

Every line says which event it is, so that the last whole line is the position: nothing is missed or repeated,
whenever this process or the daemon is killed. If the file is moved away, it starts anew with the first event.
"""

import fcntl
import json
import os
from dataclasses import asdict
from pathlib import Path

from daemon.journal.followers import Batch, FollowerFailed, Position
from trainer.protocol.layout import Layout

FILE_NAME = "events.jsonl"
BLOCK_BYTES = 1 << 16


class AlreadyFollowed(FollowerFailed):
    """Another process writes the same file."""


class UnusableFile(FollowerFailed):
    """The last line of the file is not one of ours."""


class JsonLines:
    """Appends events to a file.

    Args:
        base_dir: the working directory.
    Raises:
        AlreadyFollowed: another process does so.
        UnusableFile: the position cannot be read from it.
    """

    def __init__(self, base_dir: Path) -> None:
        self._path = Layout(base_dir).logs / FILE_NAME
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        self._descriptor = os.open(self._path, flags, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._descriptor)
            raise AlreadyFollowed(f"{self._path} is written by another process; stop it first") from None
        self._position = self._recover()

    def position(self) -> Position | None:
        """Return the position after the last line."""
        return self._position

    def take(self, batch: Batch) -> None:
        """Append a line for each event.

        Raises:
            OSError: the disk is full, say; the file is then as it was before.
        """
        size = os.fstat(self._descriptor).st_size
        ledger = batch.position.ledger
        lines = (json.dumps({"ledger": ledger, **asdict(event)}) for event in batch.events)
        data = "".join(f"{line}\n" for line in lines).encode()
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
        except OSError:
            os.ftruncate(self._descriptor, size)  # or half a line would stand in the middle
            raise
        self._position = batch.position

    def _recover(self) -> Position | None:
        """Cut off a last line that a kill left half-written; return the position after the one before it."""
        end = self._last_newline(os.fstat(self._descriptor).st_size) + 1
        os.ftruncate(self._descriptor, end)
        if not end:
            return None
        start = self._last_newline(end - 1) + 1
        line = os.pread(self._descriptor, end - start, start)
        try:
            last = json.loads(line)
            return Position(last["ledger"], last["id"])
        except (ValueError, KeyError, TypeError):
            raise UnusableFile(
                f"{self._path}: the last line is {line[:60]!r}; expected an event; move the file away"
            ) from None

    def _last_newline(self, before: int) -> int:
        """Return where the last newline before a place is; -1 if there is none."""
        while before > 0:
            start = max(0, before - BLOCK_BYTES)
            found = os.pread(self._descriptor, before - start, start).rfind(b"\n")
            if found >= 0:
                return start + found
            before = start
        return -1
