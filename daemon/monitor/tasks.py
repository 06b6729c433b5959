"""Acts that take long: they run beside the requests, one of a kind at a time, and say how far they are.

They end with the monitor. What the daemon was asked for, it does all the same.
"""

import secrets
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal
from weakref import WeakKeyDictionary

from daemon.client.client import Client
from daemon.client.errors import ClientError
from trainer.protocol.text import printable, utc_text

TaskKind = Literal[
    "compare",
    "create_version",
    "delete_version",
    "go_back",
    "forget",
    "back_up",
    "verify_backups",
    "free_space",
]
KEPT = 30  # that have ended


class Busy(ClientError):
    """One of this kind runs already."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """An act that takes long."""

    id: str
    kind: TaskKind
    title: str
    """What it does, in words; printable."""
    about: dict[str, Any]
    """What it was asked with."""
    state: Literal["running", "done", "failed", "cancelled"]
    is_cancellable: bool
    started_at: str
    """UTC, ISO 8601, as the end."""
    ended_at: str | None = None
    progress: str | None = None
    """How far it is, in words; printable."""
    result: Any = None
    """What came of it, once it is done."""
    problem: str | None = None
    """Why it failed; printable."""


@dataclass
class Running:
    """What an act that runs can say, and by what it is ended."""

    say: Callable[[str], object]
    is_cancelled: bool = False
    _process: subprocess.Popen[bytes] | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def began(self, process: subprocess.Popen[bytes]) -> None:
        """Note the process that does it, and end it if nobody wants it any more."""
        with self._lock:
            self._process = process
            if self.is_cancelled:
                process.kill()

    def cancel(self) -> None:
        """End its process: now, or as soon as there is one."""
        with self._lock:
            self.is_cancelled = True
            if self._process:
                self._process.kill()


class Tasks:
    """The acts of one working directory that run, and those that ran last.

    Args:
        clock: Unix seconds.
    """

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._tasks: dict[str, Task] = {}  # oldest first
        self._running: dict[str, Running] = {}
        self.revision = 0
        """Counts changes, for those who tell open pages."""

    def all(self) -> list[Task]:
        """Return those that are known, newest first."""
        with self._lock:
            return list(self._tasks.values())[::-1]

    def find(self, task_id: str) -> Task | None:
        """Return one; None if it is not known (any more)."""
        with self._lock:
            return self._tasks.get(task_id)

    def start(
        self,
        kind: TaskKind,
        title: str,
        act: Callable[[Running], Any],
        *,
        about: dict[str, Any] | None = None,
        is_cancellable: bool = False,
    ) -> Task:
        """Begin an act, and return at once.

        Args:
            act: returns the result; what it raises of the client says why there is none.
        Raises:
            Busy: one of this kind runs.
        """
        task = Task(
            id=secrets.token_hex(6),
            kind=kind,
            title=printable(title),
            about=about or {},
            state="running",
            is_cancellable=is_cancellable,
            started_at=utc_text(self._clock()),
        )
        running = Running(say=lambda words: self._change(task.id, progress=printable(words)))
        with self._lock:
            for other in self._tasks.values():
                if other.kind == kind and other.state == "running":
                    raise Busy(f"this runs already: {other.title}; wait until it has ended")
            self._tasks[task.id] = task
            self._running[task.id] = running
            ended = [known.id for known in self._tasks.values() if known.state != "running"]
            for forgotten in ended[:-KEPT]:
                del self._tasks[forgotten]
            self.revision += 1
        # A daemon thread: a monitor that is told to end does not wait for weeks of training
        threading.Thread(target=self._run, args=(task.id, running, act), daemon=True).start()
        return task

    def cancel(self, task_id: str) -> Task | None:
        """End an act, if that is possible; return it as it is now. None if it is not known."""
        with self._lock:
            running, task = self._running.get(task_id), self._tasks.get(task_id)
        if running and task and task.is_cancellable:
            running.cancel()
        return task

    def _run(self, task_id: str, running: Running, act: Callable[[Running], Any]) -> None:
        changes: dict[str, Any]
        try:
            changes = {"state": "done", "result": act(running)}
        except ClientError as error:
            changes = {"state": "failed", "problem": "\n".join(map(printable, str(error).splitlines()))}
        except Exception as error:  # whoever waits must hear of it: nobody else catches it
            changes = {"state": "failed", "problem": printable(f"{type(error).__name__}: {error}")}
        if running.is_cancelled and changes["state"] == "failed":
            changes = {"state": "cancelled"}
        self._change(task_id, ended_at=utc_text(self._clock()), **changes)
        with self._lock:
            del self._running[task_id]

    def _change(self, task_id: str, **changes: Any) -> None:
        with self._lock:
            self._tasks[task_id] = replace(self._tasks[task_id], **changes)
            self.revision += 1


_OF_CLIENTS: "WeakKeyDictionary[Client, Tasks]" = WeakKeyDictionary()


def tasks_of(client: Client) -> Tasks:
    """Return the acts of a client's working directory."""
    return _OF_CLIENTS.setdefault(client, Tasks())
