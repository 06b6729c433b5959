"""The files that W&B keeps offline have each step once, also after kill -9."""

import json
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest

from daemon.tracking.to_wandb import Wandb
from daemon.tracking.tracker import NotSent, UnusableTracker
from daemon.tracking.wandb_files import RunFile
from tests.daemon.tracking.life import crash, evaluate, follow, go_back, train
from tests.support import FakeClock
from trainer.config.tracking_settings import WandbOptions

pytestmark = pytest.mark.long

KILLED = """
import os, signal, sys
left = int(sys.argv.pop())
from daemon.tracking.to_wandb import Wandb

def killed(self, row, before=Wandb._values_of):
    global left
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    left -= 1
    return before(self, row)

Wandb._values_of = killed
from daemon.tracking.__main__ import main
main()
"""
OFFLINE = WandbOptions(mode="offline")


@pytest.fixture
def folder(layout):
    return layout.base / "logs" / "wandb"


@pytest.fixture
def tracker(folder):
    return Wandb(OFFLINE, folder, before=None)


def rows(folder):
    """Return what each run has logged, with all of its files one after the other."""
    found = {}
    for file in sorted(folder.glob("wandb/offline-run-*/run-*.wandb")):
        logged = [{key: json.loads(text) for key, text in row.items()} for row in RunFile(file).new_rows()]
        found.setdefault(file.stem, []).extend(logged)
    return found


def steps(folder, run=0):
    return [row["global_step"] for row in list(rows(folder).values())[run] if "train/loss" in row]


def test_what_is_logged_is_in_the_file(layout, ledger, tracker, folder):
    ledger.add_event("started", "training a.jsonl", "1", {"file": "a.jsonl", "first_step": 0})
    train(ledger, 1, 2)
    evaluate(ledger, 2)

    follow(layout, tracker)

    [logged] = rows(folder).values()
    assert [row["_step"] for row in logged] == list(range(1, len(logged) + 1))
    assert steps(folder) == [1, 2]
    assert logged[0]["notes/file"] == "training a.jsonl"
    assert [row["previews/Say hi/_type"] for row in logged if "previews/Say hi/_type" in row] == [
        "table-file"
    ]


def test_a_crash_repeats_no_step_and_a_branch_is_a_run_of_its_own(layout, ledger, folder):
    train(ledger, 1, 2, 3)
    follow(layout, Wandb(OFFLINE, folder, before=None))
    crash(ledger, 1)
    train(ledger, 2, 3, 4)
    go_back(ledger, 1, to=2, left=4, branches=[])
    train(ledger, 3)
    follow(layout, Wandb(OFFLINE, folder, before=None))

    assert [steps(folder, 0), steps(folder, 1)] == [[1, 2, 3, 4], [3]]
    first, second = rows(folder)
    assert second == f"{first}-b1"


def test_kill_9_loses_and_repeats_nothing(layout, ledger, folder):
    layout.config_file.write_text('{"tracking": {"wandb": {"mode": "offline"}}}')
    train(ledger, *range(1, 501))
    run = ["wandb", "--once", "--base-dir", str(layout.base)]

    killed = subprocess.run([sys.executable, "-P", "-c", KILLED, *run, "300"], check=False)
    train(ledger, 501)
    subprocess.run([sys.executable, "-P", "-m", "daemon.tracking", *run], check=True)

    assert killed.returncode == -signal.SIGKILL
    assert steps(folder) == list(range(1, 502))


def test_online_rows_are_safe_when_the_server_has_them(folder):
    clock = FakeClock(0.0)
    at_server = SimpleNamespace(lastHistoryStep=3)
    tracker = Wandb(OFFLINE, folder, before=None, clock=clock)
    tracker._options = WandbOptions(mode="online")
    tracker._wandb = SimpleNamespace(Api=lambda **_: SimpleNamespace(run=lambda place: at_server))
    tracker._run = SimpleNamespace(entity="me", project="p")
    tracker._sent, tracker._looked_at, tracker._arrived_at = 5, 0.0, 0.0

    found = []
    for now, last in ((1.0, 3), (21.0, 3), (42.0, 5)):
        clock.now, at_server.lastHistoryStep = now, last
        found.append(tracker.confirmed())

    assert found == [0, 3, 5]
    tracker._sent, clock.now = 6, 42.0 + 601
    with pytest.raises(UnusableTracker, match="no row for 600 s"):
        tracker.confirmed()


def test_online_needs_a_key(monkeypatch, folder, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))

    with pytest.raises(UnusableTracker, match="WANDB_API_KEY"):
        Wandb(WandbOptions(), folder, before=None)


def test_a_server_that_is_away_is_tried_again(monkeypatch, folder):
    tracker = Wandb(OFFLINE, folder, before=None)

    def refuse(**_):
        raise tracker._wandb.errors.CommError("refused")

    monkeypatch.setattr("wandb.init", refuse)

    with pytest.raises(NotSent, match="refused"):
        tracker.open(SimpleNamespace(id="r", name="r", lineage="r", branch=0, from_step=0, from_run=None))
