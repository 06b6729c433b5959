"""A daemon in the background: it is ready when `start` returns, or the reason is known."""

import os
import signal
import socket
import sys

import pytest

from daemon.client import Client, starting
from daemon.client.errors import InvalidSettings, NotReady, RunsAlready, RunsAsService, StartFailed
from tests.support import PATIENCE_S, eventually
from trainer.protocol.files import read_json, write_json

pytestmark = pytest.mark.long


@pytest.fixture
def client(tmp_path):
    """Asks for a daemon; one that runs at the end is stopped."""
    client = Client(tmp_path / "work")
    yield client
    if client.is_working_directory and client.status().is_running:
        client.stop(now=True, until_gone=True, wait_s=PATIENCE_S)
        starting.wait_for_lock(client.layout, PATIENCE_S)


def pid_of(client):
    return read_json(client.layout.process_file)["pid"]


def test_the_daemon_is_ready_when_start_returns(client):
    started = client.start(wait_s=PATIENCE_S)

    assert (pid_of(client), client.status().life) == (started.pid, "running")
    assert f"daemon {started.pid} is ready" in (client.layout.logs / "daemon.log").read_text()


def test_it_does_not_end_with_the_terminal_and_does_not_log_twice(client):
    started = client.start(wait_s=PATIENCE_S)

    assert os.getsid(started.pid) == started.pid
    assert os.readlink(f"/proc/{started.pid}/fd/0") == os.devnull
    assert (client.layout.logs / "daemon.stderr").read_text() == ""


def test_a_second_one_is_refused_and_the_first_goes_on(client):
    first = client.start(wait_s=PATIENCE_S)

    with pytest.raises(RunsAlready, match=rf"running \(pid {first.pid}\).*training_daemon restart"):
        client.start(wait_s=PATIENCE_S)

    assert pid_of(client) == first.pid


def test_one_that_is_silent_is_found_by_its_lock(client):
    first = client.start(wait_s=PATIENCE_S)
    os.kill(first.pid, signal.SIGSTOP)
    status = read_json(client.layout.status_file)
    write_json(
        client.layout.status_file, status | {"heartbeat_at": "2026-01-01T00:00:00.000Z"}, durable=False
    )
    assert client.status().life == "silent"

    with pytest.raises(StartFailed, match=f"already running here .pid {first.pid}.") as failed:
        client.start(wait_s=PATIENCE_S)
    with pytest.raises(RunsAlready, match=r"no heartbeat.*training_health check"):
        client.restart(wait_s=PATIENCE_S)

    os.kill(first.pid, signal.SIGCONT)
    eventually(lambda: client.status().is_running)
    assert failed.value.exit_code == 1
    assert "see how it is: training_health check" in str(failed.value)


def test_wrong_settings_are_said_as_the_daemon_says_them(client):
    with pytest.raises(StartFailed) as failed:
        client.start(["training.epochs=none"], wait_s=PATIENCE_S)

    assert failed.value.exit_code == InvalidSettings.exit_code
    assert str(failed.value) == '--set training.epochs: training.epochs is "none"; expected a valid integer'


def test_a_folder_that_cannot_be_one_is_named(tmp_path):
    (tmp_path / "work").write_text("no folder")

    with pytest.raises(StartFailed, match="expected a writable folder"):
        Client(tmp_path / "work").start(wait_s=PATIENCE_S)


def test_one_that_ends_without_a_word_is_said_to_have_ended(client, monkeypatch):
    monkeypatch.setattr(starting, "_command", lambda *given: [sys.executable, "-c", "raise SystemExit(7)"])

    with pytest.raises(StartFailed, match="ended with exit code 7 before it was ready") as failed:
        client.start(wait_s=PATIENCE_S)

    assert failed.value.exit_code == 7


def test_one_that_takes_long_goes_on(client, monkeypatch):
    ours, theirs = socket.socketpair()
    waits = f"import socket; socket.socket(fileno={theirs.fileno()}).recv(1)"
    os.set_inheritable(theirs.fileno(), True)
    monkeypatch.setattr(starting, "_command", lambda *given: [sys.executable, "-c", waits])
    popen = starting.subprocess.Popen
    monkeypatch.setattr(
        starting.subprocess, "Popen", lambda *given, pass_fds, **more: popen(
            *given, pass_fds=[*pass_fds, theirs.fileno()], **more)
    )  # fmt: skip

    with pytest.raises(NotReady, match="not ready within 0 s"):
        client.start(wait_s=0)

    ours.close()  # which ends it
    theirs.close()


def test_a_restart_keeps_what_was_overridden(client):
    first = client.start(["training.epochs=2"], wait_s=PATIENCE_S)

    second = client.restart(wait_s=PATIENCE_S)

    assert second.pid != first.pid
    assert second.overrides == ["training.epochs=2"]


def test_a_restart_with_other_overrides_has_only_those(client):
    client.start(["training.epochs=2"], wait_s=PATIENCE_S)

    assert client.restart(["training.seed=4"], wait_s=PATIENCE_S).overrides == ["training.seed=4"]
    assert client.restart([], wait_s=PATIENCE_S).overrides == []


def test_a_start_that_failed_leaves_the_overrides_of_the_one_before(client):
    client.start(["training.epochs=2"], wait_s=PATIENCE_S)
    client.stop(now=True, until_gone=True, wait_s=PATIENCE_S)
    starting.wait_for_lock(client.layout, PATIENCE_S)
    with pytest.raises(StartFailed):
        client.start(["training.epochs=none"], wait_s=PATIENCE_S)

    assert starting.overrides_of_last(client.layout) == ["training.epochs=2"]


@pytest.mark.parametrize("overrides", [None, ["training.epochs=none"]])
def test_a_restart_with_wrong_settings_leaves_the_daemon_that_runs(client, overrides):
    started = client.start(wait_s=PATIENCE_S)
    if overrides is None:
        client.layout.config_file.write_text("{bad")

    with pytest.raises(InvalidSettings, match="expected"):
        client.restart(overrides, wait_s=PATIENCE_S)

    assert (client.status().life, pid_of(client)) == ("running", started.pid)


def test_a_restart_where_none_runs_is_a_start(client):
    client.create()

    assert client.restart(wait_s=PATIENCE_S).pid == pid_of(client)


@pytest.mark.parametrize(
    "control_group, command",
    [
        (
            "0::/user.slice/user-1000.slice/user@1000.service/app.slice/night.service\n",
            "systemctl --user restart night",
        ),
        ("0::/system.slice/training-daemon.service\n", "systemctl restart training-daemon"),
        ("0::/user.slice/user@1000.service/init.scope\n", "systemctl --user restart training-daemon ("),
        ("", "systemctl --user restart training-daemon (without --user if it is the machine's)"),
    ],
)  # fmt: skip
def test_the_service_is_named_as_its_manager_knows_it(control_group, command):
    assert starting.restart_of_service(control_group).startswith(command)


def test_a_service_is_restarted_by_its_manager_alone(client):
    started = client.start(wait_s=PATIENCE_S)
    facts = read_json(client.layout.process_file)
    write_json(client.layout.process_file, facts | {"is_service": True}, durable=False)

    with pytest.raises(RunsAsService, match="systemctl --user restart"):
        client.restart(wait_s=PATIENCE_S)

    assert client.status().fields["daemon_pid"] == started.pid
