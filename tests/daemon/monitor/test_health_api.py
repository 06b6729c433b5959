"""The pages Health and Settings: what is asked of the client, and nothing that lets somebody in."""

import json

import pytest

from daemon.monitor.diagnosing import KEPT_S, Diagnoses
from tests.support import FakeClock

SECRET = "hunter2-hunter2"


def settings(ask):
    return {one["name"]: one for one in ask.get("/api/settings").json()}


def test_the_checks_are_those_of_the_command(ask, layout):
    layout.failed.rmdir()

    found = {result["name"]: result for result in ask.get("/api/health").json()}

    assert found["daemon"]["message"].startswith("it is not running")
    assert found["folders"]["level"] == "problem"
    assert found["folders"]["advice"]


def test_without_a_ledger_or_a_log_there_is_nothing(ask):
    assert ask.get("/api/crashes").json() == []
    assert ask.get("/api/logs").json() == []


def test_the_newest_entries_of_the_log_come_with_what_stands_below_them(ask, layout):
    lines = ["2026-01-01T00:00:00.000Z INFO first", "2026-01-01T00:00:01.000Z ERROR <b>second</b>", "  trace"]
    (layout.logs / "daemon.log").write_text("\n".join(lines) + "\n")

    [entry] = ask.get("/api/logs", params={"count": 1}).json()

    assert (entry["level"], entry["message"], entry["traceback"]) == ("error", "<b>second</b>", ["  trace"])


@pytest.mark.parametrize("count", ["0", "1001", "x"])
def test_as_many_entries_as_a_page_shows_can_be_asked_for(ask, count):
    answer = ask.get("/api/logs", params={"count": count})

    assert answer.status_code == 400
    assert answer.json()["error"].startswith(f"count is '{count}'")


def test_each_setting_says_where_it_comes_from_and_how_it_is_changed(ask, layout):
    layout.config_file.write_text('{"training": {"epochs": 3}}')

    found = settings(ask)

    epochs, rate = found["training.epochs"], found["training.learning_rate"]
    assert (epochs["value"], epochs["default"], epochs["origin"]) == (3, 1, "config.json")
    assert epochs["how_to_change"] == 'In config.json: {"training": {"epochs": 3}}'
    assert rate["origin"] == "default"
    assert not found["model.base_model"]["is_locked"]


def test_once_there_is_a_checkpoint_some_settings_are_locked(ask, layout):
    (layout.models / "current_model").mkdir()

    found = settings(ask)

    assert (found["data.max_length"]["is_locked"], found["data.max_length"]["can_be_unlocked"]) == (
        True,
        True,
    )
    assert found["data.max_length"]["how_to_change"].endswith("training_health unlock data.max_length")
    assert (found["training.method"]["is_locked"], found["training.method"]["can_be_unlocked"]) == (
        True,
        False,
    )
    assert not found["training.epochs"]["is_locked"]


def test_no_setting_shows_what_lets_somebody_in(ask, layout):
    content = {
        "notify": {"webhook": f"https://hooks.example/services/{SECRET}"},
        "backup": {"to": f"sftp://me:{SECRET}@nas.example/backups"},
    }
    layout.config_file.write_text(json.dumps(content))

    answer = ask.get("/api/settings")

    assert SECRET not in answer.text
    found = {one["name"]: one["value"] for one in answer.json()}
    assert found["notify.webhook"] == "https://hooks.example/***"
    assert found["backup.to"] == "sftp://me:***@nas.example/backups"


def test_settings_that_no_daemon_would_take_are_refused_in_its_words(ask, layout):
    layout.config_file.write_text('{"training": {"epochs": 0}}')

    answer = ask.get("/api/settings")

    assert answer.status_code == 422
    assert "training.epochs is 0" in answer.json()["error"]


@pytest.mark.long
def test_the_diagnosis_is_that_of_the_command(ask):
    found = ask.get("/api/diagnosis").json()

    assert found["steps"] == 0
    assert {one["result"] for one in found["examined"]} == {"not enough data"}


def test_one_diagnosis_is_made_for_all_pages_and_again_after_a_while(layout):
    clock, asked = FakeClock(), []
    diagnosis = b'{"first_step": null, "last_step": null, "steps": 0, "findings": [], "examined": []}'
    diagnoses = Diagnoses(lambda base_dir: asked.append(base_dir) or diagnosis, clock=clock)

    diagnoses.of(layout.base)
    diagnoses.of(layout.base)
    assert asked == [layout.base]
    clock.now += KEPT_S + 1
    diagnoses.of(layout.base)
    assert len(asked) == 2


def test_why_there_is_no_diagnosis_is_said(ask, layout):
    layout.config_file.write_text('{"training": {"epochs": 0}}')

    answer = ask.get("/api/diagnosis")

    assert answer.status_code == 422
    assert "training.epochs is 0" in answer.json()["error"]
