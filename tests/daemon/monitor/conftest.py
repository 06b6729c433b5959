"""A monitor without a network: its application, asked by a client that has the token to control."""

import pytest
from starlette.testclient import TestClient

from daemon.client.client import Client
from daemon.monitor.app import make_app
from daemon.monitor.stream import Hub
from daemon.monitor.tokens import Tokens
from tests.support import eventually
from trainer.protocol.layout import Layout

PORT = 8080
TOKENS = Tokens(read="r" * 40, control="c" * 40)


@pytest.fixture
def layout(tmp_path):
    layout = Layout(tmp_path / "base")
    layout.create()
    return layout


@pytest.fixture
def app_client(layout):
    return Client(layout.base)


@pytest.fixture
def app(app_client):
    return make_app(app_client, TOKENS, port=PORT, hub=Hub(app_client))


@pytest.fixture
def ask(app):
    """As a program with the token to control."""
    with TestClient(app, base_url=f"http://127.0.0.1:{PORT}") as client:
        client.headers["Authorization"] = f"Bearer {TOKENS.control}"
        yield client


def wait_for(ask, task):
    """Return an act that takes long as it was when it had ended."""
    eventually(lambda: ask.get(f"/api/tasks/{task['id']}").json()["state"] != "running", timeout_s=60)
    return ask.get(f"/api/tasks/{task['id']}").json()
