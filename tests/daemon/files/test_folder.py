"""Names of a folder, read again only when it has changed."""

import os
import time

import pytest

from daemon.files import folder as module
from daemon.files.folder import TICK_NS, Folder
from daemon.files.notes import is_users_file, note_beside


def age(path, ns):
    """Make the folder's last change look that old."""
    at = time.time_ns() - ns
    os.utime(path, ns=(at, at))


def test_the_names_are_read_once_and_again_after_a_change(tmp_path):
    folder = Folder(tmp_path)
    (tmp_path / "a").touch()
    age(tmp_path, 10 * TICK_NS)

    first, unchanged = folder.names_if_changed(), folder.names_if_changed()
    (tmp_path / "b").touch()

    assert (first, unchanged) == ({"a"}, None)
    assert folder.names_if_changed() == {"a", "b"}


def test_a_folder_that_has_just_changed_is_read_again_for_its_clock_is_coarse(tmp_path, monkeypatch):
    folder = Folder(tmp_path)
    changed_at = tmp_path.stat().st_mtime_ns
    monkeypatch.setattr(module.time, "time_ns", lambda: changed_at + TICK_NS)
    folder.names_if_changed()

    (tmp_path / "a").touch()
    os.utime(tmp_path, ns=(changed_at, changed_at))  # within one tick

    assert folder.names_if_changed() == {"a"}


def test_files_of_users_are_counted_and_notes_are_not(tmp_path):
    for name in ["a.jsonl", "b.jsonl", "a.jsonl.reason.json", "a.jsonl.rejected.jsonl", ".x.tmp"]:
        (tmp_path / name).touch()
    folder = Folder(tmp_path)

    assert folder.count_files() == 2


def test_the_count_is_remembered_while_the_folder_stays_the_same(tmp_path, monkeypatch):
    (tmp_path / "a.jsonl").touch()
    age(tmp_path, 10 * TICK_NS)
    folder = Folder(tmp_path)
    folder.count_files()
    monkeypatch.setattr(module.os, "listdir", lambda path: pytest.fail("read again"))

    assert folder.count_files() == 1


@pytest.mark.parametrize("name, is_it", [("a.jsonl", True), ("a.reason.json", False), (".a.jsonl", False)])
def test_a_users_file_is_told_from_a_note(name, is_it):
    assert is_users_file(name) == is_it


@pytest.mark.parametrize("name", ["a.jsonl", "漢" * 85, "\udcff" * 255, "😀" * 63, "a" * 255, "a\nb\x1b"])
def test_the_name_of_a_note_is_safe_and_short_enough_for_a_temporary_one_too(tmp_path, name):
    note = note_beside(tmp_path / name, ".reason.json")

    assert note.name.isprintable()
    assert note.name.endswith(".reason.json")
    assert len(f".{note.name}.4194304.tmp".encode()) <= 255
