"""Daemons started at the same moment in one directory: one runs; a dead one is in nobody's way."""

import contextlib
import re
import signal
import subprocess
import sys

import pytest
from filelock import FileLock

from tests.faults.site import ROOT
from tests.support import PATIENCE_S, eventually
from trainer.protocol.files import read_json
from trainer.protocol.layout import Layout

MODULE = "daemon.cli.training_daemon"
MANY = 20


@pytest.fixture
def layout(tmp_path):
    return Layout(tmp_path / "base")


@pytest.fixture
def start(layout, tmp_path):
    """Start a daemon by its real command; all are ended with the test."""
    command = [sys.executable, "-m", MODULE, "--base-dir", str(layout.base)]
    with contextlib.ExitStack() as started:

        def start():
            with (tmp_path / "errors-0").open("wb") as stderr:
                process = subprocess.Popen(command, cwd=ROOT, stderr=stderr)
            started.enter_context(process)
            started.callback(process.kill)
            return process

        yield start


@pytest.fixture
def fork(layout, tmp_path, fork_server):
    """Fork a daemon, so that many begin at nearly the same moment; all are ended with the test."""
    with contextlib.ExitStack() as started:

        def fork(number):
            with (tmp_path / f"errors-{number}").open("wb") as stderr:
                both = dict.fromkeys((1, 2), stderr.fileno())
                process = fork_server.fork(MODULE, ["--base-dir", str(layout.base)], both)
            started.callback(process.wait, PATIENCE_S)
            started.callback(process.kill)
            return process

        yield fork


def is_running(layout, process):
    """Whether this daemon is the one that shows itself in the status."""
    wanted = {"daemon_pid": process.pid, "status": "idle"}
    return layout.status_file.exists() and wanted.items() <= read_json(layout.status_file).items()


def test_exactly_one_of_many_runs_and_the_others_say_so_in_one_line(layout, fork, tmp_path):
    processes = [fork(number) for number in range(MANY)]

    eventually(lambda: sum(process.poll() is None for process in processes) <= 1, what="one left")

    [winner] = [process for process in processes if process.returncode is None]
    eventually(lambda: is_running(layout, winner), timeout_s=PATIENCE_S, what="its status")
    for number, process in enumerate(processes):
        if process is not winner:
            assert process.returncode == 1
            assert_refused(tmp_path / f"errors-{number}")


def assert_refused(errors):
    line = r"error: a daemon is already running (here \(pid \d+\)|in ).*\n"
    assert re.fullmatch(line, errors.read_text())


def test_one_that_does_not_run_says_so_and_writes_nothing_else(layout, start, tmp_path):
    layout.create()

    with FileLock(layout.lock_file):
        assert start().wait(PATIENCE_S) == 1

    assert_refused(tmp_path / "errors-0")
    assert "or a command has the model go back, forget a file or" in (tmp_path / "errors-0").read_text()
    assert list(layout.base.glob("*.json")) == []
    assert list(layout.status.glob("*.json")) == []


def test_a_killed_daemon_does_not_keep_the_next_one_from_starting(layout, start):
    first = start()
    eventually(lambda: is_running(layout, first), timeout_s=PATIENCE_S, what="the first")
    first.kill()
    first.wait()

    second = start()

    eventually(lambda: is_running(layout, second), timeout_s=PATIENCE_S, what="the second")
    second.send_signal(signal.SIGTERM)
    assert second.wait(PATIENCE_S) == 0
