"""Ask something of a running daemon, and wait for its answer."""

import os
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from daemon.client.errors import NoDaemon, NotObeyed
from daemon.status.reader import Status, read_status
from trainer.protocol.files import write_json
from trainer.protocol.layout import Layout
from trainer.protocol.text import printable

POLL_INTERVAL_S = 0.02


@dataclass(frozen=True)
class Obeyed:
    """The daemon's answer to a request."""

    result: str
    """In words; printable."""
    status: str | None
    """What the daemon was doing then, as in the status file."""


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

        Args:
            file_name: of the control file, such as `.pause`.
            until_gone: wait until no daemon runs any more.
        Raises:
            NoDaemon: none runs; nothing is written then.
            NotObeyed: it did not answer in time.
        """
        before = read_status(self._layout)
        if not before.is_running:
            raise NoDaemon(
                f"the daemon is {before.life_text()}; "
                f"start one with: training_daemon --base-dir {self._layout.base}"
            )
        request_id = f"{os.getpid()}-{time.time_ns()}-{secrets.token_hex(4)}"
        write_json(self._layout.control / file_name, {"id": request_id, **request}, durable=False)

        def is_answered(status: Status) -> bool:
            return not status.is_running if until_gone else _last_command(status).get("id") == request_id

        found = self._status_when(is_answered, wait_s)
        result = "the daemon has stopped" if until_gone else str(_last_command(found).get("result"))
        return Obeyed(printable(result), found.fields.get("status"))

    def _status_when(self, condition: Callable[[Status], bool], wait_s: float) -> Status:
        deadline = self._clock() + wait_s
        while not condition(found := read_status(self._layout)):
            if self._clock() >= deadline:
                raise NotObeyed(
                    f"the daemon has not obeyed within {wait_s:g} s; it will do so after the current step"
                )
            self._sleep(POLL_INTERVAL_S)
        return found


def _last_command(status: Status) -> Mapping[str, object]:
    return status.fields.get("last_command") or {}
