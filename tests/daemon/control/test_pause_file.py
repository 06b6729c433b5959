"""A pause exists as long as its file does."""

import pytest

from daemon.control.pause_file import PauseFile


@pytest.fixture
def path(tmp_path):
    return tmp_path / "paused.json"


def test_nothing_is_paused_at_first(path):
    pause = PauseFile(path)

    assert (pause.is_set, pause.reason, pause.clear()) == (False, None, False)


def test_a_pause_is_remembered_with_its_reason(path):
    PauseFile(path).set("lunch", "2026-01-01T00:00:00.000Z")

    after = PauseFile(path)

    assert (after.is_set, after.reason) == (True, "lunch")


def test_a_pause_that_ended_is_forgotten(path):
    pause = PauseFile(path)
    pause.set(None, "now")

    had_been = pause.clear()

    assert had_been
    assert not pause.is_set
    assert not PauseFile(path).is_set


@pytest.mark.parametrize("content", [b"", b"\xff", b"[]", b"null", b'"x"'])
def test_that_the_file_is_there_is_enough(path, content):
    path.write_bytes(content)

    pause = PauseFile(path)

    assert (pause.is_set, pause.reason) == (True, None)


def test_a_pause_that_cannot_be_remembered_is_not_set(path):
    pause = PauseFile(path.parent / "absent" / "paused.json")

    with pytest.raises(FileNotFoundError):
        pause.set(None, "now")
    assert not pause.is_set


def test_a_reason_that_is_no_text_is_not_shown(path):
    path.write_bytes(b'{"reason": {"a": 1}}')

    assert PauseFile(path).reason is None
