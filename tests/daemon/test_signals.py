"""What real signals do to a whole daemon, and what the service manager hears meanwhile."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.daemon.rig import QUICK
from tests.daemon.service_socket import ServiceSocket
from tests.support import PATIENCE_S, eventually, rows, write_jsonl
from trainer.protocol.files import read_json, write_json

pytestmark = pytest.mark.long
ROOT = Path(__file__).parent.parent.parent
RUN = """
import sys
from pathlib import Path
from daemon.app import run_daemon
from tests.daemon.rig import FakeLauncher
base, drain, *misbehaviour = sys.argv[1:]
launcher = FakeLauncher(**dict(pair.split("=") for pair in misbehaviour))
sys.exit(run_daemon(Path(base), drain=drain == "once", launcher=launcher))
"""


class RunningDaemon:
    """A daemon in a process of its own that trains `a.jsonl` and holds before its second step."""

    def __init__(self, layout, *misbehaviour, drain=""):
        self.layout = layout
        self.manager = ServiceSocket(str(layout.logs / "notify"))
        self.said = []
        layout.config_file.write_text(json.dumps({"daemon": QUICK}))
        write_jsonl(layout.inbox / "a.jsonl", rows(3))
        self.process = subprocess.Popen(
            [sys.executable, "-c", RUN, str(layout.base), drain, "FAKE_HOLD=a.jsonl:2", *misbehaviour],
            cwd=ROOT,
            env=os.environ | self.manager.environment | {"WATCHDOG_USEC": "100000"},
            stderr=subprocess.DEVNULL,
        )
        self.until_said("STATUS=training")

    def until_said(self, word):
        def is_said():
            self.said += self.manager.heard()
            return word in self.said

        eventually(is_said, timeout_s=PATIENCE_S, what=word)

    def worker_pid(self):
        return read_json(self.layout.status_file)["worker_pid"]

    def close(self):
        self.process.kill()
        self.process.wait()
        self.manager.close()


@pytest.fixture
def start(layout):
    started = []

    def start(*misbehaviour, **options):
        started.append(RunningDaemon(layout, *misbehaviour, **options))
        return started[-1]

    yield start
    for running in started:
        running.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_saves_at_the_step_boundary_and_leaves_without_a_fault(start, layout, number):
    daemon = start()

    daemon.process.send_signal(number)

    assert daemon.process.wait(PATIENCE_S) == 0
    assert read_json(layout.models / "fake_progress.json")["step"] == 1
    assert (layout.processing / "a.jsonl").exists()
    assert read_json(layout.status_file)["status"] == "stopped"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_once_that_a_signal_interrupts_leaves_with_the_code_of_the_signal_and_says_so(start, layout, number):
    daemon = start(drain="once")

    daemon.process.send_signal(number)

    assert daemon.process.wait(PATIENCE_S) == 128 + number
    assert f"interrupted by {number.name}; the next start continues" in (
        layout.logs / "daemon.log"
    ).read_text(encoding="utf-8")
    assert read_json(layout.status_file)["status"] == "stopped"


def test_once_that_a_signal_interrupts_in_a_pause_promises_no_continuation(start, layout):
    daemon = start(drain="once")
    write_json(layout.pause_file, {"reason": None}, durable=False)

    daemon.process.send_signal(signal.SIGINT)

    assert daemon.process.wait(PATIENCE_S) == 130
    assert (
        "interrupted by SIGINT; the next start is paused, until: training_controller resume --base-dir "
        in (layout.logs / "daemon.log").read_text(encoding="utf-8")
    )


def test_the_second_signal_does_not_wait_for_a_worker_that_does_not_leave(start, layout):
    daemon = start("FAKE_DEAF=1")
    eventually(daemon.worker_pid, timeout_s=PATIENCE_S)
    worker = psutil.Process(daemon.worker_pid())
    daemon.process.send_signal(signal.SIGTERM)
    daemon.until_said("STATUS=stopping: at the next step")

    daemon.process.send_signal(signal.SIGTERM)

    assert daemon.process.wait(PATIENCE_S) == 0
    assert not worker.is_running()
    assert (layout.processing / "a.jsonl").exists()


def test_a_closing_terminal_is_no_reason_to_stop(start):
    daemon = start()

    daemon.process.send_signal(signal.SIGHUP)
    daemon.manager.heard()  # what it said before
    daemon.said.clear()

    daemon.until_said("WATCHDOG=1")
    assert daemon.process.poll() is None


def test_the_service_manager_hears_of_start_life_and_end(start):
    daemon = start()
    daemon.until_said("WATCHDOG=1")

    daemon.process.send_signal(signal.SIGTERM)

    assert daemon.process.wait(PATIENCE_S) == 0
    daemon.until_said("STOPPING=1")
    words = [word for word in daemon.said if word in ("READY=1", "STATUS=training", "STOPPING=1")]
    assert words == ["READY=1", "STATUS=training", "STOPPING=1"]
