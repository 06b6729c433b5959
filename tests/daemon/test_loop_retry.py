"""What follows from the end of a worker, and from what a worker that goes on complains about."""

import json
from contextlib import closing

import pytest

from daemon.ledger.ledger import Ledger
from tests.support import FakeClock
from trainer.protocol.job import Outcome


def reason_of(rig, name="a.jsonl"):
    rig.until_in(Outcome.FAILED, name, f"{name}.reason.json")
    return json.loads((rig.layout.failed / f"{name}.reason.json").read_text())


# ---- a loss that is not finite


def test_steps_that_bring_the_worker_down_are_left_out_and_the_rest_is_trained(rig):
    rig.launcher.environment = {"FAKE_NAN_AT": "a.jsonl:2,a.jsonl:4"}
    rig.start()

    rig.drop("a.jsonl", 5)

    rig.until_in(Outcome.COMPLETED, "a.jsonl")
    [job] = rig.read("SELECT * FROM jobs")
    assert [row["file_step"] for row in rig.read("SELECT * FROM steps")] == [1, 3, 5]
    assert (job["attempts"], job["left_out"]) == (0, "[[1, 1], [3, 3]]")
    assert len(rig.launcher.launched) == 3
    assert rig.events("left_out")[0].startswith("a.jsonl: step 2 left out: FakeFault: the loss is nan")
    rig.until(lambda: any("step 4 left out" in alert for alert in rig.status()["alerts"]), "the alert")


def test_a_file_with_losses_not_finite_in_three_places_fails_and_the_next_is_trained(rig):
    rig.launcher.environment = {"FAKE_NAN_AT": "a.jsonl:1,a.jsonl:3,a.jsonl:4"}
    rig.start()

    rig.drop("a.jsonl", 5)
    rig.drop("b.jsonl")

    rig.until_in(Outcome.COMPLETED, "b.jsonl")
    reason = reason_of(rig)
    assert (reason["kind"], reason["attempts"]) == ("nan", 3)
    assert reason["message"].endswith("nan at a.jsonl:4 (step 4); left out before: step 1, step 3")
    assert len(rig.launcher.launched) == 4


def test_a_step_that_was_not_applied_is_noted_with_its_lines_and_shown(rig):
    rig.launcher.environment = {"FAKE_NOT_APPLIED": "a.jsonl:2"}
    rig.start()

    rig.drop("a.jsonl")

    rig.until_in(Outcome.COMPLETED, "a.jsonl")
    [noted] = rig.read("SELECT * FROM not_applied")
    message = "a.jsonl: step 2 was not applied: the loss is nan"
    assert (noted["file_step"], noted["reason"], noted["lines"]) == (2, "the loss is nan", "[2]")
    assert rig.events("not_applied") == [message]
    rig.until(lambda: message in rig.status()["alerts"], "the alert")


def test_a_loss_that_is_not_finite_is_recorded_once_when_it_begins_and_once_when_it_ends(rig):
    rig.launcher.environment = {"FAKE_NOT_APPLIED": "a.jsonl:2"}
    rig.start()

    rig.drop("a.jsonl", 5)

    rig.until_in(Outcome.COMPLETED, "a.jsonl")
    rig.until(lambda: rig.events("loss_finite"), "the end")
    assert rig.events("loss_not_finite") == ["the loss of step 2 is not a finite number"]
    assert rig.events("loss_finite") == ["the loss is a finite number again at step 3"]
    assert not any("not a finite number" in alert for alert in rig.status()["alerts"])


# ---- memory


@pytest.mark.parametrize("tokens", [100, "auto"])  # of which the worker makes 100, too
def test_a_file_that_does_not_fit_into_memory_is_tried_with_half_as_many_tokens_at_once(rig, tokens):
    rig.configure(training={"micro_batch_tokens": tokens})
    rig.launcher.environment = {"FAKE_MEMORY": "a.jsonl:49"}
    rig.start()

    rig.drop("a.jsonl")

    rig.until_in(Outcome.COMPLETED, "a.jsonl")
    [job] = rig.read("SELECT * FROM jobs")
    assert (job["attempts"], job["micro_batch_tokens"]) == (2, 25)
    assert [row["kind"] for row in rig.read("SELECT * FROM crashes")] == ["gpu_out_of_memory"] * 2


