"""A web server that is told what happens."""

from collections.abc import Iterator

import pytest

from tests.daemon.notify.server import HookServer


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[HookServer]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = HookServer()
    yield server
    server.close()
