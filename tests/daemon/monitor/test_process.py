"""The monitor as a process: one for each working directory, started and ended by commands."""

import os
import signal

import httpx
import pytest
from typer.testing import CliRunner

from daemon.cli import training_daemon, training_monitor
from daemon.client.errors import MonitorFailed
from daemon.client.monitor_process import running_monitor, start_monitor, stop_monitor
from tests.daemon.monitor.conftest import PORT
from tests.support import PATIENCE_S, eventually

pytestmark = pytest.mark.long


def run(*arguments):
    return CliRunner().invoke(training_monitor.app, [*map(str, arguments)])


@pytest.fixture
def monitor(layout):
    yield start_monitor(layout, host="127.0.0.1", port=0)
    if running_monitor(layout):
        stop_monitor(layout)


def test_a_link_opens_the_page_and_the_command_prints_it_again(layout, monitor):
    lines = run("links", "--base-dir", layout.base).stdout.splitlines()

    control = lines[0].split()[-1]
    assert control.startswith(f"http://127.0.0.1:{monitor.port}/login?token=")
    assert httpx.get(control, timeout=PATIENCE_S).status_code == 200


def test_a_second_one_is_refused_by_the_command_and_found_by_the_library(layout, monitor):
    assert start_monitor(layout, host="127.0.0.1", port=0) == monitor
    assert run("stop", "--base-dir", layout.base).stdout == f"the monitor (pid {monitor.pid}) has ended\n"
    assert running_monitor(layout) is None
    refused = run("stop", "--base-dir", layout.base)
    assert refused.exception.exit_code == 3
    assert "no monitor runs" in str(refused.exception)


def test_one_that_was_killed_is_gone(layout, monitor):
    os.kill(monitor.pid, signal.SIGKILL)

    eventually(lambda: running_monitor(layout) is None)


def test_a_port_in_use_is_said(layout, tmp_path, monitor):
    other = layout.__class__(tmp_path / "other")
    other.create()

    with pytest.raises(MonitorFailed, match=rf"--port {monitor.port}.*choose another"):
        start_monitor(other, host="127.0.0.1", port=monitor.port)


def test_without_a_running_one_there_are_no_links(layout):
    refused = run("links", "--base-dir", layout.base)

    assert refused.exception.exit_code == 3
    assert "start one with: training_monitor" in str(refused.exception)


def test_what_is_not_installed_is_said_before_a_daemon_is_started(layout, monkeypatch):
    monkeypatch.setattr(training_monitor, "NEEDED", ("no_such_package",))
    started = CliRunner().invoke(training_daemon.app, ["start", "--monitor", "--base-dir", str(layout.base)])

    assert "scripts/setup monitor" in str(started.exception)
    assert not layout.process_file.exists()
    assert str(PORT) in CliRunner().invoke(training_daemon.app, ["start", "--help"]).stdout
