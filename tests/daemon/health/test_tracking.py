"""The health check says whether trackers get what they are to get."""

import json

from daemon.health.tracking import check_tracking
from trainer.config.tracking_settings import TensorBoardOptions, TrackingSettings

SET = TrackingSettings(tensorboard=TensorBoardOptions())


def noted(layout, **content):
    file = layout.tracking_file("tensorboard", SET.wanted[0].destination(layout.base))
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(content))
    return file


def test_nothing_is_said_where_nothing_is_set_or_nothing_has_started(layout):
    assert list(check_tracking(layout, TrackingSettings())) == []
    assert list(check_tracking(layout, SET)) == []


def test_it_says_how_far_a_tracker_is(layout):
    noted(layout, problem=None, place={"step": 7})

    [found] = check_tracking(layout, SET)

    assert (found.name, found.message) == ("tracking.tensorboard", "has the steps up to 7")


def test_it_says_why_nothing_arrives(layout):
    noted(layout, problem="the disk is full; trying again", place={"step": 7})

    [found] = check_tracking(layout, SET)

    assert found.message == "the disk is full; trying again"


def test_a_file_of_somebody_else_is_named(layout):
    file = noted(layout)

    [found] = check_tracking(layout, SET)

    assert found.message.startswith(f"{file.name} is unreadable: ")
