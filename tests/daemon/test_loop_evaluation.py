"""What a worker says of its evaluations reaches status, ledger and the file of costs."""

import json

from trainer.protocol.job import Outcome
from trainer.protocol.layout import COSTS_FILE


def test_scores_answers_and_costs_are_kept_and_shown(rig):
    rig.launcher.environment = {"FAKE_EVALUATION": "1"}
    rig.start()
    rig.drop("a.jsonl", 2)
    rig.until_in(Outcome.COMPLETED, "a.jsonl")

    rig.stop()

    assert rig.status()["suite_scores"]["sums"] == {"step": 2, "rows": 2, "exact_match": 0.5, "loss": 1.5}
    answers = [tuple(row) for row in rig.read("SELECT global_step, text FROM previews ORDER BY global_step")]
    assert answers == [(1, "number 1"), (2, "number 2")]
    assert len(rig.read("SELECT * FROM suite_scores")) == 2
    costs = json.loads((rig.layout.status / COSTS_FILE).read_text())
    assert costs["costs"]["previews"]["seconds"] == 0.5
    assert costs["costs"]["previews"]["interval_steps"] == 8
    assert costs["costs"]["data checks"]["seconds"] > 0
    assert costs["training_seconds"] > 0
