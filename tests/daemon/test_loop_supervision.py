"""What the whole daemon makes of workers that hang or are sent away, and of a place that is not fit."""

import json
import os
import shutil
import signal

import pytest

from trainer.protocol.job import Outcome, Priority


def test_a_file_in_which_the_worker_hangs_fails_and_says_how(rig):
    rig.configure(daemon={"hang_after_s": 0.5, "hang_ceiling_s": 0.5, "max_attempts": 1})
    rig.launcher.environment = {"FAKE_HOLD": "a.jsonl:2"}
    rig.start()

    rig.drop("a.jsonl")

    rig.until_in(Outcome.FAILED, "a.jsonl", "a.jsonl.reason.json")
    reason = json.loads((rig.layout.failed / "a.jsonl.reason.json").read_text())
    assert reason["kind"] == "hang"
    assert "no progress in " in reason["message"]
    assert rig.launcher.launched[0].returncode == -signal.SIGUSR1  # the fake one does not know it


def test_a_worker_that_somebody_sent_away_costs_the_file_nothing(rig):
    rig.launcher.environment = {"FAKE_HOLD": "a.jsonl:2"}
    rig.start().drop("a.jsonl")
    shown = rig.until_training("a.jsonl")
    rig.launcher.environment = {}

    os.kill(shown["worker_pid"], signal.SIGTERM)

    rig.until_in(Outcome.COMPLETED, "a.jsonl")
    [job] = rig.read("SELECT * FROM jobs")
    assert job["attempts"] == 0
    assert "the worker has exited: it was killed by SIGTERM" in rig.events("worker_left")
    assert rig.status()["last_error"] is None


# ---- obstacles


@pytest.fixture
def models_away(rig):
    """A models folder that is not there, like one whose disk is not mounted."""
    rig.start().until_status("idle")  # starting creates what is missing
    shutil.rmtree(rig.layout.models)
    return rig.layout.models


def test_a_missing_folder_blocks_before_anything_is_begun_and_clears_by_itself(rig, models_away):
    rig.drop("a.jsonl")
    shown = rig.until_status("blocked")
    launched = len(rig.launcher.launched)

    models_away.mkdir()

    rig.until_in(Outcome.COMPLETED, "a.jsonl")
    assert shown["status_reason"].startswith(f"{models_away}: is missing;")
    assert launched == 0
    assert rig.events("blocked") == [f"blocked: {shown['status_reason']}"]


def test_a_file_that_cannot_be_begun_stays_in_its_folder(rig, models_away):
    rig.drop("a.jsonl")
    rig.until_status("blocked")

    rig.command("stop")

    assert rig.left() == 0
    assert (rig.layout.waiting(Priority.NORMAL) / "a.jsonl").exists()


def test_a_warm_worker_gets_no_file_while_something_is_in_the_way(rig):
    rig.start().drop("a.jsonl")
    rig.until_in(Outcome.COMPLETED, "a.jsonl")
    rig.until_status("idle")

    rig.configure(daemon={"min_free_bytes": 2**62})
    rig.drop("b.jsonl")
    shown = rig.until_status("blocked")
    is_untouched = (rig.layout.waiting(Priority.NORMAL) / "b.jsonl").exists()
    rig.configure()

    rig.until_in(Outcome.COMPLETED, "b.jsonl")
    assert "(daemon.min_free_bytes); free some space" in shown["status_reason"]
    assert is_untouched
    assert len(rig.launcher.launched) == 1


def test_a_job_in_training_is_not_disturbed_by_what_would_keep_it_from_being_begun(rig):
    rig.launcher.environment = {"FAKE_HOLD": "a.jsonl:2"}
    rig.start().drop("a.jsonl")
    rig.until_training("a.jsonl")

    rig.configure(daemon={"min_free_bytes": 2**62})
    rig.command("skip", '{"id": "afterwards"}')
    rig.until(lambda: not (rig.layout.control / ".skip").exists(), "the worker to be told")
    rig.go()

    assert rig.until_answered("skip") == "skipped a.jsonl"
    assert rig.events("blocked") == []


def test_draining_ends_with_a_fault_when_something_is_in_the_way(rig):
    rig.configure(daemon={"min_free_bytes": 2**62})
    rig.drop("a.jsonl")

    rig.start(drain=True)

    assert rig.left() == 1
    assert "daemon.min_free_bytes" in rig.status()["status_reason"]


def test_nothing_is_in_the_way_of_an_empty_queue(rig):
    rig.configure(daemon={"min_free_bytes": 2**62})

    rig.start()

    rig.until_status("idle")
