"""Keep a process running for `notify.command` and for `notify.webhook`, and none where nothing is set."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from daemon.journal.events import NotifierEnded
from daemon.journal.journal import Journal
from trainer.protocol.child_process import own_environment
from trainer.protocol.layout import Layout

if TYPE_CHECKING:
    from trainer.config.notify_settings import NotifySettings

CHANNELS = ("command", "webhook")
RESTART_AFTER_S, LONGEST_WAIT_S = 60.0, 3600.0  # doubled each time
LOOK_AFTER_S = 60.0
GRACE_S = 5.0  # for what happened last, when the daemon leaves
NOT_FOR_CHILDREN = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


@dataclass
class _Channel:
    name: str
    process: "subprocess.Popen[bytes] | None" = None
    not_before: float = float("-inf")
    wait_s: float = RESTART_AFTER_S

    def kill(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()
            _close_input(self.process)
            self.process = None


class Notifiers:
    """The processes that pass events on.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, layout: Layout, journal: Journal, *, clock: Callable[[], float]) -> None:
        self._layout = layout
        self._journal = journal
        self._clock = clock
        self._channels = [_Channel(name) for name in CHANNELS]
        self._settings: NotifySettings | None = None

    def look_after(self, settings: "NotifySettings") -> None:
        """Have what `settings` ask for running, and nothing else."""
        if settings is not self._settings:
            if settings != self._settings:
                self._use(settings)
            self._settings = settings
        for channel in self._channels:
            if getattr(settings, channel.name) is not None:
                self._keep_running(channel, settings)

    def due_at(self) -> float:
        """Return when `look_after` is to be called next, in monotonic seconds."""
        running = [channel for channel in self._channels if channel.process]
        waiting = [channel.not_before for channel in self._channels if channel.not_before > self._clock()]
        return min([*waiting, *[self._clock() + LOOK_AFTER_S] * bool(running)], default=float("inf"))

    def close(self) -> None:
        """Let them send what is left, for a moment; what is not sent by then is sent by the next daemon."""
        running = [channel.process for channel in self._channels if channel.process]
        for process in running:
            _close_input(process)
        deadline = self._clock() + GRACE_S
        for process in running:
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - self._clock()))
        for channel in self._channels:
            channel.kill()

    def _use(self, settings: "NotifySettings") -> None:
        for channel in self._channels:
            channel.kill()
            channel.not_before, channel.wait_s = float("-inf"), RESTART_AFTER_S
            if getattr(settings, channel.name) is None:
                # Whoever turns it on again wants to hear of what happens then
                self._layout.notify_file(channel.name).unlink(missing_ok=True)

    def _keep_running(self, channel: _Channel, settings: "NotifySettings") -> None:
        if channel.process and (code := channel.process.poll()) is not None:
            _close_input(channel.process)
            channel.process = None
            channel.not_before = self._clock() + channel.wait_s
            self._journal.record(
                NotifierEnded(channel=channel.name, exit_code=code, restart_in_s=channel.wait_s)
            )
            channel.wait_s = min(2 * channel.wait_s, LONGEST_WAIT_S)
        if channel.process is None and self._clock() >= channel.not_before:
            channel.not_before = self._clock() + RESTART_AFTER_S  # should it not start
            channel.process = self._start(channel.name, settings)
            channel.not_before = float("-inf")

    def _start(self, channel: str, settings: "NotifySettings") -> "subprocess.Popen[bytes]":
        from daemon.ledger.event_stream import newest_event_id

        order = {
            "base_dir": str(self._layout.base),
            "channel": channel,
            "settings": settings.model_dump(mode="json"),
            "first_event": newest_event_id(self._layout.ledger_file),
        }
        child = subprocess.Popen(
            # -P: a file in the working directory must not be mistaken for a module
            [sys.executable, "-P", "-m", "daemon.notify"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={name: text for name, text in own_environment().items() if name not in NOT_FOR_CHILDREN},
            start_new_session=True,  # Ctrl-C in the daemon's terminal is not meant for it
        )
        assert child.stdin
        with suppress(BrokenPipeError):  # it has died already, which is noted like any other end
            os.write(child.stdin.fileno(), json.dumps(order).encode() + b"\n")
        return child


def _close_input(process: "subprocess.Popen[bytes]") -> None:
    if process.stdin:
        with suppress(BrokenPipeError):
            process.stdin.close()
