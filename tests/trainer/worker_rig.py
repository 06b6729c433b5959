"""A real worker process, and what it says."""

from typing import Any

from daemon.supervision.launcher import Launched, Launcher
from daemon.supervision.local_launcher import LocalLauncher
from tests.support import PATIENCE_S, eventually
from trainer.protocol.channel import Channel, ChannelClosed
from trainer.protocol.layout import Layout
from trainer.protocol.messages import EVENTS, Event


class Worker:
    """A started worker and what it has said."""

    def __init__(self, layout: Layout, launcher: Launcher | None = None) -> None:
        self.launched: Launched = (launcher or LocalLauncher()).launch(layout)
        self.channel: Channel[Event] = Channel(self.launched.endpoint, EVENTS)
        self.said: list[Event] = []

    def first(self, kind: type[Any]) -> Any:
        """Return the first event of a kind, waiting for it."""
        return eventually(lambda: self._heard(kind), what=kind.__name__)

    def _heard(self, kind: type[Any]) -> Any:
        has_ended = False
        try:
            self.said += self.channel.receive(0.1)
        except ChannelClosed:  # what it said before it went has been received
            has_ended = True
        found = next((event for event in self.said if isinstance(event, kind)), None)
        assert found or not has_ended, f"it has ended without {kind.__name__}: {self.last_words()}"
        return found

    def last_words(self) -> str:
        return self.launched.process.last_words(2000)

    def exit_code(self) -> int:
        exit_code = self.launched.process.wait(PATIENCE_S)
        assert exit_code is not None
        return exit_code
