"""The worker as the daemon sees it, with workers of three lines."""

import os
import textwrap

import psutil
import pytest

from daemon.supervision.launcher import stderr_file
from daemon.supervision.worker_process import TAIL_BYTES, WorkerProcess
from tests.daemon.rig import FakeLauncher
from tests.support import FakeClock, eventually
from trainer.protocol.job import FaultKind
from trainer.protocol.messages import Heartbeat, Leaving, LoadModel, Pause, ShutDown

PATIENCE_S = 10.0
PREAMBLE = """
import json, os, socket, subprocess, sys, time
channel = socket.socket(fileno=int(sys.argv[4]))
def say(kind, **fields):
    channel.sendall(json.dumps({"kind": kind, **fields}).encode() + b"\\n")
def hear():
    return json.loads(channel.makefile().readline())
"""


@pytest.fixture
def start(layout, tmp_path):
    """Start a worker that runs the given lines."""
    started = []

    def start(lines, clock=None):
        script = tmp_path / "worker.py"
        script.write_text(PREAMBLE + textwrap.dedent(lines))
        worker = WorkerProcess(FakeLauncher(script), layout, clock=clock or FakeClock())
        started.append(worker)
        return worker

    yield start
    for worker in started:
        worker.kill()
        worker.ended()


def heard(worker, number=1):
    """Return the first events."""
    found = []

    def enough():
        found.extend(worker.events())
        return len(found) >= number

    eventually(enough, timeout_s=PATIENCE_S, what=f"{number} events")
    return found


def verdict_on(worker):
    return eventually(worker.ended, timeout_s=PATIENCE_S, what="the end of the worker")


def test_what_the_worker_says_arrives_in_order(start):
    worker = start("""
        say("heartbeat", section="loading")
        say("held", global_step=7)
        hear()
    """)

    first, second = heard(worker, 2)

    assert first == Heartbeat(section="loading")
    assert second.global_step == 7
    assert worker.ended() is None


def test_what_is_sent_reaches_the_worker(start):
    worker = start("""
        said = hear()
        say("heartbeat", section="idle", detail=said["kind"] + " " + said["settings"]["text"])
        hear()
    """)

    worker.send(LoadModel(settings={"text": "\udcff ü\n"}))

    assert heard(worker)[0].detail == "load_model \udcff ü\n"


def test_a_worker_that_leaves_as_told_is_judged_by_its_words(start):
    worker = start("""
        say("leaving", reason=hear()["reason"])
    """)

    worker.send(ShutDown(reason="stop"))

    verdict = verdict_on(worker)
    assert (verdict.kind, verdict.message) == (None, "stop")


def test_words_said_right_before_the_end_are_still_heard(start):
    worker = start("""
        say("faulted", fault="environment", error_class="OSError", message="no space left")
        sys.exit(1)
    """)

    verdict = verdict_on(worker)

    assert (verdict.kind, verdict.message) == (FaultKind.ENVIRONMENT, "OSError: no space left")


def test_a_crash_comes_with_the_last_words_on_standard_error(start):
    worker = start("""
        sys.stderr.buffer.write(b"first" + b"x" * 10000 + b"last words \\xff")
        sys.exit(13)
    """)

    verdict = verdict_on(worker)

    assert (verdict.kind, verdict.message) == (FaultKind.CRASH, "the worker exited with code 13")
    assert verdict.details.endswith("last words \N{REPLACEMENT CHARACTER}")
    assert len(verdict.details) == TAIL_BYTES
    assert "first" not in verdict.details


def test_a_crash_whose_words_were_removed_is_still_judged(start, layout):
    worker = start("sys.exit(13)")
    eventually(lambda: worker._process.poll() is not None, timeout_s=PATIENCE_S)

    stderr_file(layout).unlink()

    assert worker.ended().details is None


def test_a_worker_killed_from_outside_is_a_crash(start):
    worker = start("hear()")

    os.kill(worker.pid, 9)

    assert verdict_on(worker).message == "the worker was killed by SIGKILL"


def test_telling_something_to_a_worker_that_is_gone_fails_nothing(start):
    worker = start("")
    verdict_on(worker)

    worker.send(Pause())

    assert not worker.is_connected
    assert worker.events() == []


def test_a_worker_that_hangs_up_is_not_connected_any_more_though_it_lives(start):
    worker = start("""
        channel.close()
        time.sleep(60)
    """)

    eventually(lambda: worker.events() == [] and not worker.is_connected, timeout_s=PATIENCE_S)

    assert worker.ended() is None


@pytest.mark.parametrize("late_s, is_killed", [(-0.1, False), (0.0, True), (5.0, True)])
def test_a_worker_is_killed_only_when_its_time_is_up(start, late_s, is_killed):
    clock = FakeClock(1000.0)
    worker = start(
        """
        say("heartbeat", section="idle")
        time.sleep(60)
        """,
        clock,
    )
    heard(worker)

    worker.dismiss_by(1010.0)
    clock.now = 1010.0 + late_s
    worker.ended()

    if is_killed:
        assert verdict_on(worker).message == "the worker was killed by SIGKILL"
    else:
        assert worker.ended() is None


@pytest.mark.parametrize("how", ["deadline", "kill"])
def test_everything_the_worker_started_ends_with_it(start, how):
    worker = start("""
        child = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(60)"])
        say("heartbeat", section="idle", detail=str(child.pid))
        time.sleep(60)
    """)
    child = psutil.Process(int(heard(worker)[0].detail))

    if how == "kill":
        worker.kill()
    else:
        worker.dismiss_by(0.0)
        verdict_on(worker)

    eventually(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, timeout_s=PATIENCE_S)


def test_killing_a_worker_that_has_ended_fails_nothing(start):
    worker = start("""say("leaving", reason="done")""")
    verdict_on(worker)

    worker.kill()


def test_the_last_word_counts_even_if_it_was_heard_long_before(start):
    worker = start("""
        say("leaving", reason="done")
        say("heartbeat", section="idle")
    """)

    events = heard(worker, 2)

    assert events[0] == Leaving(reason="done")
    assert verdict_on(worker).kind is None
