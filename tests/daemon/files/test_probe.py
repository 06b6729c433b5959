"""One probe at a path, whatever lies there."""

import errno
import fcntl
import mmap
import os
import signal
import socket

import pytest

from daemon.files import probe as sight
from daemon.files.identity import identity_of
from daemon.files.probe import TAIL_BYTES, ignore_lease_breaks, probe
from tests.support import rows, write_jsonl


@pytest.fixture
def path(tmp_path):
    return write_jsonl(tmp_path / "a.jsonl", rows(2))


@pytest.fixture(scope="module")
def has_leases(tmp_path_factory):
    """Whether this file system tells of writers at all."""
    file = tmp_path_factory.mktemp("lease") / "file"
    file.touch()
    with file.open("rb") as reader:
        try:
            fcntl.fcntl(reader, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        except OSError:
            pytest.skip("the file system of the test folder has no leases")


def test_nothing_is_seen_where_nothing_is(tmp_path):
    assert probe(tmp_path / "absent.jsonl") is None


def test_a_closed_file_has_no_writer(path, has_leases):
    seen = probe(path)

    assert (seen.kind, seen.has_writer, seen.ends_whole, seen.is_readable) == ("file", False, True, True)
    assert seen.identity == identity_of(path.stat())


@pytest.mark.parametrize("mode", ["ab", "r+b"])
def test_a_file_that_is_open_for_writing_has_a_writer_until_it_is_closed(path, has_leases, mode):
    with path.open(mode):
        while_open = probe(path)

    assert while_open.has_writer is True
    assert probe(path).has_writer is False


def test_a_writer_under_another_name_of_the_file_is_seen(path, has_leases, tmp_path):
    os.link(path, tmp_path / "other.jsonl")

    with (tmp_path / "other.jsonl").open("ab"):
        assert probe(path).has_writer is True


def test_a_writer_through_memory_is_seen_after_it_closed_its_descriptor(path, has_leases):
    with path.open("r+b") as file:
        mapped = mmap.mmap(file.fileno(), 0)

    while_mapped = probe(path)
    mapped.close()

    assert while_mapped.has_writer is True
    assert probe(path).has_writer is False


def test_a_reader_is_no_writer(path, has_leases):
    with path.open("rb"):
        assert probe(path).has_writer is False


def test_looking_leaves_no_lease_behind_that_would_hold_a_writer_up(path, has_leases):
    probe(path)

    descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK)  # with a lease this raises EWOULDBLOCK
    os.close(descriptor)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EINVAL, errno.ENOTSUP])
def test_where_there_are_no_leases_the_writer_is_unknown(path, monkeypatch, number):
    def refuse(*arguments):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(sight.fcntl, "fcntl", refuse)

    assert probe(path).has_writer is None


def test_a_symbolic_link_is_seen_as_one_and_not_followed(path, tmp_path):
    link, dangling = tmp_path / "link.jsonl", tmp_path / "dangling.jsonl"
    link.symlink_to(path)
    dangling.symlink_to(tmp_path / "absent")

    assert probe(link).kind == "symbolic link"
    assert probe(dangling).kind == "symbolic link"


def test_a_named_pipe_is_seen_without_waiting_for_its_writer(tmp_path):
    os.mkfifo(tmp_path / "pipe.jsonl")

    assert probe(tmp_path / "pipe.jsonl").kind == "named pipe"


def test_a_file_that_becomes_a_named_pipe_between_two_looks_does_not_block(path, monkeypatch):
    lstat = type(path).lstat

    def then_replace(self):
        found = lstat(self)
        monkeypatch.undo()
        path.unlink()
        os.mkfifo(path)
        return found

    monkeypatch.setattr(type(path), "lstat", then_replace)

    assert probe(path).kind == "named pipe"  # instead of waiting for ever


def test_a_directory_is_seen_as_one(tmp_path):
    (tmp_path / "folder.jsonl").mkdir()

    assert probe(tmp_path / "folder.jsonl").kind == "directory"


def test_a_socket_is_seen_as_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the path of a socket must be short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("s.jsonl")

        assert probe(tmp_path / "s.jsonl").kind == "socket"


def test_a_device_is_seen_as_one(tmp_path):
    from pathlib import Path

    assert probe(Path("/dev/null")).kind == "device"


def test_an_unreadable_file_is_seen_as_such(path, monkeypatch):
    def refuse(*arguments):  # as root, nothing is unreadable
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(sight.os, "open", refuse)

    assert probe(path).is_readable is False


def test_a_file_that_vanishes_during_the_look_is_not_seen(path, monkeypatch):
    def vanish(*arguments):
        raise FileNotFoundError

    monkeypatch.setattr(sight.os, "open", vanish)

    assert probe(path) is None


@pytest.mark.parametrize(
    "content, ends_whole",
    [
        (b"", False),
        (b"\n", True),
        (b'{"a": 1}\n', True),
        (b'{"a": 1}', True),
        (b'{"a": 1}\n{"b": ', False),
        (b'{"a": 1}\n{"b": 2}', True),
        (b'{"a": 1}\r\n', True),
        (b'{"a": 1}\n\xff', False),
        (b"[" * 20_000, False),
        # a last line too long to be parsed counts by its last character
        (b'{"a": "' + b"x" * TAIL_BYTES + b'"}', True),
        (b'{"a": "' + b"x" * TAIL_BYTES, False),
    ],
)
def test_whether_the_last_line_is_finished(tmp_path, content, ends_whole):
    path = tmp_path / "a.jsonl"
    path.write_bytes(content)

    assert probe(path).ends_whole == ends_whole


def test_a_lease_break_does_not_kill_this_process():
    before = signal.getsignal(signal.SIGIO)
    try:
        ignore_lease_breaks()

        os.kill(os.getpid(), signal.SIGIO)
    finally:
        signal.signal(signal.SIGIO, before)
