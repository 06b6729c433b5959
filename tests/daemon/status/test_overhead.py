"""The file that says what is spent besides training."""

import json

import pytest

from daemon.status.overhead import INTERVAL_S, Overhead
from tests.support import FakeClock
from trainer.protocol.costs import BESIDE_TRAINING


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def sheet(tmp_path, clock):
    return Overhead(tmp_path / "costs.json", since="then", clock=clock)


def shown(tmp_path):
    return json.loads((tmp_path / "costs.json").read_text())


def test_each_kind_is_shown_with_its_share_and_its_interval(sheet, tmp_path):
    sheet.add("training", 90.0)
    sheet.add("previews", 10.0)
    sheet.set_interval("previews", 1000)

    sheet.publish("now")

    found = shown(tmp_path)
    assert (found["at"], found["since"], found["training_seconds"]) == ("now", "then", 90.0)
    assert list(found["costs"]) == list(BESIDE_TRAINING)
    assert found["costs"]["previews"] == {
        "seconds": 10.0,
        "share_since_start": 0.1,
        "share_of_last_hour": 0.1,
        "interval_steps": 1000,
    }
    assert found["costs"]["saving"]["share_since_start"] == 0.0


def test_it_is_written_when_something_is_new_and_not_at_every_turn(sheet, tmp_path, clock):
    sheet.publish("1")
    sheet.add("saving", 1.0)
    sheet.publish("2")
    at_once = shown(tmp_path)["at"]

    clock.now += INTERVAL_S
    sheet.publish("3")
    later = shown(tmp_path)["at"]
    clock.now += INTERVAL_S
    sheet.publish("4")

    assert (at_once, later, shown(tmp_path)["at"]) == ("1", "3", "3")


def test_what_is_new_at_the_end_is_not_lost(sheet, tmp_path):
    sheet.publish("1")
    sheet.add("saving", 1.0)

    sheet.publish("2", is_last=True)

    assert shown(tmp_path)["costs"]["saving"]["seconds"] == 1.0
