"""What the whole daemon makes of workers that crash, and of an environment that does not work."""

import json

import pytest

from daemon.supervision.supervisor import Supervisor
from trainer.protocol.job import Outcome, Priority


def charged(rig, name="a.jsonl"):
    """Return the attempts that a file has paid for."""
    [job] = rig.read("SELECT * FROM jobs WHERE display=?", name)
    return job["attempts"]


def test_a_file_that_crashes_the_worker_three_times_fails_and_the_next_is_trained(rig):
    rig.launcher.environment = {"FAKE_CRASH": "bad.jsonl:2"}
    rig.start()

    rig.drop("bad.jsonl")
    rig.drop("good.jsonl")

    rig.until_in(Outcome.FAILED, "bad.jsonl", "bad.jsonl.reason.json")
    rig.until_in(Outcome.COMPLETED, "good.jsonl")
    reason = json.loads((rig.layout.failed / "bad.jsonl.reason.json").read_text())
    assert (reason["kind"], reason["attempts"]) == ("crash", 3)
    assert reason["message"] == "the worker exited with code 13"
    assert reason["details"] == "segmentation fault at bad.jsonl:2"
    assert len(rig.launcher.launched) == 4
    assert charged(rig, "good.jsonl") == 0


def test_a_file_that_crashes_once_is_trained_in_the_end(rig):
    rig.launcher.once = {"FAKE_CRASH": "a.jsonl:2"}
    rig.start()

    rig.drop("a.jsonl")

    rig.until_in(Outcome.COMPLETED, "a.jsonl")
    assert [row["file_step"] for row in rig.read("SELECT * FROM steps ORDER BY global_step")] == [1, 2, 3]
    assert charged(rig) == 1


def test_a_finished_file_is_trained_again_when_the_worker_dies_before_its_checkpoint(rig):
    rig.launcher.environment = {"FAKE_HOLD": "a.jsonl:1", "FAKE_CRASH": "b.jsonl:1"}
    rig.start()
    rig.drop("a.jsonl")
    rig.until_training("a.jsonl")
    rig.drop("b.jsonl")
    rig.until(lambda: len(rig.events("accepted")) == 2)

    rig.go()

    rig.until_in(Outcome.FAILED, "b.jsonl")
    rig.until_in(Outcome.COMPLETED, "a.jsonl")
    assert charged(rig, "a.jsonl") == 0
    assert len([message for message in rig.events("trained") if "a.jsonl" in message]) >= 2
    assert rig.read("SELECT count(*) AS n FROM steps")[0]["n"] == 3


def test_a_worker_that_dies_while_it_loads_blames_no_file(rig):
    rig.launcher.environment = {"FAKE_DIE_LOADING": "1"}
    rig.start()
    rig.drop("a.jsonl")
    rig.until(lambda: len(rig.events("worker_crashed")) >= 4, "four workers that died")

    rig.launcher.environment = {}

    rig.until_in(Outcome.COMPLETED, "a.jsonl")
    assert charged(rig) == 0


@pytest.mark.parametrize("fault", ["environment", "bad_config"])
@pytest.mark.parametrize("clears", ["config", "resume"])
def test_a_fault_of_the_environment_blocks_costs_nothing_and_clears(rig, fault, clears):
    rig.launcher.environment = {"FAKE_FAULT": fault}
    rig.start()
    rig.drop("a.jsonl")
    rig.until_status("blocked", status_reason="no space left")
    launched = len(rig.launcher.launched)

    rig.launcher.environment = {}
    if clears == "config":
        rig.configure()
    else:
        rig.command("resume")

    rig.until_in(Outcome.COMPLETED, "a.jsonl")
    assert launched == 1
    assert charged(rig) == 0
    assert rig.until_status("idle")["status_reason"] is None


def test_a_block_is_over_only_when_a_file_begins_and_not_when_the_model_loads(rig):
    rig.configure(daemon={"blocked_retry_s": 0.01})
    rig.launcher.environment = {"FAKE_JOB_FAULT": "bad_config"}
    rig.start()
    rig.drop("a.jsonl")
    rig.until(lambda: len(rig.events("worker_ready")) >= 3)
    recoveries_before = rig.events("unblocked")

    rig.launcher.environment = {}

    rig.until_in(Outcome.COMPLETED, "a.jsonl")
    assert recoveries_before == []
    assert rig.events("unblocked") == ["no longer blocked"]


def test_a_blocked_daemon_tries_again_by_itself(rig):
    rig.configure(daemon={"blocked_retry_s": 0.01})
    rig.launcher.environment = {"FAKE_FAULT": "environment"}
    rig.start()
    rig.drop("a.jsonl")
    rig.until(lambda: len(rig.launcher.launched) >= 2)

    rig.launcher.environment = {}

    rig.until_in(Outcome.COMPLETED, "a.jsonl")
    assert charged(rig) == 0


