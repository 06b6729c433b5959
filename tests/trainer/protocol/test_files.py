"""Atomic writes, JSON files, and the names of files."""

import errno
import os
import stat
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from trainer.protocol import files
from trainer.protocol.files import (
    UnreadableFile,
    create_json,
    file_sha256,
    is_numbered_from,
    numbered,
    read_json,
    write_atomically,
    write_json,
)

ODD_NAMES = [
    "two\nlines.jsonl",
    os.fsdecode(b"latin-\xe9.jsonl"),
    "🎉👩‍💻.jsonl",
    "-rf.jsonl",
    ".jsonl",
    "x" * 249 + ".jsonl",
    "🎉" * 62 + ".jsonl",
]


def drop(folder: Path, name: str, content: str = "content") -> Path:
    path = folder / name
    path.write_text(content)
    return path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("durable", [False, True])
def test_write_replaces_the_old_content_and_leaves_nothing_beside_it(tmp_path, durable):
    path = drop(tmp_path, "status.json", "old")

    write_atomically(path, b"new", durable=durable)

    assert path.read_bytes() == b"new"
    assert names(tmp_path) == ["status.json"]


def test_threads_that_replace_one_file_do_not_meet_in_its_temporary_name(tmp_path, monkeypatch):
    both, seen = threading.Barrier(2, timeout=60), set()

    def meet(name):
        if name == "write.synced":
            seen.update(names(tmp_path))
            both.wait()

    monkeypatch.setattr(files, "failpoint", meet)
    with ThreadPoolExecutor() as pool:
        written = [pool.submit(write_json, tmp_path / ".pause", text, durable=False) for text in "ab"]
        for item in written:
            item.result()

    assert read_json(tmp_path / ".pause") in ("a", "b")
    assert names(tmp_path) == [".pause"]
    assert all(
        name.endswith(f".{os.getpid()}.tmp") for name in seen - {".pause"}
    )  # by which it is told whose it is


def test_a_file_is_created_only_where_nothing_is(tmp_path):
    path = tmp_path / ".pause"

    create_json(path, "first")
    with pytest.raises(FileExistsError):
        create_json(path, "second")

    assert read_json(path) == "first"
    assert names(tmp_path) == [".pause"]


def test_write_that_fails_leaves_the_old_content_and_no_partial_file(tmp_path, monkeypatch):
    path = drop(tmp_path, "status.json", "old")
    monkeypatch.setattr(os, "replace", _raise_no_space)

    with pytest.raises(OSError, match="No space"):
        write_atomically(path, b"new", durable=True)

    assert path.read_text() == "old"
    assert names(tmp_path) == ["status.json"]


def test_content_is_complete_and_synced_before_it_gets_its_name(tmp_path, monkeypatch):
    events = record_syncs(monkeypatch)

    write_atomically(tmp_path / "a.json", b"new", durable=True)

    assert events == ["sync file", "replace", "sync folder"]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_file_of_any_name_can_be_written(tmp_path, name):
    write_atomically(tmp_path / name, b"x", durable=False)

    assert names(tmp_path) == [name]


def test_json_with_a_name_that_is_not_utf8_survives_a_round_trip(tmp_path):
    value = {"file": os.fsdecode(b"latin-\xe9.jsonl"), "emoji": "🎉"}

    write_json(tmp_path / "a.json", value, durable=False)

    assert read_json(tmp_path / "a.json") == value
    assert "🎉" in (tmp_path / "a.json").read_text("utf-8")


def test_json_refuses_nan_and_keeps_the_old_file(tmp_path):
    path = drop(tmp_path, "a.json", "{}")

    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(path, {"loss": float("nan")}, durable=False)

    assert read_json(path) == {}


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000])
def test_reading_what_is_not_json_names_the_file(tmp_path, content):
    path = tmp_path / "pause.json"
    path.write_bytes(content)

    with pytest.raises(UnreadableFile, match=r"pause\.json: .*expected JSON in UTF-8"):
        read_json(path)


def test_reading_json_that_is_not_there_is_no_unreadable_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "pause.json")


# ---- names


@pytest.mark.parametrize(
    "name, number, expected",
    [
        ("chat.jsonl", 1, "chat.jsonl"),
        ("chat.jsonl", 2, "chat-2.jsonl"),
        ("chat.tar.jsonl", 10, "chat.tar-10.jsonl"),
        ("chat.jsonl.gz", 2, "chat-2.jsonl.gz"),
        ("chat.jsonl.zst", 12, "chat-12.jsonl.zst"),
        ("x" * 246 + ".jsonl.gz", 2, "x" * 244 + "-2.jsonl.gz"),
        ("chat.json.gz", 2, "chat.json-2.gz"),
        ("chat", 2, "chat-2"),
        (".jsonl", 2, ".jsonl-2"),
        ("x" * 249 + ".jsonl", 2, "x" * 247 + "-2.jsonl"),
        ("é" * 124 + "x.jsonl", 2, "é" * 123 + "-2.jsonl"),
        ("🎉" * 62 + ".jsonl", 2, "🎉" * 61 + "-2.jsonl"),
        ("a." + "x" * 253, 2, "a." + "x" * 251 + "-2"),
    ],
)
def test_a_number_goes_before_the_extension_and_the_name_stays_possible(name, number, expected):
    assert numbered(name, number) == expected
    assert len(os.fsencode(expected)) <= 255


@pytest.mark.parametrize(
    "name, wanted, fits",
    [
        ("chat.jsonl.gz", "chat.jsonl.gz", True),
        ("chat-2.jsonl.gz", "chat.jsonl.gz", True),
        ("chat-13.jsonl.zst", "chat.jsonl.zst", True),
        ("chat-2.jsonl", "chat.jsonl", True),
        ("chat-2", "chat", True),
        ("chat-2.jsonl", "chat.jsonl.gz", False),
        ("chat-02.jsonl.gz", "chat.jsonl.gz", False),
        ("other-2.jsonl.gz", "chat.jsonl.gz", False),
    ],
)
def test_a_name_with_a_number_tells_which_name_was_wanted(name, wanted, fits):
    assert is_numbered_from(name, wanted) == fits


def test_sha256_is_that_of_the_content(tmp_path):
    assert file_sha256(drop(tmp_path, "a", "abc")).startswith("ba7816bf8f01cfea")


def _raise_no_space(*args: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def record_syncs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note the order in which a write becomes durable."""
    events: list[str] = []
    fsync: Callable[[int], None] = os.fsync
    replace = os.replace

    def noted_fsync(descriptor: int) -> None:
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        events.append("sync folder" if is_folder else "sync file")
        fsync(descriptor)

    def noted_replace(source: Path, target: Path) -> None:
        events.append("replace")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "replace", noted_replace)
    return events


def test_json_is_read_neither_from_a_pipe_nor_from_a_device(tmp_path):
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "device.json").symlink_to("/dev/zero")

    for name in ("pipe.json", "device.json"):
        with pytest.raises(UnreadableFile, match=f"{name} is a pipe or a device; expected a file"):
            read_json(tmp_path / name)


def test_json_that_is_larger_than_anything_ever_written_is_not_read(tmp_path):
    path = tmp_path / "huge.json"
    with path.open("wb") as file:
        file.truncate(files.LARGEST_JSON + 1)  # takes no room

    with pytest.raises(
        UnreadableFile, match=r"huge.json has 268,435,457 bytes; expected 268,435,456 at most"
    ):
        read_json(path)
