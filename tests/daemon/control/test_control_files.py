"""Requests as files: what is read, and what a careless or hostile writer can do."""

import json
import os
import socket

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daemon.control.control_files import read_requests, remove_request, unknown_names
from trainer.protocol.files import create_json
from trainer.protocol.text import printable


def put(path, content=b"", *, at=1000.0):
    path.write_bytes(content)
    os.utime(path, (at, at))
    return path


@pytest.mark.parametrize("name", ["pause", "resume", "skip", "stop"])
def test_a_plain_touch_is_a_request(layout, name):
    path = put(layout.control / f".{name}")

    [request] = read_requests(layout)

    assert (request.name, request.path, request.written_at) == (name, path, 1000.0)
    assert (request.id, request.reason) == (None, None)


def test_the_emergency_stop_is_a_request_to_stop_now(layout):
    put(layout.emergency_stop)

    [request] = read_requests(layout)

    assert (request.name, request.path) == ("stop_now", layout.emergency_stop)


def test_nothing_there_is_no_request(layout):
    put(layout.control / ".unknown")
    put(layout.control / "pause")

    assert read_requests(layout) == []


def test_id_and_reason_come_along(layout):
    put(layout.control / ".pause", json.dumps({"id": "4711", "reason": "lunch", "more": 1}).encode())

    [request] = read_requests(layout)

    assert (request.id, request.reason) == ("4711", "lunch")


@pytest.mark.parametrize(
    "now, name", [(True, "stop_now"), (False, "stop"), (1, "stop"), ("true", "stop"), (None, "stop")]
)
def test_only_a_true_now_makes_a_stop_immediate(layout, now, name):
    put(layout.control / ".stop", json.dumps({"now": now}).encode())

    assert [request.name for request in read_requests(layout)] == [name]


def test_now_means_nothing_to_other_requests(layout):
    put(layout.control / ".pause", b'{"now": true}')

    assert [request.name for request in read_requests(layout)] == ["pause"]


@pytest.mark.parametrize(
    "content",
    [
        b"not json", b"[1, 2]", b'"text"', b"null", b"\xff\xfe\x00", b"{", b"[" * 100_000, b" " * (1 << 20),
        b'{"id": 5, "reason": ["x"]}', b'{"reason": "' + b"x" * (1 << 20) + b'"}', b"1" * 4096,
    ],
    ids=[
        "text", "list", "string", "null", "bytes", "cut off", "deep", "1 MB of blanks", "other types",
        "1 MB of text", "a huge number",
    ],
)  # fmt: skip
def test_a_content_that_makes_no_sense_leaves_the_plain_request(layout, content):
    put(layout.control / ".pause", content)

    [request] = read_requests(layout)

    assert (request.name, request.id, request.reason) == ("pause", None, None)


def test_texts_are_made_safe_and_short(layout):
    put(
        layout.control / ".pause",
        json.dumps({"reason": "a\x1b[31m\n" + "x" * 1000, "id": "i" * 1000}).encode(),
    )

    [request] = read_requests(layout)

    assert request.reason.isprintable()
    assert len(request.id) <= 200


@pytest.mark.parametrize("kind", ["link", "dangling link", "pipe", "socket", "folder", "link to a folder"])
def test_what_is_no_file_is_a_plain_request_and_is_not_read(layout, tmp_path, kind, monkeypatch):
    path, secret = layout.control / ".pause", put(tmp_path / "secret", b'{"reason": "secret"}')
    match kind:
        case "link":
            path.symlink_to(secret)
        case "dangling link":
            path.symlink_to(tmp_path / "absent")
        case "link to a folder":
            path.symlink_to(tmp_path)
        case "pipe":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case "socket":
            monkeypatch.chdir(layout.control)  # the path of a socket must be short
            with socket.socket(socket.AF_UNIX) as server:
                server.bind(".pause")

    [request] = read_requests(layout)

    assert (request.name, request.reason) == ("pause", None)


def test_what_is_misspelt_is_known_and_what_this_program_writes_is_not_meant(layout):
    create_json(layout.control / ".pause", {})
    for name in (".stpo", "stop", ".gitkeep", "..pause.4711.tmp"):
        (layout.control / name).touch()
    (layout.control / ".skip").mkdir()
    remove_request(next(request for request in read_requests(layout) if request.name == "skip"))

    assert unknown_names(layout) == [".stpo", "stop"]


def test_requests_come_oldest_first(layout):
    put(layout.control / ".pause", at=1003)
    put(layout.control / ".resume", at=1001)
    put(layout.control / ".skip", at=1004)
    put(layout.control / ".stop", at=1000)
    put(layout.emergency_stop, at=1002)

    assert [request.name for request in read_requests(layout)] == [
        "stop",
        "resume",
        "stop_now",
        "pause",
        "skip",
    ]


def test_of_equally_old_ones_the_pause_comes_after_the_resume(layout):
    put(layout.control / ".pause")
    put(layout.control / ".resume")

    assert [request.name for request in read_requests(layout)] == ["resume", "pause"]


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.sampled_from(["id", "reason", "now"]) | st.text(), inner)
    ),
    max_leaves=10,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_content_is_a_request_that_can_be_shown(layout, content):
    put(layout.control / ".stop", content)

    [request] = read_requests(layout)

    assert request.name in ("stop", "stop_now")
    for text in (request.id, request.reason):
        assert text is None or printable(text) == text
