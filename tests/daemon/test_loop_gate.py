"""The gate refuses a file: the model goes back, the file fails with the evidence, and training goes on."""

import json

import pytest

from daemon.commands import Commands
from daemon.ledger.gate_verdicts import read_verdicts
from tests.daemon.test_loop_going_back import trained  # noqa: F401 - a fixture
from tests.health import damage, publish
from trainer.protocol.job import JobRecord, Outcome
from trainer.protocol.layout import Layout
from trainer.protocol.manifest import Progress

BEFORE = "step-000000006-2"


@pytest.fixture
def judging(trained):  # noqa: F811
    """The daemon with two trained files, and a worker that will refuse what comes."""

    def judging(*names, checkpoint=BEFORE):
        trained.stop()
        # What the fake worker does not write: the state after the files that are refused
        progress = Progress(global_step=6 + 3 * len(names), finished=records(trained.layout))
        publish(trained.layout, 3, progress=progress)
        trained.launcher.environment["FAKE_GATE"] = f"{','.join(names)}:{checkpoint}"
        trained.start()
        trained.command("resume")
        trained.until_answered("resume")
        for name in names:
            trained.drop(name)
        return trained

    return judging


def records(layout: Layout) -> list[JobRecord]:
    manifest = json.loads((layout.models / "checkpoints" / BEFORE / "MANIFEST.json").read_bytes())
    return [JobRecord.model_validate(record) for record in manifest["progress"]["finished"]]


def note(rig, name):
    return json.loads((rig.layout.failed / f"{name}.reason.json").read_bytes())


def steps(rig):
    return [row["global_step"] for row in rig.read("SELECT global_step FROM steps ORDER BY global_step")]


def test_a_refused_file_fails_and_the_model_is_what_it_was(judging):
    rig = judging("bad.jsonl")

    rig.until(lambda: rig.events("went_back"), "the end of it")
    assert note(rig, "bad.jsonl")["kind"] == "regression"
    assert note(rig, "bad.jsonl")["message"] == (
        "regression: the loss rose by 92 %; the model went back from step 9 to step 6; to train this file "
        "all the same: training_queue retry failed/bad.jsonl --admit"
    )
    assert steps(rig) == [1, 2, 3, 4, 5, 6]
    assert (rig.layout.models / "current_model").resolve().name == "step-000000006"
    rig.until_in(Outcome.COMPLETED, "a.jsonl", "b.jsonl")


def test_the_verdict_is_kept_with_its_branch(judging):
    rig = judging("bad.jsonl")
    rig.until_in(Outcome.FAILED, "bad.jsonl")

    [verdict] = read_verdicts(rig.layout.ledger_file, limit=9)

    assert (verdict.outcome, verdict.branch, verdict.global_step) == ("refused", 0, 9)
    assert rig.events("gate_refused") == ["the gate: refused: bad.jsonl: the loss rose by 92 %"]


def test_of_several_files_each_is_trained_again_from_its_first_row(judging):
    rig = judging("c.jsonl", "d.jsonl")
    rig.until(lambda: rig.events("gate_refused"), "the verdict")
    rig.launcher.environment.clear()

    rig.until_in(Outcome.COMPLETED, "c.jsonl", "d.jsonl")

    assert [branch["why"] for branch in rig.read("SELECT why FROM branches")] == ["gate"]
    [event] = rig.events("gate_refused")
    assert event.endswith("; each of these 2 files is judged alone")
    assert list(rig.layout.failed.glob("*.jsonl")) == []


def test_what_cannot_be_undone_is_an_alert_and_is_tried_again(judging):
    rig = judging("bad.jsonl", checkpoint="step-000000005")

    rig.until(lambda: rig.events("gate_stuck"), "the alert")

    assert "step-000000005" in rig.events("gate_stuck")[0]
    rig.until(lambda: len(rig.events("gate_refused")) > 1, "another try")
    assert list(rig.layout.failed.glob("*.jsonl")) == []


def test_a_damaged_checkpoint_is_found_before_anything_changes(judging, trained):  # noqa: F811
    damage(trained.layout.models / "checkpoints" / BEFORE)

    rig = judging("bad.jsonl")

    rig.until(lambda: rig.events("gate_stuck"), "the alert")
    assert "has a different SHA-256" in rig.events("gate_stuck")[0]
    assert rig.read("SELECT * FROM branches") == []


def test_a_worker_that_dies_after_its_verdict_changes_nothing(judging, trained):  # noqa: F811
    trained.launcher.environment["FAKE_DIE_JUDGING"] = "1"

    rig = judging("bad.jsonl")

    rig.until(lambda: rig.events("went_back"), "the end of it")
    assert note(rig, "bad.jsonl")["kind"] == "regression"
    assert steps(rig) == [1, 2, 3, 4, 5, 6]


def test_a_daemon_that_ends_before_the_model_went_back_lets_it_go_back_at_the_next_start(judging):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Commands, "obey_gate", lambda self, verdict: True)  # it comes no further
        rig = judging("bad.jsonl")
        rig.until(lambda: rig.events("gate_refused"), "the verdict")
        rig.stop()

    rig.start()

    rig.until(lambda: rig.events("went_back"), "the end of it")
    assert note(rig, "bad.jsonl")["kind"] == "regression"
    assert len(rig.events("gate_refused")) == 2
