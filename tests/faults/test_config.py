"""config.json is damaged in any way while the daemon runs: the previous settings stay in force."""

import json
import os

import pytest

from daemon.settings.live_settings import LiveSettings

BEFORE = json.dumps({"training": {"epochs": 2, "seed": 7}, "daemon": {"rescan_s": 1.5}}, indent=2).encode()


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "config.json"
    path.write_bytes(BEFORE)
    return path


def assert_before_is_in_force(live):
    assert live.reload_if_changed()
    assert "the previous settings stay in force" in live.problem
    assert (live.current.training.epochs, live.current.training.seed) == (2, 7)


def assert_a_valid_file_takes_over(live, path):
    partial = path.with_suffix(".new")
    partial.write_text('{"training": {"epochs": 3}}')
    os.replace(partial, path)
    assert live.reload_if_changed()
    assert (live.problem, live.current.training.epochs) == (None, 3)


def test_a_file_cut_off_anywhere_is_not_taken_for_settings(path):
    live = LiveSettings(path, [])

    for length in range(len(BEFORE)):
        path.write_bytes(BEFORE[:length])
        assert_before_is_in_force(live)

    assert_a_valid_file_takes_over(live, path)


@pytest.mark.parametrize(
    "content",
    [
        b"\x00" * len(BEFORE), b"\xff\xfe" + BEFORE, BEFORE + BEFORE, BEFORE + b"\x00", b"[" * 100_000,
        b"null", b'"text"', b'{"training": null}', b'{"training": {"epochs": 1e400}}',
        b'{"training": {"epochs": NaN}}', b'{"training": {"epochs": ' + b"9" * 5000 + b"}}",
        b"\x1f\x8b\x08\x00", b'{"daemon": {"rescan_s": "1"}}',
    ],
    ids=[
        "zeros", "UTF-16", "twice", "a zero more", "deep", "null", "text", "no section", "infinite", "NaN",
        "a huge number", "compressed", "a text for a number",
    ],
)  # fmt: skip
def test_garbage_is_not_taken_for_settings(path, content):
    live = LiveSettings(path, [])

    path.write_bytes(content)

    assert_before_is_in_force(live)
    assert_a_valid_file_takes_over(live, path)


@pytest.mark.parametrize("kind", ["a link to itself", "a folder"])
def test_what_is_no_file_is_not_taken_for_settings(path, kind):
    live = LiveSettings(path, [])

    path.unlink()
    if kind == "a folder":
        path.mkdir()
    else:
        path.symlink_to(path)

    assert_before_is_in_force(live)
    path.rmdir() if kind == "a folder" else path.unlink()
    assert_a_valid_file_takes_over(live, path)
