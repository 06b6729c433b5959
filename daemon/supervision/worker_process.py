"""The worker as the daemon sees it: a process, a connection, and how much time it has left."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

from daemon.supervision.launcher import Launcher, stderr_file
from daemon.supervision.verdict import Verdict, judge_exit
from trainer.protocol.channel import Channel, ChannelClosed
from trainer.protocol.layout import Layout
from trainer.protocol.messages import EVENTS, Command, Event, Faulted, Leaving

TAIL_BYTES = 8192


class WorkerProcess:
    """One started worker.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, launcher: Launcher, layout: Layout, *, clock: Callable[[], float]) -> None:
        launched = launcher.launch(layout)
        self._process = launched.process
        self._channel: Channel[Event] = Channel(launched.endpoint, EVENTS)
        self._layout = layout
        self._clock = clock
        self._unheard: list[Event] = []
        self._last_word: Faulted | Leaving | None = None
        self._is_connected = True
        self._kill_at: float | None = None

    @property
    def pid(self) -> int:
        return self._process.pid

    def fileno(self) -> int:
        """Return the descriptor to wait for."""
        return self._channel.fileno()

    @property
    def is_connected(self) -> bool:
        """Whether it may still say something."""
        return self._is_connected

    def send(self, command: Command) -> None:
        """Tell it something. A worker that is gone does not hear it, which `ended` will show."""
        try:
            self._channel.send(command)
        except ChannelClosed:
            self._is_connected = False
            self._kill_at = (
                self._clock()
            )  # it is gone, or it has not read for so long that it might as well be

    def events(self) -> list[Event]:
        """Return what it has said since the last call."""
        self._listen()
        said, self._unheard = self._unheard, []
        return said

    def _listen(self) -> None:
        """Take in everything that has arrived, also the rest of a message that came in parts."""
        try:
            while self._is_connected and self._channel.wait(0):
                self._unheard += self._channel.receive(0)
        except ChannelClosed:
            self._is_connected = False
        for event in self._unheard:
            if isinstance(event, Faulted | Leaving):
                self._last_word = event

    def dismiss_by(self, deadline: float) -> None:
        """Let it go on until `deadline` (monotonic seconds); after that it is ended by force."""
        self._kill_at = deadline

    def ended(self) -> Verdict | None:
        """Return how it ended, or None while it lives.

        Must be polled: this is also where deadlines are kept.
        """
        if self._process.poll() is None:
            self._enforce_deadline()
            return None
        self._listen()  # what it said last is still to be heard
        self._is_connected = False
        self._channel.close()
        return judge_exit(self._process.returncode, self._last_word, self._stderr_tail())

    def kill(self) -> None:
        """End it and everything it started, now."""
        self._signal(signal.SIGKILL)
        self._process.wait()

    def _enforce_deadline(self) -> None:
        if self._kill_at is not None and self._clock() >= self._kill_at:
            self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        try:
            os.killpg(self._process.pid, number)
        except ProcessLookupError:
            return  # it has just ended by itself

    def _stderr_tail(self) -> str:
        path: Path = stderr_file(self._layout)
        try:
            with path.open("rb") as file:
                file.seek(max(0, path.stat().st_size - TAIL_BYTES))
                return file.read().decode("utf-8", "replace").strip()
        except OSError:
            return ""
