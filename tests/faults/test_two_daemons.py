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


@pytest.fixture
def layout(tmp_path):
    return Layout(tmp_path / "base")


@pytest.fixture
def start(layout):
    """Start a daemon by its real command; all are ended with the test."""
    with contextlib.ExitStack() as started:

        def start():
            process = subprocess.Popen(
                [sys.executable, "-m", "daemon.cli.training_daemon", "--base-dir", str(layout.base)],
                cwd=ROOT,
                stderr=subprocess.PIPE,
                text=True,
            )
            started.enter_context(process)
            started.callback(process.kill)
            return process

        yield start


def is_running(layout, process):
    """Whether this daemon is the one that shows itself in the status."""
    wanted = {"daemon_pid": process.pid, "status": "idle"}
    return layout.status_file.exists() and wanted.items() <= read_json(layout.status_file).items()


@pytest.mark.parametrize("number", [2, 20])
def test_exactly_one_of_many_runs_and_the_others_say_so_in_one_line(layout, start, number):
    processes = [start() for _ in range(number)]

    eventually(lambda: sum(process.poll() is None for process in processes) <= 1, what="one left")

    [winner] = [process for process in processes if process.returncode is None]
    eventually(lambda: is_running(layout, winner), timeout_s=PATIENCE_S, what="its status")
    for process in processes:
        if process is not winner:
            assert process.returncode == 1
            assert re.fullmatch(
                r"error: a daemon is already running (here \(pid \d+\)|in ).*\n", process.stderr.read()
            )


def test_one_that_does_not_run_writes_nothing_at_all(layout, start):
    layout.create()

    with FileLock(layout.lock_file):
        process = start()
        assert process.wait(PATIENCE_S) == 1

    assert "or a command works on the model there (training_models rollback, forget" in process.stderr.read()

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
