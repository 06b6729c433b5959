"""A daemon has what happens told by processes of their own, and has none where nothing is to be told."""

import json
import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import psutil
import pytest

from tests.daemon.notify.server import HookServer
from tests.daemon.tracking.test_tensorboard import steps
from tests.support import eventually
from trainer.protocol.job import Outcome

pytestmark = pytest.mark.long


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = HookServer()
    yield server
    server.close()


def told(server):
    return [json.loads(body) for _, body in server.received]


def notifiers():
    """Return the processes of this one that tell what happens."""
    return [child for child in psutil.Process().children() if "daemon.notify" in _command_line(child)]


def trackers():
    return [child for child in psutil.Process().children() if "daemon.tracking" in _command_line(child)]


def _command_line(process):
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:  # or a zombie, which is one of these
        return []


def test_what_happens_to_files_is_told_in_order(rig, server):
    rig.launcher.environment = {"FAKE_BAD": "bad.jsonl"}
    rig.configure(notify={"webhook": server.address})
    rig.start()

    rig.drop("good.jsonl")
    rig.until_in(Outcome.COMPLETED, "good.jsonl")
    rig.drop("bad.jsonl")
    rig.until_in(Outcome.FAILED, "bad.jsonl")

    eventually(lambda: told(server) and told(server)[-1]["event"] == "queue_empty")
    events = [(one["event"], one["file"]) for one in told(server) if one["event"] != "queue_empty"]
    assert events == [("completed", "good.jsonl"), ("failed", "bad.jsonl")]


def test_a_daemon_that_leaves_when_all_is_done_has_told_so(rig, server):
    rig.configure(notify={"webhook": server.address})
    rig.drop("a.jsonl")

    assert rig.start(drain=True).left() == 0

    assert [one["event"] for one in told(server)] == ["completed", "queue_empty"]
    assert notifiers() == []


def test_without_the_setting_there_is_no_process(rig):
    rig.start()
    rig.drop("a.jsonl")
    rig.until_in(Outcome.COMPLETED, "a.jsonl")

    assert notifiers() == []
    assert list(rig.layout.status.glob("notify*")) == []


def test_a_server_that_hangs_does_not_hold_up_training(rig, server):
    server.answer = server.hang
    rig.configure(notify={"webhook": server.address, "timeout_s": 300})
    rig.start()

    for name in ("a.jsonl", "b.jsonl"):
        rig.drop(name)
        rig.until_in(Outcome.COMPLETED, name)

    assert len(server.received) <= 1


def test_a_setting_can_be_made_and_taken_back_while_the_daemon_runs(rig, server):
    rig.start()
    rig.drop("before.jsonl")
    rig.until_in(Outcome.COMPLETED, "before.jsonl")
    rig.until(lambda: rig.events("queue_empty"))

    rig.configure(notify={"webhook": server.address, "events": ["completed"]})
    eventually(notifiers)
    rig.drop("after.jsonl")
    eventually(lambda: told(server))
    rig.configure()
    eventually(lambda: not notifiers())

    assert [one["file"] for one in told(server)] == ["after.jsonl"]
    eventually(lambda: not rig.layout.notify_file("webhook").exists())


def test_a_process_that_dies_is_reported(rig, server):
    rig.configure(notify={"webhook": server.address})
    rig.start()
    [process] = eventually(notifiers)

    os.kill(process.pid, signal.SIGKILL)
    rig.drop("a.jsonl")  # the loop turns

    rig.until(lambda: rig.events("notifier_ended"), "the report")


def test_one_that_dies_before_it_hears_what_to_do_is_reported(rig, server, monkeypatch):
    def write(descriptor, content):
        [process] = notifiers()
        process.kill()
        eventually(lambda: process.status() == psutil.STATUS_ZOMBIE)
        return os.write(descriptor, content)

    monkeypatch.setattr("daemon.followers.os", SimpleNamespace(write=write))
    rig.configure(notify={"webhook": server.address})
    rig.start()
    eventually(lambda: not notifiers() and rig.events("daemon_started"))
    rig.drop("a.jsonl")  # the loop turns

    rig.until(lambda: rig.events("notifier_ended"), "the report")

    assert not [event for event in rig.events() if "failed and is tried again" in event]


def test_a_command_is_run_in_the_working_directory(rig):
    code = "import sys; open('told', 'a').write(sys.stdin.read())"
    rig.configure(notify={"command": [sys.executable, "-c", code], "events": ["queue_empty"]})
    rig.drop("a.jsonl")

    rig.start(drain=True).left()

    [line] = (rig.layout.base / "told").read_text().splitlines()
    assert json.loads(line)["event"] == "queue_empty"


def test_files_that_come_together_are_one_queue(rig):
    for name in ("a.jsonl", "b.jsonl", "c.jsonl"):
        rig.drop(name)

    rig.start(drain=True).left()

    assert len(rig.events("queue_empty")) == 1


def test_a_queue_that_was_empty_all_along_is_no_news(rig):
    rig.start(drain=True).left()

    assert rig.events("queue_empty") == []


def test_a_tracker_is_started_and_stopped_with_its_setting(rig):
    rig.start()
    rig.drop("before.jsonl")
    rig.until_in(Outcome.COMPLETED, "before.jsonl")

    rig.configure(tracking={"tensorboard": {}})
    folder = rig.layout.logs / "tensorboard"
    eventually(lambda: list(folder.glob("training-*/events*")))
    rig.configure()
    eventually(lambda: not trackers())

    assert len(list(rig.layout.status.glob("tracking/tensorboard-*.json"))) == 1


def test_a_tracker_has_every_step_of_a_daemon_that_leaves_once(rig):
    rig.configure(tracking={"tensorboard": {"folder": "curves", "name": "mine"}})
    rig.drop("a.jsonl", 5)
    rig.launcher.once = {"FAKE_CRASH": "a.jsonl:4"}

    assert rig.start(drain=True).left() == 0

    assert trackers() == []
    rest = ["daemon.tracking", "tensorboard", "--once", "--base-dir", str(rig.layout.base)]
    subprocess.run([sys.executable, "-P", "-m", *rest], check=True)  # what it had no time for
    assert steps(rig.layout.base / "curves") == [1, 2, 3, 4, 5]


def test_a_missing_package_is_one_alert_that_names_the_way_out(rig):
    rig.configure(tracking={"trackio": {"python": "gone/python"}})
    rig.start()
    rig.drop("a.jsonl")
    rig.until_in(Outcome.COMPLETED, "a.jsonl")
    eventually(lambda: not trackers())
    rig.drop("b.jsonl")  # the loop turns

    rig.until(lambda: rig.events("tracker_ended"), "the report")

    [alert] = rig.until(lambda: [text for text in rig.status()["alerts"] if "trackio" in text])
    assert "scripts/setup trackio" in alert
    rig.configure()
    rig.until(lambda: rig.events("tracker_works"))


def test_a_setting_that_stays_the_same_keeps_its_process(rig, server):
    rig.configure(notify={"webhook": server.address})
    rig.start()
    [before] = eventually(notifiers)

    rig.configure(notify={"webhook": server.address}, tracking={"tensorboard": {}})
    eventually(trackers)

    assert notifiers() == [before]