def test_a_file_that_never_fits_fails_after_its_attempts(rig):
    rig.configure(training={"micro_batch_tokens": 2})
    rig.launcher.environment = {"FAKE_MEMORY": "a.jsonl:0"}
    rig.start()

    rig.drop("a.jsonl")

    reason = reason_of(rig)
    assert (reason["kind"], reason["attempts"]) == ("gpu_out_of_memory", 3)
    assert rig.read("SELECT * FROM jobs")[0]["micro_batch_tokens"] == 1


@pytest.mark.parametrize("stops_at, known", [(1, None), (2, 25)])  # from 2 on there is a cursor
def test_what_was_learned_with_settings_that_were_let_go_counts_only_for_a_job_that_has_begun(
    rig, stops_at, known
):
    rig.configure(training={"micro_batch_tokens": "auto"})
    rig.launcher.environment = {"FAKE_HOLD": f"a.jsonl:{stops_at}"}
    rig.start()
    rig.drop("a.jsonl")
    rig.until_training("a.jsonl")
    assert rig.stop() == 0
    [job] = rig.read("SELECT * FROM jobs")
    with closing(Ledger(rig.layout.ledger_file, clock=FakeClock())) as ledger:
        ledger.limit_micro_batch(job["id"], 25)
        ledger.freeze_settings(job["id"], None)  # as after a bad configuration
        ledger.commit()

    rig.configure(training={"micro_batch_tokens": 300})
    rig.launcher.environment = {}
    rig.start()

    rig.until_in(Outcome.COMPLETED, "a.jsonl")
    assert rig.read("SELECT * FROM jobs")[0]["micro_batch_tokens"] == known


# ---- what a worker that goes on complains about


def test_a_worker_that_cannot_save_shows_as_blocked_until_it_can_and_loses_nothing(rig):
    rig.launcher.environment = {"FAKE_BLOCK": "a.jsonl:2"}
    rig.start()
    rig.drop("a.jsonl")

    shown = rig.until_status("blocked", status_reason="no space left")
    is_still_there = (rig.layout.processing / "a.jsonl").exists()
    rig.go()

    rig.until_in(Outcome.COMPLETED, "a.jsonl")
    rig.until(lambda: "no space left" not in rig.status()["alerts"], "the end of the alert")
    assert "no space left" in shown["alerts"]
    assert is_still_there
    assert rig.events("worker_blocked") == ["blocked: no space left"]
    assert len(rig.launcher.launched) == 1


def test_a_worker_that_cannot_save_shows_as_blocked_even_while_paused(rig):
    rig.launcher.environment = {"FAKE_BLOCK": "pause", "FAKE_HOLD": "a.jsonl:2"}
    rig.start()
    rig.drop("a.jsonl")
    rig.until_training("a.jsonl")

    rig.command("pause")

    rig.until_status("blocked", status_reason="no space left")
    rig.go()
    rig.until_status("paused")


def test_what_blocked_a_worker_is_gone_with_it(rig):
    rig.launcher.environment = {"FAKE_BLOCK": "a.jsonl:2"}
    rig.start()
    rig.drop("a.jsonl")
    rig.until_status("blocked")
    rig.launcher.environment = {}

    rig.launcher.launched[0].kill()

    rig.until_in(Outcome.COMPLETED, "a.jsonl")
    rig.until_status("idle")
    assert "no space left" not in rig.status()["alerts"]


def test_a_notice_is_shown_and_noted(rig):
    rig.launcher.environment = {"FAKE_NOTICE": "the loss jumped"}
    rig.start()

    rig.drop("a.jsonl")

    rig.until(lambda: "the loss jumped" in rig.status()["alerts"], "the alert")
    rig.until(lambda: rig.events("notice") == ["the loss jumped"], "the event")


# ---- crashes


def test_every_crash_is_noted_with_the_place_it_happened_at(rig):
    rig.launcher.environment = {"FAKE_CRASH": "a.jsonl:3"}
    rig.start()

    rig.drop("a.jsonl")

    reason_of(rig)
    rig.until(lambda: len(rig.read("SELECT * FROM crashes")) == 3, "three crashes")
    [first, *_] = rig.read("SELECT * FROM crashes ORDER BY id")
    assert (first["kind"], first["display"], first["file_step"]) == ("crash", "a.jsonl", 2)
    assert first["message"] == "the worker exited with code 13"
    assert first["details"] == "segmentation fault at a.jsonl:3"


def test_a_worker_that_leaves_as_told_has_not_died(rig):
    rig.start()
    rig.drop("a.jsonl")
    rig.until_in(Outcome.COMPLETED, "a.jsonl")

    rig.stop()

    assert len(rig.events("worker_left")) == 1
    assert rig.read("SELECT * FROM crashes") == []
