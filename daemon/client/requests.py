"""Send a request to a running daemon, and wait for its answer."""

import os
import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from daemon.client.advice import to_get_a_daemon
from daemon.client.errors import NoDaemon, NotObeyed
from daemon.control.control_files import FILES, Request, read_requests
from daemon.ledger.event_stream import RecordedEvent, newest_event_id, read_events
from daemon.ledger.reader import UnreadableLedger
from daemon.status.reader import Status, read_status
from trainer.protocol.files import create_json, write_json
from trainer.protocol.layout import Layout
from trainer.protocol.status import State
from trainer.protocol.text import duration_text, printable

POLL_INTERVAL_S = 0.02
COURTESY_S = 1.0  # so long somebody else's control file is not replaced, which the daemon reads at once
PAGE = 1_000


@dataclass(frozen=True)
class Obeyed:
    """The daemon's answer to a request."""

    result: str
    """In words; printable."""
    status: str | None
    """What the daemon was doing then, as in the status file."""


@dataclass(frozen=True)
class _Answer:
    """What the daemon has said to a request."""

    request_id: str | None
    result: str
    at: str
    """UTC, ISO 8601."""


class Requests:
    """Writes control files, each with an id by which its answer is recognised.

    Args:
        clock: monotonic seconds.
        sleep: waits for so many seconds.
    """

    def __init__(self, layout: Layout, *, clock: Callable[[], float], sleep: Callable[[float], None]) -> None:
        self._layout = layout
        self._clock = clock
        self._sleep = sleep

    def send(
        self, file_name: str, request: Mapping[str, object], *, wait_s: float, until_gone: bool = False
    ) -> Obeyed:
        """Write a request and return the answer.

        Another one of the same kind is not replaced, but for one that lies there for longer than
        `COURTESY_S`. If ours is replaced before it was answered, the answer to the one that replaced it
        counts as its own: the same was asked for.

        Args:
            file_name: of the control file, such as `.pause`.
            until_gone: wait until no daemon runs any more.
        Raises:
            NoDaemon: none runs, and nothing was written; or it has ended without an answer.
            NotObeyed: it did not answer in time.
        """
        before = read_status(self._layout)
        if not before.is_running:
            raise NoDaemon(f"the daemon is {before.life_text()}; {to_get_a_daemon(before)}")
        request_id = f"{os.getpid()}-{time.time_ns()}-{secrets.token_hex(4)}"
        path = self._layout.control / file_name
        answers = _Answers(self._layout, path, request_id)
        deadline = self._clock() + wait_s
        self._write(path, {"id": request_id, **request}, min(deadline, self._clock() + COURTESY_S))

        def look() -> Obeyed | None:
            status = read_status(self._layout)
            if until_gone:
                if _is_gone(status):
                    return _obeyed("the daemon has stopped", status)
                answer = answers.find(status)
                is_shown = answer and status.fields.get("heartbeat_at", "") > answer.at
                if is_shown and status.fields["status"] != State.STOPPING:
                    raise NotObeyed("the stop was cancelled by: training_controller resume")
                return None
            if answer := answers.find(status):
                # A moment later, the status shows what the answer has changed
                is_shown = _is_gone(status) or status.fields.get("heartbeat_at", "") >= answer.at
                return _obeyed(answer.result, status) if is_shown or self._clock() >= deadline else None
            if _is_gone(status):
                raise NoDaemon(_why_unanswered(answers.request_there(), request_id, path, status))
            return None

        while not (obeyed := look()):
            if self._clock() >= deadline:
                is_to_finish = file_name == ".stop" and not request.get("now")
                now = read_status(self._layout)
                raise NotObeyed(_what_it_waits_for(now, wait_s, is_to_finish))
            self._sleep(POLL_INTERVAL_S)
        return obeyed

    def _write(self, path: Path, request: Mapping[str, object], replace_at: float) -> None:
        """Write a control file.

        Args:
            replace_at: when somebody else's, which the daemon has not read, is replaced.
        """
        with suppress(OSError):  # no links here: nothing but replacing is left
            while self._clock() < replace_at:
                try:
                    return create_json(path, request)
                except FileExistsError:
                    self._sleep(POLL_INTERVAL_S)
        write_json(path, request, durable=False)


