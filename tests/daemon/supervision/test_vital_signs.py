"""What the system says about a process."""

import os
import signal
import subprocess
import sys

import psutil
import pytest

from daemon.supervision.hang_watch import Signs
from daemon.supervision.vital_signs import read_rss, read_signs
from tests.support import PATIENCE_S, eventually


@pytest.fixture
def started():
    children = []

    def start(lines):
        children.append(subprocess.Popen([sys.executable, "-I", "-S", "-c", lines], start_new_session=True))
        return children[-1].pid

    yield start
    for child in children:
        os.killpg(child.pid, signal.SIGKILL)  # with what it has started
        child.wait()


@pytest.mark.parametrize("who", ["itself", "a child"])
def test_what_a_process_or_its_children_compute_is_seen(started, who):
    busy = "while True: pass"
    if who == "a child":
        busy = f"import os\nif os.fork(): os.wait()\n{busy}\n"
    pid = started(busy)
    before = read_signs(pid)

    eventually(lambda: read_signs(pid).cpu_s > before.cpu_s + 0.1, timeout_s=PATIENCE_S)


def test_what_a_process_writes_is_seen(started, tmp_path):
    pid = started(
        f"file = open({str(tmp_path / 'file')!r}, 'wb')\nwhile file.seek(0) == 0: file.write(bytes(65536))"
    )
    before = read_signs(pid)

    eventually(lambda: read_signs(pid).io_bytes > before.io_bytes + 65536, timeout_s=PATIENCE_S)


def test_a_stopped_process_is_seen_as_stopped(started):
    pid = started("import time; time.sleep(60)")

    os.kill(pid, signal.SIGSTOP)

    eventually(lambda: read_signs(pid).state == "stopped", timeout_s=PATIENCE_S)


def test_a_process_that_is_gone_gives_no_sign():
    child = subprocess.Popen([sys.executable, "-I", "-S", "-c", ""])
    child.wait()

    assert read_signs(child.pid) == Signs(cpu_s=0.0, io_bytes=0, state="unknown")


def test_a_system_that_does_not_count_bytes_still_tells_the_rest(monkeypatch):
    monkeypatch.delattr(psutil.Process, "io_counters")

    signs = read_signs(os.getpid())

    assert signs.io_bytes == 0
    assert signs.cpu_s > 0


def test_what_a_process_has_started_counts_as_its_memory():
    alone = read_rss(os.getpid())
    code = "print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-S", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        child.stdout.readline()  # before, it may not have become another program yet
        child_bytes = read_rss(child.pid)

        together = read_rss(os.getpid())
        child.communicate()

    assert child_bytes > 100_000
    assert together > alone > 1_000_000


def test_a_process_that_has_just_ended_has_no_memory():
    process = subprocess.Popen([sys.executable, "-S", "-c", ""])
    process.wait()

    assert read_rss(process.pid) is None


def test_a_child_that_has_just_ended_does_not_hide_the_memory_of_its_parent(monkeypatch):
    with subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE) as child:
        children = psutil.Process().children()
        child.communicate()
    monkeypatch.setattr(psutil.Process, "children", lambda worker, recursive: children)

    assert read_rss(os.getpid()) > 1_000_000
