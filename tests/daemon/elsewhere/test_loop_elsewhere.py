"""The whole daemon with a worker that is not a process of its machine, as far as it can tell."""

import json
import os
import signal

import psutil
import pytest

from tests.support import eventually
from trainer.protocol.job import Outcome
from trainer.protocol.messages import CONNECTION_LOST

PATIENCE_S = 10.0


pytestmark = pytest.mark.long


def charged(rig):
    """Return the attempts that the only file has paid for."""
    [job] = rig.read("SELECT * FROM jobs")
    return job["attempts"]


def reason_of(rig, name):
    rig.until_in(Outcome.FAILED, name, f"{name}.reason.json")
    return json.loads((rig.layout.failed / f"{name}.reason.json").read_text())


def test_a_file_is_trained_by_a_worker_that_is_no_descendant_of_the_daemon(rig, far):
    far.environment = {"FAKE_HOLD": "a.jsonl:2"}
    rig.start().drop("a.jsonl")
    shown = rig.until_training("a.jsonl")
    ancestors = [process.pid for process in psutil.Process(far.launched[0].real_pid).parents()]

    rig.go()

    rig.until_in(Outcome.COMPLETED, "a.jsonl")
    assert os.getpid() not in ancestors
    assert not psutil.pid_exists(shown["worker_pid"])
    assert [row["file_step"] for row in rig.read("SELECT * FROM steps ORDER BY global_step")] == [1, 2, 3]
    assert len(far.launched) == 1


def test_the_memory_in_the_status_is_that_of_the_worker_elsewhere(rig, far):
    rig.start().drop("a.jsonl")
    rig.until_in(Outcome.COMPLETED, "a.jsonl")

    shown = rig.until(lambda: rig.status()["memory"]["worker_rss_bytes"], "the memory of the worker")

    assert shown > 1_000_000


def test_pause_and_resume_reach_a_worker_elsewhere(rig, far):
    far.environment = {"FAKE_HOLD": "a.jsonl:2"}
    rig.start().drop("a.jsonl")
    rig.until_training("a.jsonl")

    rig.command("pause")
    paused = rig.until_answered("pause")
    rig.go()
    rig.command("resume")

    assert paused == "paused"
    rig.until_in(Outcome.COMPLETED, "a.jsonl")


def test_a_stop_has_a_worker_elsewhere_save_and_leave(rig, far):
    far.environment = {"FAKE_HOLD": "a.jsonl:3"}
    rig.start().drop("a.jsonl")
    rig.until_training("a.jsonl")

    assert rig.stop() == 0

    assert far.launched[0].poll() == 0
    assert far.launched[0].signals == []
    assert json.loads((rig.layout.models / "fake_progress.json").read_text())["step"] == 2


def test_a_worker_elsewhere_that_does_not_leave_is_killed_there(rig, far):
    far.environment = {"FAKE_HOLD": "a.jsonl:2", "FAKE_DEAF": "1"}
    rig.start().drop("a.jsonl")
    rig.until_training("a.jsonl")

    rig.stop_soon()
    rig.until(lambda: rig.status()["status"] == "stopping")
    rig.stop_soon()

    assert rig.left() == 0
    assert far.launched[0].poll() == -signal.SIGKILL


def test_a_worker_that_is_killed_elsewhere_costs_the_file_an_attempt_and_its_last_words_are_shown(rig, far):
    rig.configure(daemon={"max_attempts": 1})
    far.environment = {"FAKE_HOLD": "a.jsonl:2", "FAKE_WORDS": "the fan has stopped"}
    rig.start().drop("a.jsonl")
    rig.until_training("a.jsonl")

    os.kill(far.launched[0].real_pid, signal.SIGKILL)

    reason = reason_of(rig, "a.jsonl")
    assert (reason["kind"], reason["message"]) == ("crash", "the worker was killed by SIGKILL")
    assert reason["details"] == "the fan has stopped"
    assert charged(rig) == 1


def test_a_worker_that_hangs_elsewhere_shows_its_stacks_and_is_killed_in_the_end(rig, far, monkeypatch):
    monkeypatch.setattr("daemon.supervision.worker_process.STACKS_S", 2.0)
    monkeypatch.setattr("daemon.supervision.worker_process.SAVE_S", 0.2)
    rig.configure(daemon={"hang_after_s": 0.5, "hang_ceiling_s": 0.5, "max_attempts": 1})
    far.environment = {"FAKE_HOLD": "a.jsonl:2", "FAKE_STUBBORN": "1"}
    rig.start()

    rig.drop("a.jsonl")

    reason = reason_of(rig, "a.jsonl")
    assert reason["kind"] == "hang"
    assert "most recent call first" in reason["details"]
    assert far.launched[0].signals == [signal.SIGUSR1, signal.SIGTERM, signal.SIGKILL]
    assert far.launched[0].poll() == -signal.SIGKILL


def test_a_worker_that_the_network_has_cut_off_leaves_and_the_next_goes_on_at_no_cost_to_the_file(rig, far):
    far.environment = {"FAKE_HOLD": "a.jsonl:2"}
    rig.start().drop("a.jsonl")
    rig.until(lambda: rig.read("SELECT * FROM steps"), "the first step")
    far.environment = {}

    far.cut()

    rig.until_in(Outcome.COMPLETED, "a.jsonl")
    first, second = far.launched
    assert (first.poll(), first.signals) == (CONNECTION_LOST, [])
    assert second.poll() is None
    assert charged(rig) == 0
    assert [row["file_step"] for row in rig.read("SELECT * FROM steps ORDER BY global_step")] == [1, 2, 3]
    [message] = rig.events("worker_left")
    assert "it lost its connection to the daemon" in message


def test_a_machine_that_is_gone_blocks_and_costs_the_file_nothing(rig, far):
    far.environment = {"FAKE_HOLD": "a.jsonl:2"}
    rig.start().drop("a.jsonl")
    rig.until_training("a.jsonl")
    worker = psutil.Process(far.launched[0].real_pid)

    far.end_agent()

    shown = rig.until_status("blocked")
    assert shown["status_reason"].startswith("the worker cannot be started: ")
    assert charged(rig) == 0
    eventually(lambda: not worker.is_running(), timeout_s=PATIENCE_S)
