"""trackio has each step once. With the real one where TRACKIO_PYTHON or `scripts/setup trackio` has it."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from daemon.tracking.to_trackio import Trackio, default_python
from daemon.tracking.tracker import UnusableTracker
from tests.daemon.tracking.life import Kill, crash, evaluate, follow, go_back, train

PYTHON = Path(os.environ.get("TRACKIO_PYTHON", default_python()))
READ = """
import json, sys
from trackio.sqlite_storage import SQLiteStorage as storage
runs = storage.get_runs("training")
print(json.dumps({run: storage.get_logs("training", run) for run in runs}))
"""

needs_trackio = pytest.mark.skipif(
    not os.access(PYTHON, os.X_OK), reason="no environment with trackio; make it with: scripts/setup trackio"
)


@pytest.fixture
def folder(layout):
    return layout.base / "logs" / "trackio"


def tracker(folder):
    return Trackio(folder, "training", PYTHON)


def logs(folder):
    environment = {**os.environ, "TRACKIO_DIR": str(folder), "HF_HUB_OFFLINE": "1"}
    read = subprocess.run([PYTHON, "-I", "-c", READ], env=environment, capture_output=True, check=True)
    return json.loads(read.stdout.splitlines()[-1])


def steps(folder, run=0):
    return [row["step"] for row in list(logs(folder).values())[run] if "train/loss" in row]


@needs_trackio
@pytest.mark.long
def test_each_row_is_there_once_after_a_kill_and_a_crash(layout, ledger, folder, monkeypatch):
    train(ledger, 1, 2, 3)
    evaluate(ledger, 3)

    def killed():
        raise Kill

    first = tracker(folder)
    monkeypatch.setattr(first, "confirmed", killed)  # stored, and not noted
    with pytest.raises(Kill):
        follow(layout, first)
    first.close()
    crash(ledger, 1)
    train(ledger, 2, 3, 4)
    go_back(ledger, 1, to=2, left=4, branches=[])
    train(ledger, 3)
    follow(layout, tracker(folder))

    assert sorted([steps(folder, 0), steps(folder, 1)]) == [[1, 2, 3, 4], [3]]
    assert [row["previews/Say hi"] for row in logs(folder)[min(logs(folder))] if "previews/Say hi" in row]


def test_an_environment_that_is_missing_is_named_with_the_way_out(folder):
    with pytest.raises(UnusableTracker, match="scripts/setup trackio"):
        Trackio(folder, "training", Path("/nowhere/python"))
