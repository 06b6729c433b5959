"""Whether the next daemon starts paused."""

import os

import pytest

from daemon.control.next_start import Pause, pause_at_start
from daemon.control.pause_file import PauseFile


@pytest.mark.parametrize(
    "requests, pause",
    [
        ([], Pause("lunch")),
        (["pause"], Pause("lunch")),
        (["resume"], None),
        (["pause", "resume"], None),
        (["resume", "pause"], Pause(None)),
        (["skip", "stop"], Pause("lunch")),
    ],
)
def test_the_pause_that_is_kept_and_what_was_requested_since_decide(layout, requests, pause):
    PauseFile(layout.pause_file).set("lunch", "2026-01-01T00:00:00+00:00")
    for written_at, name in enumerate(requests):
        path = layout.control / f".{name}"
        path.touch()
        os.utime(path, (written_at, written_at))

    assert pause_at_start(layout) == pause


def test_a_reason_that_came_with_the_request_is_the_newer_one(layout):
    PauseFile(layout.pause_file).set("lunch", "2026-01-01T00:00:00+00:00")
    (layout.control / ".pause").write_text('{"reason": "a demo"}')

    assert pause_at_start(layout) == Pause("a demo")


def test_without_a_pause_the_next_daemon_trains(layout):
    assert pause_at_start(layout) is None
