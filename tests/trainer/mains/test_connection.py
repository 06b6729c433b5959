"""How a worker finds its daemon when it inherits no connection, and what it says when it cannot."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from trainer.protocol.channel import Channel
from trainer.protocol.handshake import SECRET_VARIABLE
from trainer.protocol.messages import CONNECTION_LOST, EVENTS, Event, Leaving, ShutDown
from trainer.protocol.tcp import Listener

SECRET = "a secret of some length"
PATIENCE_S = 60.0
ANYWHERE = "127.0.0.1:1"


pytestmark = pytest.mark.long


@pytest.fixture
def listener() -> Iterator[Listener]:
    listener = Listener("127.0.0.1", SECRET.encode())
    yield listener
    listener.close()


def start(base: Path, *options: str, secret: str = SECRET) -> "subprocess.Popen[str]":
    command = [sys.executable, "-P", "-m", "trainer.mains.worker", "--base-dir", str(base), *options]
    environment = {**os.environ, SECRET_VARIABLE: secret}
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


def test_a_worker_that_knows_the_secret_obeys_whoever_it_connected_to(tmp_path, listener):
    with start(tmp_path, "--connect", listener.address) as worker:
        channel: Channel[Event] = Channel(listener.accept(PATIENCE_S), EVENTS)
        channel.send(ShutDown(reason="nothing to do"))

        assert channel.receive(PATIENCE_S) == [Leaving(reason="nothing to do")]
        assert worker.wait(PATIENCE_S) == 0
        channel.close()


def test_a_worker_whose_secret_is_in_a_file_connects_and_ends_with_the_connection(tmp_path, listener):
    file = tmp_path / "secret"
    file.write_text(SECRET)
    file.chmod(0o600)
    with start(tmp_path, "--connect", listener.address, "--secret-file", str(file), secret="") as worker:
        listener.accept(PATIENCE_S).close()

        assert worker.wait(PATIENCE_S) == CONNECTION_LOST


@pytest.mark.parametrize(
    "address, secret, words",
    [
        (ANYWHERE, SECRET, "Connection refused"),
        ("anywhere", SECRET, 'the address is "anywhere"; expected HOST:PORT'),
        (ANYWHERE, "", f"{SECRET_VARIABLE}: a secret of 0 bytes; expected at least 16"),
    ],
    ids=["nobody is there", "no address", "no secret"],
)
def test_a_worker_that_cannot_connect_says_why(tmp_path, address, secret, words):
    with start(tmp_path, "--connect", address, secret=secret) as worker:
        _, said = worker.communicate(timeout=PATIENCE_S)

    assert worker.returncode == 1
    assert said.startswith("the daemon cannot be reached: ")
    assert words in said


@pytest.mark.parametrize("options", [[], ["--connect", ANYWHERE, "--channel-fd", "0"]])
def test_a_worker_has_exactly_one_connection(tmp_path, options):
    with start(tmp_path, *options) as worker:
        _, said = worker.communicate(timeout=PATIENCE_S)

    assert worker.returncode == 2
    assert "--channel-fd" in said
