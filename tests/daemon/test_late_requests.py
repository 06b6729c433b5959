"""A request that comes while the daemon stops is answered: nobody waits for one that is gone."""

import json
import threading

import pytest

from daemon.client import Client
from daemon.client.errors import NoDaemon
from daemon.client.forget import NotForgotten
from daemon.service_manager import ServiceManager
from tests.support import PATIENCE_S

ENDS = "the daemon stops; ask again once it runs"


def answers(rig):
    rows = rig.read("SELECT data FROM events WHERE kind = 'command'")
    found = [json.loads(row["data"]) for row in rows]
    return {data["name"]: data["result"] for data in found}


@pytest.fixture
def stopping(rig):
    """A daemon that waits for its file before it stops."""
    rig.launcher.environment = {"FAKE_HOLD": "a.jsonl:2"}
    rig.start().drop("a.jsonl", 3)
    rig.until_training("a.jsonl")
    rig.command("stop")
    rig.until_status("stopping", status_reason="after the current file")
    return rig


def test_what_the_stop_does_not_wait_for_is_refused_at_once_and_not_done_if_it_is_cancelled(stopping):
    stopping.command("forget", json.dumps({"target": "a.jsonl"}))

    answer = stopping.until_answered("forget")
    stopping.command("resume")
    cancelled = stopping.until_answered("resume")

    assert answer == f"the model did not forget: {ENDS}"
    assert cancelled == "the stop is cancelled; training continues"
    assert stopping.status()["worker_pid"]  # which would have had to make room


def test_what_comes_in_the_last_moment_is_answered_before_the_daemon_leaves(rig, monkeypatch):
    says = ServiceManager.stopping

    def write_first(self):
        for name in ("forget", "consolidate", "go_back", "skip", "stop", "pause"):
            rig.command(name)
        says(self)

    rig.start().until_status("idle")
    monkeypatch.setattr(ServiceManager, "stopping", write_first)

    rig.stop()

    assert answers(rig) == {
        "forget": f"the model did not forget: too late: {ENDS}",
        "consolidate": f"the adapter was not merged: too late: {ENDS}",
        "go_back": f"the model did not go back: too late: {ENDS}",
        "skip": f"too late: {ENDS}",
        "stop": "the daemon stops already",
    }
    assert [path.name for path in rig.layout.control.iterdir()] == [".pause"]  # it holds at the next start


def test_whoever_waits_for_a_file_to_be_forgotten_hears_that_it_is_not(rig, monkeypatch):
    """A late answer is a failure of the command, not its result."""
    rig.start().until_status("idle")
    plan = type("Plan", (), {"missing": (), "first_step": None, "sha256": "0" * 64})()
    heard = []

    def ask():
        try:
            Client(rig.layout.base).forgetting.carry_out(plan, reason="bad")
        except (NotForgotten, NoDaemon) as error:
            heard.append(error)

    person = threading.Thread(target=ask)
    says = ServiceManager.stopping

    def ask_first(self):
        person.start()
        rig.until(lambda: (rig.layout.control / ".forget").exists(), "the request")
        says(self)

    monkeypatch.setattr(ServiceManager, "stopping", ask_first)
    rig.stop()
    person.join(PATIENCE_S)

    [error] = heard
    assert str(error) == f"the model did not forget: too late: {ENDS}"
