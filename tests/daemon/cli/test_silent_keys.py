"""Keys that are pressed while something is drawn in place."""

import io
import os
import termios
from contextlib import suppress

import pytest

from daemon.cli.silent_keys import silent_keys


@pytest.fixture
def keyboard(monkeypatch):
    """What a person types into; the terminal is standard input."""
    keys, terminal = os.openpty()
    monkeypatch.setattr(os, "tcgetpgrp", lambda terminal: os.getpgrp())
    with os.fdopen(keys, "wb", buffering=0) as typed, os.fdopen(terminal, "r") as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        yield typed


def shows_keys(terminal):
    return bool(termios.tcgetattr(terminal)[3] & termios.ECHO)


def test_they_are_not_shown_and_later_ones_are_also_after_ctrl_c(keyboard):
    with suppress(KeyboardInterrupt), silent_keys():
        during = shows_keys(keyboard)
        raise KeyboardInterrupt

    assert (during, shows_keys(keyboard)) == (False, True)


def test_a_process_in_the_background_leaves_the_terminal_alone(keyboard, monkeypatch):
    monkeypatch.setattr(os, "tcgetpgrp", lambda terminal: os.getpgrp() + 1)

    with silent_keys():
        assert shows_keys(keyboard)


def test_without_a_terminal_nothing_changes(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO())

    with silent_keys():
        pass
