"""The real worker, with torch and a tiny model, trains for a daemon that it shares TCP and a folder with."""

import json

import pytest

from daemon.supervision.launcher import worker_environment
from tests.daemon.elsewhere.launcher import REAL
from trainer.protocol.job import Outcome
from trainer.protocol.messages import CONNECTION_LOST

PATIENCE_S = 240.0  # it imports torch, twice, on a machine that may be busy
NUM_ROWS = 200
TRAINING = {"batch_size": 2, "gradient_accumulation": 1, "cpu_threads": 1}


@pytest.fixture
def far_with_torch(rig, far, monkeypatch):
    monkeypatch.setattr("tests.daemon.rig.PATIENCE_S", PATIENCE_S)
    rig.configure(model={"base_model": "tiny"}, training=TRAINING)
    far.command = REAL
    far.environment = worker_environment()
    return far


@pytest.mark.loads_torch
def test_a_file_is_trained_elsewhere_and_every_row_once_though_the_network_fails(rig, far_with_torch):
    rig.start().drop("a.jsonl", NUM_ROWS)
    rig.until(lambda: (rig.status()["current_step"] or 0) >= 3, "three steps")

    far_with_torch.cut()

    rig.until_in(Outcome.COMPLETED, "a.jsonl")
    first, second = far_with_torch.launched
    assert rig.stop() == 0
    assert (first.poll(), second.poll()) == (CONNECTION_LOST, 0)
    assert first.signals == second.signals == []
    manifest = json.loads((rig.layout.models / "current_model" / "MANIFEST.json").read_text())
    assert manifest["progress"]["global_step"] == NUM_ROWS / 2
    [trained] = rig.read("SELECT count(*) AS steps, sum(rows) AS num_rows FROM steps")
    assert (trained["steps"], trained["num_rows"]) == (NUM_ROWS / 2, NUM_ROWS)
    assert rig.read("SELECT attempts FROM jobs")[0]["attempts"] == 0