def test_a_worker_that_cannot_be_started_blocks(rig):
    rig.launcher.failure = OSError(11, "Resource temporarily unavailable")
    rig.start()
    rig.drop("a.jsonl")
    shown = rig.until_status("blocked")

    rig.launcher.failure = None
    rig.configure()

    rig.until_in(Outcome.COMPLETED, "a.jsonl")
    assert "Resource temporarily unavailable" in shown["status_reason"]


def test_a_blocked_daemon_still_takes_files_in_and_obeys(rig):
    rig.launcher.environment = {"FAKE_FAULT": "environment"}
    rig.start()
    rig.drop("a.jsonl")
    rig.until_status("blocked")

    rig.drop("b.jsonl")
    rig.until(lambda: len(rig.events("accepted")) == 2)
    rig.command("stop")

    assert rig.left() == 0
    assert (rig.layout.waiting(Priority.NORMAL) / "b.jsonl").exists()


def test_a_loading_worker_does_not_show_the_reason_of_an_earlier_block(rig):
    rig.launcher.environment = {"FAKE_FAULT": "environment"}
    rig.start()
    rig.drop("a.jsonl")
    rig.until_status("blocked")

    rig.launcher.environment = {"FAKE_HOLD": "load"}
    rig.configure()

    assert rig.until_status("loading")["status_reason"] is None
    rig.go()


def test_a_loss_that_is_no_number_is_null_and_an_alert(rig):
    rig.launcher.environment = {"FAKE_NAN": "1"}
    rig.start()

    rig.drop("a.jsonl", 1)

    rig.until_in(Outcome.COMPLETED, "a.jsonl")
    shown = rig.until(lambda: (found := rig.status())["alerts"] and found, "the alert")
    assert shown["loss"] is None
    assert shown["alerts"] == ["the loss of step 1 is not a finite number"]


def test_a_worker_that_trains_again_after_a_crash_takes_the_alert_down(rig):
    rig.launcher.once = {"FAKE_CRASH": "a.jsonl:2"}
    rig.start()

    rig.drop("a.jsonl")

    rig.until_in(Outcome.COMPLETED, "a.jsonl")
    assert rig.events("worker_recovered") == ["the worker trains again"]
    rig.until(lambda: not any("code 13" in alert for alert in rig.status()["alerts"]), "no alert")


def test_a_crash_under_an_earlier_daemon_is_over_once_a_worker_trains_again(rig):
    rig.launcher.once = {"FAKE_CRASH": "a.jsonl:2"}
    rig.configure(daemon={"backoff_max_s": 3600})
    rig.launcher.environment["FAKE_HOLD"] = "a.jsonl:1"
    rig.start()
    rig.drop("a.jsonl")
    rig.go()
    rig.until(lambda: rig.events("worker_crashed"), "the crash")
    rig.stop()
    assert rig.events("worker_recovered") == []

    rig.start()

    rig.until_in(Outcome.COMPLETED, "a.jsonl")
    assert rig.events("worker_recovered") == ["the worker trains again"]


def test_a_turn_that_fails_is_shown_and_the_next_one_goes_on(rig, monkeypatch):
    reap, failed = Supervisor.reap, []

    def fail_once(supervisor):
        if not failed:
            failed.append(True)
            raise RuntimeError("something nobody thought of")
        reap(supervisor)

    monkeypatch.setattr(Supervisor, "reap", fail_once)
    monkeypatch.setattr("daemon.loop.FAILED_TURN_WAIT_S", 0.0)
    rig.start()

    rig.drop("a.jsonl")

    rig.until_in(Outcome.COMPLETED, "a.jsonl")
    [failure] = rig.events("turn_failed")
    assert failure.endswith("RuntimeError: something nobody thought of")


def test_the_status_lives_on_while_every_turn_fails(rig, monkeypatch):
    def fail(supervisor):
        raise RuntimeError("the disk is full")

    monkeypatch.setattr("daemon.loop.FAILED_TURN_WAIT_S", 0.0)
    monkeypatch.setattr("daemon.status.board.IDLE_INTERVAL_S", 0.05)
    rig.start().until_status("idle")
    monkeypatch.setattr(Supervisor, "reap", fail)
    rig.command("skip")  # wakes it

    rig.until(lambda: (error := rig.status()["last_error"]) and error["message"] == "the disk is full")
    first = rig.status()["heartbeat_at"]
    rig.until(lambda: rig.status()["heartbeat_at"] > first, "another heartbeat")
    monkeypatch.undo()
