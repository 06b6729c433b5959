"""A worker as a child process on this machine."""

import signal
import subprocess
import sys
from contextlib import ExitStack

import psutil
import pytest

from daemon.supervision.hang_watch import NO_SIGNS
from daemon.supervision.local_launcher import LocalLauncher, LocalProcess
from tests.support import eventually

PATIENCE_S = 10.0
WITH_A_CHILD = """
import subprocess, sys, time
lines = "import time; time.sleep(60)"
child = subprocess.Popen([sys.executable, "-S", "-c", lines], stdout=subprocess.DEVNULL)
print(child.pid, flush=True)
{then}
"""


@pytest.fixture
def start(tmp_path):
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
            return child, LocalProcess(child, tmp_path / "stderr")

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
    variables = psutil.Process(launched.process.pid).environ()
    launched.process.signal(signal.SIGKILL)
    launched.endpoint.close()

    assert launched.process.wait(PATIENCE_S) == -signal.SIGKILL
    assert variables["MARK"] == "inherited"
    assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC"} & variables.keys()


def test_a_process_that_runs_tells_what_it_uses_and_one_that_has_ended_nothing(start):
    child, process = start("import sys; print(flush=True); sys.stdin.readline()")
    child.stdout.readline()  # before, it may not have become another program yet

    before = process.signs().state, process.memory_bytes()
    child.stdin.close()
    process.wait(PATIENCE_S)

    assert before[0] in ("running", "sleeping", "idle", "disk-sleep")
    assert before[1] > 100_000
    assert (process.signs(), process.memory_bytes()) == (NO_SIGNS, None)


def test_the_last_words_are_the_end_of_what_was_written_so_far(start, tmp_path):
    _, process = start("")
    before = process.last_words(5)

    (tmp_path / "stderr").write_bytes(b"first words, last\xff\n")

    assert before == ""
    assert process.last_words(5) == "ast\N{REPLACEMENT CHARACTER}"


def test_only_processes_killed_for_memory_since_its_start_count(start, monkeypatch):
    counts = iter([3, 5])
    monkeypatch.setattr("daemon.supervision.local_launcher.count_oom_kills", lambda: next(counts))

    _, process = start("")

    assert process.oom_kills() == 2
