"""A number from a file is that of a process that runs, or it is not."""

import os
import subprocess
import threading

import pytest

from trainer.protocol.child_process import is_running

GONE = 2**22 + 1  # above the highest process number of Linux


@pytest.mark.parametrize("pid", [None, "7", 7.0, -1, 0, 2**70, GONE])
def test_what_is_no_process_number_is_no_process(pid):
    assert not is_running(pid)


def test_this_process_runs_and_so_does_one_of_somebody_else(monkeypatch):
    def refuse(pid: int, number: int) -> None:
        raise PermissionError

    own = is_running(os.getpid())
    monkeypatch.setattr(os, "kill", refuse)

    assert (own, is_running(os.getpid())) == (True, True)


def test_a_process_that_was_killed_does_not_run_though_nobody_has_taken_note_of_its_end():
    child = subprocess.Popen(["sleep", "1000"])
    before = is_running(child.pid)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and stays a zombie

    after = is_running(child.pid)

    child.wait()
    assert (before, after) == (True, False)


def test_a_thread_inside_a_process_is_no_process():
    ends = threading.Event()
    thread = threading.Thread(target=ends.wait)
    thread.start()

    try:
        assert not is_running(thread.native_id)
    finally:
        ends.set()
        thread.join()
