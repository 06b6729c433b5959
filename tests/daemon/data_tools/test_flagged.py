"""The file of flagged rows: appended to by many, whole after every crash."""

import json
import os
import threading

import pytest

from daemon.data_tools.flagged import BLOCK_BYTES, Flagged, add_flagged, read_flagged
from tests.support import row
from trainer.protocol.files import UnreadableFile


def entry(number=1, **fields):
    facts = {"at": "2026-01-01T00:00:00.000Z", "file": "normal/chat.jsonl", "line": number, "note": "wrong"}
    return Flagged(**(facts | {"row": row()} | fields))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "flagged.jsonl"


def test_entries_come_back_in_order(path):
    entries = [entry(1), entry(2, note="ä\n\x1b", row={"messages": "\ud800"})]

    for item in entries:
        add_flagged(path, item)

    assert list(read_flagged(path)) == entries
    assert path.stat().st_mode & 0o777 == 0o600


def test_without_a_file_there_are_no_entries(path):
    assert list(read_flagged(path)) == []


def test_many_may_flag_at_once(path):
    def flag(start):
        for number in range(start, start + 20):
            add_flagged(path, entry(number, note="x" * 9000))

    threads = [threading.Thread(target=flag, args=(100 * i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(item.line for item in read_flagged(path)) == [
        100 * i + number for i in range(4) for number in range(20)
    ]


@pytest.mark.parametrize("length", [1, 50, BLOCK_BYTES + 7])
def test_half_an_entry_of_a_process_that_died_is_passed_over_and_then_dropped(path, length):
    add_flagged(path, entry(1))
    whole = path.read_bytes()
    path.write_bytes(whole + b"x" * length)

    seen = list(read_flagged(path))
    add_flagged(path, entry(2))

    assert seen == [entry(1)]
    assert list(read_flagged(path)) == [entry(1), entry(2)]


def test_half_a_first_entry_is_dropped(path):
    path.write_bytes(b'{"at"')

    add_flagged(path, entry(1))

    assert list(read_flagged(path)) == [entry(1)]


def test_a_full_disk_leaves_the_entries_before_as_they_were(path, monkeypatch):
    add_flagged(path, entry(1))
    before = path.read_bytes()

    def no_space(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(OSError, match="No space left"):
        add_flagged(path, entry(2))

    assert path.read_bytes() == before


@pytest.mark.parametrize("line", [b"no json", b"{}", b"[]", json.dumps({"at": 1, "more": 2}).encode()])
def test_what_somebody_else_has_written_is_named_with_its_line(path, line):
    add_flagged(path, entry(1))
    path.write_bytes(path.read_bytes() + line + b"\n")

    with pytest.raises(UnreadableFile, match=r"flagged\.jsonl:2: .*remove this line"):
        list(read_flagged(path))