def _obeyed(result: str, status: Status) -> Obeyed:
    return Obeyed(printable(result), status.fields.get("status"))


def _what_it_waits_for(status: Status, wait_s: float, is_to_finish: bool) -> str:
    """Return why a request was not carried out in time.

    Args:
        is_to_finish: it asks for a stop after the current file.
    """
    fields = status.fields
    is_stopping = fields.get("status") == State.STOPPING
    if not fields.get("file_total_steps"):
        if is_stopping and fields.get("worker_pid"):
            return f"the daemon has not stopped within {wait_s:g} s; it stops once its worker has exited"
        return f"the daemon has not obeyed within {wait_s:g} s; it will do so as soon as it can"
    if (
        fields.get("status") == State.PAUSED
    ):  # there is no current step, and a stop does not wait for the file
        return f"the daemon has not obeyed within {wait_s:g} s; it will do so as soon as it can"
    if not is_stopping and not is_to_finish:
        return f"the daemon has not obeyed within {wait_s:g} s; it will do so after the current step"
    left = f", {duration_text(fields['eta_s'])} left" if fields.get("eta_s") is not None else ""
    step = f"step {fields.get('file_step') or 0:,} of {fields['file_total_steps']:,}"
    return (
        f"the daemon has not stopped within {wait_s:g} s; it trains the rest of "
        f"{printable(str(fields.get('current_file')))} first ({step}{left}); "
        "to stop at the next step: training_controller stop --now"
    )


def _is_gone(status: Status) -> bool:
    """Whether no daemon runs; one that is silent for a while may go on."""
    return status.life not in ("running", "silent")


def _why_unanswered(there: Request | None, request_id: str, path: Path, status: Status) -> str:
    if there is None or there.id != request_id:
        what = (
            "it had taken the request, and may have obeyed: training_controller status shows it once it runs"
        )
    elif there.is_lasting:
        what = f"control/{path.name} still lies there and holds at the next start"
    else:
        what = (
            f"control/{path.name} still lies there, but the next start refuses it as too old; ask again then"
        )
    return f"the daemon is {status.life_text()}, and did not answer; {what}"


class _Answers:
    """Finds the answer to a request that is about to be written.

    In the ledger, too: the status has only the newest answer, which may be one to somebody else.
    """

    def __init__(self, layout: Layout, path: Path, request_id: str) -> None:
        self._layout = layout
        self._path = path
        self._ids: set[str | None] = {request_id}  # and of those that have replaced it
        self._recorded: list[_Answer] = []
        self._last_event: int | None = None
        with suppress(UnreadableLedger):  # then the status must do
            self._last_event = newest_event_id(layout.ledger_file)

    def find(self, status: Status) -> _Answer | None:
        """Return the answer; None while there is none."""
        if there := self.request_there():
            self._ids.add(there.id)
        shown = status.fields.get("last_command")
        if shown and shown["id"] is not None and shown["id"] in self._ids:
            return _Answer(shown["id"], shown["result"], shown["at"])
        with suppress(UnreadableLedger):
            self._read_ledger()
        return next((answer for answer in self._recorded if answer.request_id in self._ids), None)

    def request_there(self) -> Request | None:
        """Return what lies in the place of the request."""
        return next((item for item in read_requests(self._layout) if item.path == self._path), None)

    def _read_ledger(self) -> None:
        while self._last_event is not None and (events := self._events(self._last_event)):
            for event in events:
                data = event.data or {}
                # Of somebody who gave no id, only the kind is known; stop_now is one of stop
                if event.kind == "command" and data["name"].startswith(FILES[self._path.name]):
                    self._recorded.append(_Answer(data["request_id"], data["result"], event.at))
            self._last_event = events[-1].id

    def _events(self, after: int) -> list[RecordedEvent]:
        return read_events(self._layout.ledger_file, after=after, limit=PAGE)
