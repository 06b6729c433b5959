"""A follower that writes each event as a line of JSON to `logs/events.jsonl`, for log collectors and scripts.

Every line says which event it is, so that the last whole line is the position: nothing is missed or repeated,
whenever this process or the daemon is killed.
"""

import json
import os
from dataclasses import asdict
from pathlib import Path

from daemon.journal.followers import Batch, Position
from trainer.protocol.layout import Layout

FILE_NAME = "events.jsonl"
TAIL_BYTES = 1 << 16  # more than the longest line


class JsonLines:
    """Appends events to a file.

    Args:
        base_dir: the working directory.
    """

    def __init__(self, base_dir: Path) -> None:
        self._path = Layout(base_dir).logs / FILE_NAME
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._position = self._recover()

    def position(self) -> Position | None:
        """Return the position after the last line."""
        return self._position

    def take(self, batch: Batch) -> None:
        """Append a line for each event."""
        ledger = batch.position.ledger
        lines = (json.dumps({"ledger": ledger, **asdict(event)}) for event in batch.events)
        data = "".join(f"{line}\n" for line in lines).encode()
        while data:
            data = data[os.write(self._descriptor, data) :]
        self._position = batch.position

    def _recover(self) -> Position | None:
        """Cut off a last line that a kill left half-written; return the position after the one before it."""
        size = os.fstat(self._descriptor).st_size
        tail = os.pread(self._descriptor, TAIL_BYTES, max(0, size - TAIL_BYTES))
        half = len(tail) - (tail.rfind(b"\n") + 1)
        os.ftruncate(self._descriptor, size - half)
        os.lseek(self._descriptor, 0, os.SEEK_END)
        whole = tail[: len(tail) - half].splitlines()
        if not whole:
            return None
        last = json.loads(whole[-1])
        return Position(last["ledger"], last["id"])
