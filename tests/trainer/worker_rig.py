"""A real worker process, and what it says."""

from contextlib import suppress
from typing import Any

from daemon.supervision.launcher import Launched
from daemon.supervision.local_launcher import LocalLauncher
from tests.support import PATIENCE_S, eventually
from trainer.protocol.channel import Channel, ChannelClosed
from trainer.protocol.layout import Layout
from trainer.protocol.messages import EVENTS, Event


class Worker:
    """A started worker and what it has said."""

    def __init__(self, layout: Layout) -> None:
        self.launched: Launched = LocalLauncher().launch(layout)
        self.channel: Channel[Event] = Channel(self.launched.endpoint, EVENTS)
        self.said: list[Event] = []

    def first(self, kind: type[Any]) -> Any:
        """Return the first event of a kind, waiting for it."""
        return eventually(lambda: self._heard(kind), timeout_s=PATIENCE_S, what=kind.__name__)

    def _heard(self, kind: type[Any]) -> Any:
        with suppress(ChannelClosed):  # what it said before it went has been received
            self.said += self.channel.receive(0.1)
        return next((event for event in self.said if isinstance(event, kind)), None)

    def exit_code(self) -> int:
        exit_code = self.launched.process.wait(PATIENCE_S)
        assert exit_code is not None
        return exit_code
