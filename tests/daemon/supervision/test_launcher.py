"""A worker as a child process on this machine."""

import signal
import subprocess
import sys
from contextlib import ExitStack

import psutil
import pytest

from daemon.supervision.launcher import LocalLauncher, LocalProcess
from tests.support import PATIENCE_S, eventually

WITH_A_CHILD = """
import subprocess, sys, time
lines = "import time; time.sleep(60)"
child = subprocess.Popen([sys.executable, "-S", "-c", lines], stdout=subprocess.DEVNULL)
print(child.pid, flush=True)
{then}
"""


@pytest.fixture
def start():
    """Start a process that runs the given lines."""
    with ExitStack() as stack:

        def start(lines):
            child = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", lines],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,
            )
            stack.enter_context(child)
            stack.callback(child.kill)
            return child, LocalProcess(child)

        yield start


def is_gone(pid):
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_a_process_has_no_exit_code_until_it_ends(start):
    child, process = start("import sys; sys.stdin.readline(); sys.exit(7)")

    before = process.poll(), process.wait(0.0)
    child.stdin.close()

    assert before == (None, None)
    assert process.wait(PATIENCE_S) == process.poll() == 7


def test_what_a_process_has_started_ends_when_its_end_is_noticed(start):
    child, process = start(WITH_A_CHILD.format(then="sys.exit(3)"))
    grandchild = int(child.stdout.readline())

    exit_code = eventually(process.poll, timeout_s=PATIENCE_S)

    assert exit_code == 3
    eventually(lambda: is_gone(grandchild), timeout_s=PATIENCE_S, what="the end of the grandchild")


@pytest.mark.parametrize("number, reaches_children", [(signal.SIGTERM, False), (signal.SIGKILL, True)])
def test_only_sigkill_reaches_what_a_process_has_started(start, number, reaches_children):
    child, process = start(WITH_A_CHILD.format(then="time.sleep(60)"))
    grandchild = psutil.Process(int(child.stdout.readline()))

    process.signal(number)
    child.wait(PATIENCE_S)

    if reaches_children:
        eventually(lambda: is_gone(grandchild.pid), timeout_s=PATIENCE_S)
    else:
        assert grandchild.is_running()
        grandchild.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_signal_to_a_process_that_has_ended_goes_to_nobody(start, number, monkeypatch):
    _, process = start("")
    process.wait(PATIENCE_S)
    sent = []
    monkeypatch.setattr("os.kill", lambda *call: sent.append(call))
    monkeypatch.setattr("os.killpg", lambda *call: sent.append(call))

    process.signal(number)
    monkeypatch.undo()

    assert sent == []


def test_a_worker_does_not_inherit_the_line_to_the_service_manager(layout, monkeypatch):
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/notify")
    monkeypatch.setenv("WATCHDOG_USEC", "1000000")
    monkeypatch.setenv("MARK", "inherited")

    launched = LocalLauncher().launch(layout)
    variables = eventually(psutil.Process(launched.process.pid).environ)  # at first it has none
    launched.process.signal(signal.SIGKILL)
    launched.endpoint.close()

    assert launched.process.wait(PATIENCE_S) == -signal.SIGKILL
    assert variables["MARK"] == "inherited"
    assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC"} & variables.keys()
