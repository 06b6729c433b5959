"""The client as a library: light, honest about what is there, and patient as long as asked."""

import json
import os
import subprocess
import sys

import pytest

from daemon.client import Client
from daemon.client.errors import ClientError, NoDaemon, NotAWorkingDirectory, NotObeyed
from daemon.control.control_files import read_requests
from daemon.status.board import StatusBoard
from trainer.protocol.layout import Layout
from trainer.protocol.status import State


@pytest.fixture
def board(layout):
    """A daemon that is alive, as far as the status file tells."""
    board = StatusBoard(layout.status_file, daemon_pid=os.getpid())
    board.set_state(State.TRAINING)
    board.publish()
    return board


def answer(layout, board, result):
    """Obey what lies in the control folder, as a daemon does."""
    for request in read_requests(layout):
        board.command(request.name, request.id, result)
        board.publish()
        request.path.unlink()


def test_importing_it_loads_nothing_that_draws_or_takes_long():
    dear = ("typer", "rich", "torch", "sqlite3", "psutil", "trainer.config.schema", "daemon.cli")
    code = f"import sys, daemon.client; print([m for m in {dear} if m in sys.modules])"

    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert result.stdout.strip() == "[]"


def test_a_folder_that_is_none_of_ours_is_named(tmp_path):
    with pytest.raises(NotAWorkingDirectory, match="is not a working directory"):
        Client(tmp_path).status()


def test_the_folder_is_found_as_the_commands_find_it(layout, monkeypatch):
    monkeypatch.setenv("TRAINING_BASE_DIR", str(layout.base))

    assert Client().layout == layout


def test_a_home_directory_may_be_written_short(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))

    assert Client("~/training").any_layout == Layout(tmp_path / "training")


@pytest.mark.parametrize(
    "ask, content",
    [
        (lambda client: client.pause("lunch"), {"reason": "lunch"}),
        (lambda client: client.resume(), {"reason": None}),
        (lambda client: client.skip(), {"reason": None}),
        (lambda client: client.stop(), {"reason": None, "now": False}),
    ],
)
def test_a_request_returns_with_the_answer_that_bears_its_id(client, layout, board, sleeper, ask, content):
    written = []

    def obey():
        written.extend(json.loads(path.read_text()) for path in layout.control.iterdir())
        answer(layout, board, "done")

    sleeper.during = obey

    found = ask(client)

    assert (found.result, found.status) == ("done", "training")
    [request] = written
    assert request.pop("id")
    assert request == content


def test_an_answer_to_somebody_else_is_none(client, board, sleeper):
    board.command("pause", "another", "paused")
    board.publish()

    with pytest.raises(NotObeyed, match="has not obeyed within 5 s"):
        client.pause(wait_s=5)

    assert sleeper.clock.now == pytest.approx(5, abs=0.1)


def test_to_wait_until_it_is_gone_no_answer_is_enough(client, layout, board, sleeper):
    def obey():
        answer(layout, board, "stopping after the current file")
        if sleeper.clock.now > 2:
            board.set_state(State.STOPPED)
            board.publish()

    sleeper.during = obey

    found = client.stop(until_gone=True)

    assert (found.result, found.status) == ("the daemon has stopped", "stopped")
    assert sleeper.clock.now > 2


def test_without_a_daemon_nothing_is_written(client, layout):
    with pytest.raises(NoDaemon, match="none has ever run") as error:
        client.pause()

    assert isinstance(error.value, ClientError)
    assert list(layout.control.iterdir()) == []
