"""Files that settle, with time as a number; and what the inbox holds."""

import os
from pathlib import Path

import pytest

from daemon.files.identity import Identity
from daemon.files.probe import FileProbe
from daemon.intake import settling as intake
from daemon.intake.inbox import find_files, folder_without_priority, priority_of
from daemon.intake.settling import Settling
from tests.support import rows, write_jsonl
from trainer.protocol.job import Priority


@pytest.fixture
def settling():
    return Settling(settle_s=0.5, settle_slow_s=2.0)


@pytest.fixture
def path(tmp_path):
    return write_jsonl(tmp_path / "a.jsonl", rows(2))


@pytest.fixture
def sights(monkeypatch):
    """What `probe` sees, by path; None when it is gone."""
    seen = {}
    monkeypatch.setattr(intake, "probe", seen.get)
    return seen


def sighting(size=10, mtime_ns=1, **facts):
    identity = Identity(device=1, inode=2, size=size, mtime_ns=mtime_ns)
    return FileProbe(
        **({"kind": "file", "identity": identity, "has_writer": False, "ends_whole": True} | facts)
    )


def test_a_file_written_in_place_is_taken_after_it_was_left_alone_long_enough(settling, path, sights):
    sights[path] = sighting()
    settling.notice(path, renamed_in=False, now=100.0)

    first = settling.settled(100.0)
    due_at = settling.due_at()
    early = settling.settled(100.49)
    late = settling.settled(100.5)

    assert (first, early, late) == (([], []), ([], []), ([path], []))
    assert due_at == 100.5
    assert len(settling) == 0


def test_every_change_starts_the_wait_anew(settling, path, sights):
    settling.notice(path, renamed_in=False, now=100.0)
    for tick in range(5):
        sights[path] = sighting(size=10 + tick)
        now = 100.0 + tick * 0.4
        settling.notice(path, renamed_in=False, now=now)
        assert settling.settled(now) == ([], [])

    assert settling.settled(102.09) == ([], [])
    assert settling.settled(102.1) == ([path], [])


def test_an_event_without_a_change_does_not_start_the_wait_anew(settling, path, sights):
    sights[path] = sighting()
    settling.notice(path, renamed_in=False, now=100.0)
    settling.settled(100.0)

    settling.notice(path, renamed_in=False, now=100.4)

    assert settling.settled(100.4) == ([], [])
    assert settling.settled(100.5) == ([path], [])


def test_a_file_renamed_in_is_taken_at_once(settling, path, sights):
    sights[path] = sighting()

    settling.notice(path, renamed_in=True, now=100.0)

    assert settling.settled(100.0) == ([path], [])


def test_that_a_file_was_renamed_in_is_not_forgotten_over_later_events(settling, path, sights):
    sights[path] = sighting(has_writer=True)
    settling.notice(path, renamed_in=True, now=100.0)
    settling.settled(100.0)
    sights[path] = sighting()

    settling.notice(path, renamed_in=False, now=100.1)

    assert settling.settled(100.1) == ([path], [])


def test_a_rescan_does_not_disturb_the_wait_of_a_known_file(settling, path, sights):
    sights[path] = sighting()
    settling.notice(path, renamed_in=False, now=100.0)
    settling.settled(100.0)

    settling.notice_scanned(path, now=100.3)

    assert settling.due_at() == 100.5


def test_a_file_that_vanishes_is_forgotten(settling, path, sights):
    sights[path] = None
    settling.notice(path, renamed_in=False, now=100.0)

    assert settling.settled(100.0) == ([], [])
    assert len(settling) == 0
    assert settling.due_at() is None


def test_what_can_never_be_trained_is_refused_with_the_reason(settling, path, sights):
    sights[path] = sighting(kind="named pipe")
    settling.notice(path, renamed_in=False, now=100.0)

    complete, [(refused, reason)] = settling.settled(100.0)

    assert (complete, refused) == ([], path)
    assert "named pipe" in reason


def test_the_earliest_due_file_decides_when_to_look(settling, tmp_path, sights):
    for name, now in [("a.jsonl", 103.0), ("b.jsonl", 101.0), ("c.jsonl", 102.0)]:
        settling.notice(tmp_path / name, renamed_in=False, now=now)

    assert settling.due_at() == 101.0


def test_a_real_file_with_a_writer_is_not_taken_and_then_is(settling, path):
    settling.notice(path, renamed_in=True, now=100.0)
    with path.open("ab") as file:
        file.write(b"{}\n")
        file.flush()
        while_open = settling.settled(100.0)

    after = settling.settled(100.5)

    assert while_open == ([], [])
    assert after == ([path], [])


# ---- the inbox


def test_files_are_found_in_folders_and_hidden_ones_are_not(tmp_path):
    for name in ["a.jsonl", "high/b.jsonl", "deep/er/c.jsonl", "notes.txt"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for name in [".hidden.jsonl", ".cache/d.jsonl", "e.jsonl.part", "upload.tmp/f.jsonl"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()

    found = {str(path.relative_to(tmp_path)) for path in find_files(tmp_path)}

    assert found == {"a.jsonl", "high/b.jsonl", "deep/er/c.jsonl", "notes.txt"}


def test_links_to_folders_are_named_and_not_followed(tmp_path):
    inbox, elsewhere = tmp_path / "inbox", tmp_path / "elsewhere"
    inbox.mkdir()
    elsewhere.mkdir()
    (elsewhere / "a.jsonl").touch()
    (inbox / "link").symlink_to(elsewhere)
    (inbox / "loop").symlink_to(inbox)

    assert {path.name for path in find_files(inbox)} == {"link", "loop"}


def test_folders_are_searched_however_deep_they_are(tmp_path):
    folder = tmp_path.joinpath(*["d"] * 40)
    folder.mkdir(parents=True)
    (folder / "a.jsonl").touch()

    assert list(find_files(tmp_path)) == [folder / "a.jsonl"]


def test_a_folder_that_cannot_be_looked_into_is_told_and_the_others_are_searched(tmp_path, monkeypatch):
    closed = tmp_path / "closed"
    closed.mkdir()
    (tmp_path / "a.jsonl").touch()
    scandir, unreadable = os.scandir, []

    def refuse(folder):
        if Path(folder) == closed:
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)

    assert list(find_files(tmp_path, on_unreadable=unreadable.append)) == [tmp_path / "a.jsonl"]
    assert unreadable == [closed]


def test_a_name_that_is_not_utf8_is_found(tmp_path):
    path = tmp_path / os.fsdecode(b"\xff.jsonl")
    path.touch()

    assert list(find_files(tmp_path)) == [path]


@pytest.mark.parametrize(
    "place, priority",
    [
        ("a.jsonl", Priority.NORMAL),
        ("high/a.jsonl", Priority.HIGH),
        ("normal/a.jsonl", Priority.NORMAL),
        ("low/a.jsonl", Priority.LOW),
        ("low/deeper/a.jsonl", Priority.LOW),
        ("project/high/a.jsonl", Priority.NORMAL),
        ("other/a.jsonl", Priority.NORMAL),
        ("high", Priority.NORMAL),
    ],
)
def test_the_folder_in_the_inbox_sets_the_priority(tmp_path, place, priority):
    assert priority_of(tmp_path / place, tmp_path) == priority


@pytest.mark.parametrize(
    "place, folder",
    [("a.jsonl", None), ("low/a.jsonl", None), ("low/deeper/a.jsonl", None), ("hihg/high/a.jsonl", "hihg")],
)
def test_a_folder_in_the_inbox_that_sets_no_priority_is_known(tmp_path, place, folder):
    assert folder_without_priority(tmp_path / place, tmp_path) == folder
