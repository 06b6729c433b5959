"""The real server on a real port: slow clients, many streams, restarts."""

import socket
import threading
import time

import httpx
import pytest

from daemon.client.client import Client
from daemon.monitor.app import make_app
from daemon.monitor.server import CannotServe, MonitorServer, listen
from daemon.monitor.slow_clients import ImpatientProtocol
from daemon.monitor.stream import Hub
from tests.daemon.monitor.conftest import TOKENS

PATIENCE_S = 30.0
STREAMS = 200


class Impatient(ImpatientProtocol):
    headers_s = 0.2


@pytest.fixture
def port(layout):
    """A server in a thread that waits for headers only a moment."""
    listening = listen("127.0.0.1", 0)
    port = listening.getsockname()[1]
    client = Client(layout.base)
    hub = Hub(client, interval_s=0.05, heartbeat_s=Impatient.headers_s)
    server = MonitorServer(make_app(client, TOKENS, port=port, hub=hub), hub, protocol=Impatient)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    yield port
    server.should_exit = True
    thread.join(PATIENCE_S)
    assert not thread.is_alive()


def get(port, path="/healthz", **options):
    return httpx.get(f"http://127.0.0.1:{port}{path}", timeout=PATIENCE_S, **options)


@pytest.mark.parametrize("sent", [b"", b"G", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: "])
def test_a_connection_that_never_says_what_it_wants_is_ended(port, sent):
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as slow:
        slow.sendall(sent)

        assert slow.recv(1) == b""  # the other side has ended it


def test_a_second_request_on_a_connection_may_not_dawdle_either(port):
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as slow:
        slow.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert slow.recv(12) == b"HTTP/1.1 200"
        slow.sendall(b"GET /hea")

        while slow.recv(4096):
            pass


def test_an_open_stream_is_not_slow(port):
    headers = {"Authorization": f"Bearer {TOKENS.read}"}
    with httpx.stream(
        "GET", f"http://127.0.0.1:{port}/api/stream", headers=headers, timeout=PATIENCE_S
    ) as stream:
        lines = stream.iter_lines()
        began = time.monotonic()
        for line in lines:
            if line.startswith("event: status") and time.monotonic() - began > 2 * Impatient.headers_s:
                break  # it is sent again as a heartbeat


def test_many_pages_are_open_at_once_and_the_server_still_answers(port):
    request = (
        f"GET /api/stream HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKENS.read}\r\n\r\n".encode()
    )
    streams = [socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) for _ in range(STREAMS)]
    try:
        for stream in streams:
            stream.sendall(request)
        for stream in streams:
            assert stream.recv(12) == b"HTTP/1.1 200"
        assert get(port).status_code == 200
    finally:
        for stream in streams:
            stream.close()


def test_a_port_in_use_is_said_with_a_way_out(port):
    with pytest.raises(CannotServe, match=f"--port {port}.*choose another"):
        listen("127.0.0.1", port)
