"""The clock of the machine jumps: order, retention, commands and settling do not care."""

import itertools
import os
import time
from functools import partial

import pytest

from daemon.intake.settling import Settling
from daemon.jobs.job_ids import JobIds
from daemon.status.board import StatusBoard
from tests.faults.transitions import save_checkpoint
from tests.support import rows, write_jsonl
from trainer.checkpoints.store import CheckpointStore
from trainer.protocol.job import Outcome

HOUR_S, YEAR_S = 3600.0, 365 * 86400.0
JUMPS = pytest.mark.parametrize(
    "jump_s", [-YEAR_S, -HOUR_S, HOUR_S, YEAR_S], ids=["-1y", "-1h", "+1h", "+1y"]
)


@pytest.fixture
def jump(monkeypatch):
    """Set the clock of this process forward or back."""
    real_ns, offset_ns = time.time_ns, 0

    def now_ns():
        return real_ns() + offset_ns

    def now():
        return now_ns() / 1e9

    def jump(seconds):
        nonlocal offset_ns
        offset_ns = int(seconds * 1e9)

    monkeypatch.setattr(time, "time", now)
    monkeypatch.setattr(time, "time_ns", now_ns)
    # These have taken hold of the real clock when they were imported
    monkeypatch.setattr("daemon.app.JobIds", partial(JobIds, clock=now))
    monkeypatch.setattr("daemon.app.StatusBoard", partial(StatusBoard, wall_clock=now))
    return jump


@JUMPS
def test_files_are_trained_in_the_order_in_which_they_came(rig, jump, jump_s):
    rig.launcher.environment = {"FAKE_HOLD": "first.jsonl:2"}
    rig.start()
    for name in ("first.jsonl", "second.jsonl"):
        rig.drop(name, 2)
        rig.until(lambda name=name: name in str(rig.events("accepted")), f"{name} in the queue")
    jump(jump_s)
    rig.drop("third.jsonl", 2)
    rig.until(lambda: "third.jsonl" in str(rig.events("accepted")), "third.jsonl in the queue")

    rig.go()

    rig.until_in(Outcome.COMPLETED, "first.jsonl", "second.jsonl", "third.jsonl")
    trained = rig.read(
        "SELECT DISTINCT display FROM steps JOIN jobs ON jobs.id = job_id ORDER BY global_step"
    )
    assert [row["display"] for row in trained] == ["first.jsonl", "second.jsonl", "third.jsonl"]


@JUMPS
def test_commands_are_obeyed_and_a_pause_holds_over_a_restart(rig, jump, jump_s):
    rig.start().until_status("idle")
    jump(jump_s)
    rig.command("pause")
    rig.until_answered("pause")
    rig.stop()

    rig.start()
    rig.drop("a.jsonl")
    rig.until(lambda: rig.events("accepted"), "a.jsonl in the queue")
    rig.until_status("paused")
    rig.command("resume")

    rig.until_in(Outcome.COMPLETED, "a.jsonl")


@JUMPS
def test_a_file_settles_whatever_its_time_of_change(tmp_path, jump, jump_s):
    path = write_jsonl(tmp_path / "a.jsonl", rows(1))
    settling = Settling(settle_s=1.0, settle_slow_s=5.0)
    settling.notice(path, renamed_in=False, now=100.0)
    assert settling.settled(100.0) == ([], [])

    jump(jump_s)
    os.utime(path, (time.time(), time.time()))  # somebody writes to it after the jump

    assert [settling.settled(now)[0] for now in (101.0, 101.9, 102.0)] == [[], [], [path]]


def test_the_newest_checkpoints_stay_whatever_the_clock_and_the_times_of_files_say(tmp_path):
    jumps = itertools.cycle([0.0, -YEAR_S, HOUR_S, YEAR_S, -HOUR_S])
    now = 2e9
    store = CheckpointStore(tmp_path, clock=lambda: now)
    store.newest_verified()

    for step in range(1, 8):
        now = 2e9 + next(jumps)
        save_checkpoint(store, step)
        os.utime(tmp_path / "current_model" / "..", (now, now))
        os.utime((tmp_path / "current_model").resolve(), (now, now))

    left = {path.name for path in (tmp_path / "checkpoints").iterdir()}
    assert left == {"step-000000006", "step-000000007"}
    assert CheckpointStore(tmp_path).newest_verified().manifest.progress.global_step == 7
