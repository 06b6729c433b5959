"""training_health diagnose, run as a person runs it."""

import json

import pytest

from daemon.cli.document import json_schema
from daemon.cli.training_health import app
from tests.daemon.cli.runner import runner_of
from tests.daemon.diagnosis.made_runs import MadeRun
from tests.json_schema import violations

run = runner_of(app)
TERMINAL = {"COLUMNS": "80", "LINES": "24"}


def leaping(layout, name="a.jsonl"):
    """Write a training whose loss leaps."""
    made = MadeRun(layout, 1)
    losses = made.falling(1000)
    for place in range(300, 1000, 100):
        losses[place] *= 5
    made.train(made.file(name=name), losses, norms=[made.noisy(0.3, 0.1) for _ in losses])
    made.end()


def test_a_healthy_training_is_nothing_unusual_and_what_is_missing_is_said(layout):
    made = MadeRun(layout, 1)
    made.train(made.file(), made.falling(300))
    made.end()

    result = run(layout, "diagnose", env=TERMINAL)

    assert result.exit_code == 0
    first, *others = result.stdout.splitlines()
    assert first == "nothing unusual; 300 steps read, from 1 to 300"
    assert "  spikes                  ok: loss and gradient norm of 300 steps" in others
    missing = "not enough data: no validation file is set (validation.file)"
    assert f"  overfitting             {missing}" in others


def test_an_illness_is_shown_with_its_picture_and_what_to_do_in_80_columns(layout):
    pytest.importorskip("plotext")
    leaping(layout)

    result = run(layout, "diagnose", env=TERMINAL)

    assert result.exit_code == 1
    assert "spikes: the loss has leapt 7 times in the newest 1,000 steps, at most" in result.stdout
    assert "    cost: a leap every 143 steps" in result.stdout
    assert "    -> set training.max_grad_norm to 0.3, it was 1 (" in result.stdout
    assert "    -> training_data report a.jsonl (" in result.stdout
    assert "found: 1; 1,000 steps read, from 1 to 1,000" in result.stdout
    assert any(0x2800 < ord(char) < 0x2900 for char in result.stdout)
    assert max(map(len, (line for line in result.stdout.splitlines() if "│" in line))) <= 80


def test_a_file_whose_name_needs_quotes_is_quoted_in_the_command(layout):
    leaping(layout, "my file.jsonl")

    assert "-> training_data report 'my file.jsonl' (" in run(layout, "diagnose").stdout


def test_the_document_has_the_illness_its_evidence_and_a_series(layout):
    leaping(layout)

    result = run(layout, "diagnose", "--json")

    assert result.exit_code == 1
    document = json.loads(result.stdout)
    definitions = json_schema()["$defs"]
    assert violations(document, definitions["training_health diagnose"], definitions) == []
    [finding] = document["findings"]
    assert finding["illness"] == "spikes"
    assert max(point["value"] for point in finding["series"]["points"]) > 4
    assert finding["changes"][0]["setting"] == "training.max_grad_norm"
    states = {item["illness"]: item["result"] for item in document["examined"]}
    assert states["spikes"] == "found"
    assert states["plateau"] == "nothing"


def test_where_nothing_was_trained_there_is_nothing_to_diagnose(layout):
    result = run(layout, "diagnose")

    assert (result.exit_code, result.stdout) == (
        0,
        "nothing was trained yet, so there is nothing to diagnose\n",
    )


def test_a_ledger_that_cannot_be_read_is_an_error(layout):
    layout.ledger_file.write_text("no database")

    result = run(layout, "diagnose")

    assert result.exit_code == 1
    assert "expected a ledger" in str(result.exception)
