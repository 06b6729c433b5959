"""Tell open pages what has changed, as server-sent events: the status, new steps, new events.

One task looks for all pages together, and only while one is open: it compares times and sizes of a few files,
and reads those that have changed.
"""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic_core import to_json
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from daemon.client.client import Client
from daemon.client.errors import ClientError
from daemon.monitor.tasks import tasks_of

INTERVAL_S = 0.5
HEARTBEAT_S = 5.0  # a status is sent at least so often: its age is part of it
MOST_STREAMS = 256
QUEUE_LENGTH = 64  # messages; a page that takes none for so long is asked to read everything anew
EVENTS_AT_ONCE = 200
STEPS_AT_ONCE = 500

Message = tuple[str, bytes]
"""Kind and JSON."""


class Hub:
    """Hands every change to every open page.

    Args:
        interval_s: between two looks.
        heartbeat_s: at most so long no status is sent.
    """

    def __init__(
        self, client: Client, *, interval_s: float = INTERVAL_S, heartbeat_s: float = HEARTBEAT_S
    ) -> None:
        self._client = client
        self._heartbeat_s = heartbeat_s
        self._interval_s = interval_s
        self._pages: set[asyncio.Queue[Message | None]] = set()
        self._task: asyncio.Task[None] | None = None
        self._seen: dict[Path, tuple[int, int]] = {}
        self._status: bytes = b""
        self._status_age_s = 0.0
        self._event = 0
        self._step = 0
        self._tasks = 0  # revision of the acts that take long

    async def answer(self, request: Request) -> Response:
        """Answer with a stream that ends when the page is closed."""
        if len(self._pages) >= MOST_STREAMS:
            return Response("too many open pages", status_code=503, headers={"Retry-After": "30"})
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(self._messages(), media_type="text/event-stream", headers=headers)

    async def _messages(self) -> AsyncIterator[bytes]:
        queue: asyncio.Queue[Message | None] = asyncio.Queue(QUEUE_LENGTH)
        self._pages.add(queue)
        try:
            if self._task is None or self._task.done():
                self._seen.clear()
                self._task = asyncio.create_task(self._look_again_and_again())
            elif self._status:
                queue.put_nowait(("status", self._status))
            yield b"retry: 1000\n\n"
            while (message := await queue.get()) is not None:
                kind, content = message
                yield b"event: " + kind.encode() + b"\ndata: " + content + b"\n\n"
        finally:
            self._pages.discard(queue)

    async def close(self) -> None:
        """End all streams."""
        for queue in self._pages:
            _put(queue, None)
        if self._task:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _look_again_and_again(self) -> None:
        self._event, self._step = await run_in_threadpool(self._newest)
        while self._pages:  # pages read everything when they open, so the first look is for the status only
            for message in await run_in_threadpool(self._look):
                for queue in list(self._pages):
                    _put(queue, message)
            await asyncio.sleep(self._interval_s)

    def _newest(self) -> tuple[int, int]:
        with suppress(ClientError):
            return self._client.history.newest_event_id(), self._client.history.newest_step()
        return 0, 0

    def _look(self) -> list[Message]:
        messages: list[Message] = []
        layout = self._client.any_layout
        self._status_age_s += self._interval_s
        if self._has_changed(layout.status_file) or self._status_age_s >= self._heartbeat_s:
            messages += self._new_status()
        wal = layout.ledger_file.with_name(layout.ledger_file.name + "-wal")
        if self._has_changed(wal) | self._has_changed(layout.ledger_file):
            messages += self._new_rows()
        queue = [
            folder for folder in layout.folders() if {layout.queue, layout.inbox} & {folder, *folder.parents}
        ]
        if any([self._has_changed(folder) for folder in queue]):  # a list, so that each is looked at
            messages.append(("queue", b"{}"))
        for kind, path in (
            ("models", layout.models / "versions"),
            ("models", layout.models / "versions" / "journal.jsonl"),
            ("models", layout.models / "checkpoints"),
            ("settings", layout.config_file),
            ("log", layout.logs / "daemon.log"),
        ):
            if self._has_changed(path):
                messages.append((kind, b"{}"))
        if self._tasks != (revision := tasks_of(self._client).revision):
            self._tasks = revision
            messages.append(("tasks", b"{}"))
        return messages

    def _has_changed(self, path: Path) -> bool:
        try:
            found = os.stat(path)
            now = (found.st_mtime_ns, found.st_size)
        except OSError:
            now = (0, 0)
        before, self._seen[path] = self._seen.get(path), now
        return before != now

    def _new_status(self) -> list[Message]:
        self._status_age_s = 0.0
        try:
            document: dict[str, Any] = self._client.status().document()
        except ClientError as error:
            document = {"daemon": "no directory", "problem": str(error)}
        self._status = to_json(document, inf_nan_mode="null")
        return [("status", self._status)]

    def _new_rows(self) -> list[Message]:
        messages: list[Message] = []
        with suppress(ClientError):
            events = self._client.history.events(after=self._event, limit=EVENTS_AT_ONCE)
            if events:
                self._event = events[-1].id
                messages.append(("events", to_json(events, inf_nan_mode="null")))
            steps = self._client.history.steps(after=self._step, limit=STEPS_AT_ONCE)
            if steps:
                self._step = steps[-1].global_step
                messages.append(("steps", to_json(steps, inf_nan_mode="null")))
            if any(event.kind == "went_back" for event in events):  # steps are counted from there again
                self._step = self._client.history.newest_step()
        return messages


def _put(queue: "asyncio.Queue[Message | None]", message: Message | None) -> None:
    """Add a message; a page that has not taken so many is to begin anew."""
    if queue.full():
        while not queue.empty():
            queue.get_nowait()
        queue.put_nowait(("reload", json.dumps({"why": "the page was too slow"}).encode()))
        if message is None:
            queue.get_nowait()
    queue.put_nowait(message)
