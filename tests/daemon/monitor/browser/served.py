"""The monitor on a real port, in a thread of the test's process."""

import threading

from daemon.client.client import Client
from daemon.monitor.app import make_app
from daemon.monitor.server import MonitorServer, listen
from daemon.monitor.stream import Hub
from tests.daemon.monitor.conftest import TOKENS
from tests.support import PATIENCE_S

INTERVAL_S = 0.05


class Served:
    """A monitor that can be ended and started again on the same port."""

    def __init__(self, base, port=0):
        self._base = base
        self.port = port
        self._server = None
        self._thread = None

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    @property
    def link(self):
        return f"{self.url}/login?token={TOKENS.control}"

    @property
    def link_to_look(self):
        return f"{self.url}/login?token={TOKENS.read}"

    def start(self):
        listening = listen("127.0.0.1", self.port)
        self.port = listening.getsockname()[1]
        client = Client(self._base)
        hub = Hub(client, interval_s=INTERVAL_S, heartbeat_s=1.0)
        self._server = MonitorServer(make_app(client, TOKENS, port=self.port, hub=hub), hub)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [listening]}, name="monitor"
        )
        self._thread.start()
        return self

    def stop(self):
        self._server.should_exit = True
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()
