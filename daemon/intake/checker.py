"""Have files checked one at a time on a thread, so that the daemon keeps answering."""

import filecmp
import heapq
import json
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from queue import SimpleQueue
from typing import BinaryIO

from daemon.files.identity import Identity, identity_of
from daemon.files.notes import REJECTED_SUFFIX, note_beside, start_of_list
from trainer.data.checks.file_check import FileCheck, RejectedRow, check_file
from trainer.protocol.files import numbered, sync_file
from trainer.protocol.places import Priority
from trainer.protocol.row_fields import Fields

NOT_KNOWN_YET = "0" * 64  # the SHA-256 of a file that has not been read to its end
MAX_SHOWN_BYTES = 1 << 20  # of a rejected row; the file itself keeps it whole


@dataclass(frozen=True, order=True)
class CheckOrder:
    """A file to be checked. Sorts by urgency, then by arrival."""

    rank: int
    job_id: str
    path: Path = field(compare=False)
    priority: Priority = field(compare=False)
    max_line_bytes: int = field(compare=False)
    max_unpacked_bytes: int = field(compare=False)
    fields: Fields = field(compare=False)


@dataclass(frozen=True)
class Checked:
    """A check that ran to its end."""

    order: CheckOrder
    identity: Identity
    check: FileCheck
    has_changed: bool
    """Somebody wrote to the file meanwhile, so the check is worth nothing."""
    seconds: float = 0.0


@dataclass(frozen=True)
class NotChecked:
    """A check that ended early."""

    order: CheckOrder
    error: BaseException


class Checker:
    """Runs checks in order of urgency.

    Args:
        failed: folder for the rows that are rejected.
        on_result: called from the thread when `results` has something.
    """

    def __init__(self, failed: Path, *, on_result: Callable[[], None]) -> None:
        self._failed = failed
        self._on_result = on_result
        self._waiting: list[CheckOrder] = []
        self._paths: set[Path] = set()
        self._running: CheckOrder | None = None
        self._cancelled = threading.Event()
        self._results: SimpleQueue[Checked | NotChecked] = SimpleQueue()
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="check")

    def __len__(self) -> int:
        return len(self._paths)

    def __contains__(self, path: Path) -> bool:
        return path in self._paths

    @property
    def current(self) -> Path | None:
        """The file being checked."""
        return self._running.path if self._running else None

    def submit(self, order: CheckOrder) -> None:
        """Have a file checked."""
        self._paths.add(order.path)
        heapq.heappush(self._waiting, order)
        self._start_next()

    def cancel_current(self) -> None:
        """End the check that is running; its result will be `NotChecked`."""
        self._cancelled.set()

    def results(self) -> list[Checked | NotChecked]:
        """Return the checks that have ended since the last call."""
        ended = []
        while not self._results.empty():
            result = self._results.get()
            ended.append(result)
            self._paths.discard(result.order.path)
            self._running = None
            self._start_next()
        return ended

    def close(self) -> None:
        """End the running check and forget the others; their files are found again at the next start."""
        self._waiting.clear()
        self._cancelled.set()
        self._executor.shutdown(cancel_futures=True)

    def _start_next(self) -> None:
        if self._running is None and self._waiting:
            self._running = heapq.heappop(self._waiting)
            self._cancelled.clear()
            future = self._executor.submit(self._check, self._running)
            future.add_done_callback(partial(self._note, self._running))

    def _note(self, order: CheckOrder, future: "Future[Checked]") -> None:
        """Take a result, whatever it is: without one no other file would ever be checked."""
        if future.cancelled():
            return
        error = future.exception()
        self._results.put(NotChecked(order, error) if error else future.result())
        self._on_result()

    def _check(self, order: CheckOrder) -> Checked:
        started = time.monotonic()
        before = identity_of(order.path.lstat())
        with _RejectedRows(self._failed, order.path.name) as rejected:
            check = check_file(
                order.path,
                max_line_bytes=order.max_line_bytes,
                max_unpacked_bytes=order.max_unpacked_bytes,
                fields=order.fields,
                on_reject=rejected.add,
                is_cancelled=self._cancelled.is_set,
            )
            sync_file(order.path)  # whoever wrote it need not have
            has_changed = identity_of(order.path.lstat()) != before
            if not has_changed:
                rejected.publish(check.sha256)
        return Checked(order, before, check, has_changed, time.monotonic() - started)


class _RejectedRows:
    """Writes `NAME.rejected.jsonl`, a line per rejected row; nothing appears if there is none.

    The first line also says of which content they are.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._name = name
        self._partial = folder / f".{note_beside(folder / name, REJECTED_SUFFIX).name}.part"
        self._file: BinaryIO | None = None

    def __enter__(self) -> "_RejectedRows":
        return self

    def add(self, row: RejectedRow) -> None:
        first = self._file is None
        if self._file is None:
            self._file = self._partial.open("wb")
        content = (row.content or b"")[:MAX_SHOWN_BYTES].rstrip(b"\r\n").decode("utf-8", "backslashreplace")
        line = json.dumps({"line": row.line, "reason": row.reason, "row": content}).encode()
        self._file.write((start_of_list(NOT_KNOWN_YET) + line[1:] if first else line) + b"\n")

    def publish(self, sha256: str) -> None:
        if self._file is None:
            return
        self._file.seek(0)
        self._file.write(start_of_list(sha256))
        self._file.flush()
        os.fsync(self._file.fileno())
        for number in count(1):  # a report of an earlier file of this name stays
            owner = self._partial.with_name(numbered(self._name, number))
            target = note_beside(owner, REJECTED_SUFFIX)
            try:
                os.link(self._partial, target)
                return
            except FileExistsError:
                if not owner.exists() and filecmp.cmp(self._partial, target, shallow=False):
                    return  # the same file was checked before, and is tried again

    def __exit__(self, *exception: object) -> None:
        if self._file is not None:
            self._partial.unlink(missing_ok=True)  # first: on a full disk even closing fails
            self._file.close()
