"""What the operating system tells, with the real watchdog."""

import errno
import os
import shutil

import pytest

from daemon.intake import watcher as module
from daemon.intake.watcher import Change, Watcher
from daemon.wake import Wake
from tests.support import PATIENCE_S, eventually, rows, write_jsonl


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "inbox").mkdir()
    return tmp_path / "inbox"


@pytest.fixture
def watcher(folder, listening):
    watcher = Watcher({folder: True}, listening, Wake().set)
    watcher.start()
    yield watcher
    watcher.stop()


@pytest.fixture
def told(watcher):
    """Return the changes of a path once there are any that satisfy a condition."""
    seen: list[Change] = []

    def told(path, condition=lambda change: True):
        def matching():
            seen.extend(watcher.drain())
            return [change for change in seen if change.path == path and condition(change)]

        return eventually(matching, timeout_s=PATIENCE_S, what=f"a change of {path.name}")

    return told


def test_a_file_renamed_in_from_elsewhere_is_told_as_such(folder, told, tmp_path):
    write_jsonl(tmp_path / "a.jsonl", rows(1)).rename(folder / "a.jsonl")

    assert told(folder / "a.jsonl")[0].renamed_in


def test_a_temporary_file_that_gets_its_name_is_told_as_renamed_in(folder, told):
    write_jsonl(folder / ".a.jsonl.gCT2xx", rows(1)).rename(folder / "a.jsonl")

    assert told(folder / "a.jsonl")[0].renamed_in


def test_a_copied_file_is_told_and_not_as_renamed_in(folder, told, tmp_path):
    source = write_jsonl(tmp_path / "a.jsonl", rows(1))

    shutil.copy(source, folder / "b.jsonl")

    write_jsonl(tmp_path / "end", []).rename(folder / "end")
    told(folder / "end")
    assert not any(change.renamed_in for change in told(folder / "b.jsonl"))


def test_a_hard_link_is_told(folder, told, tmp_path):
    os.link(write_jsonl(tmp_path / "a.jsonl", rows(1)), folder / "a.jsonl")

    assert told(folder / "a.jsonl")


def test_files_in_a_new_subfolder_are_told(folder, told):
    (folder / "sub").mkdir()
    told(folder / "sub")

    write_jsonl(folder / "sub" / "a.jsonl", rows(1))

    assert told(folder / "sub" / "a.jsonl")


def test_a_removed_file_is_told(folder, told):
    path = write_jsonl(folder / "a.jsonl", rows(1))
    told(path)

    path.unlink()

    assert told(path)


def test_a_name_that_is_not_utf8_is_told_as_it_is(folder, told):
    path = folder / os.fsdecode(b"\xff.jsonl")

    path.touch()

    assert told(path)


def test_a_change_wakes_the_loop(folder, listening):
    wake = Wake()
    watcher = Watcher({folder: True}, listening, wake.set)
    watcher.start()

    (folder / "a.jsonl").touch()

    eventually(lambda: os.read(wake.fileno(), 1) if _is_readable(wake) else b"", timeout_s=PATIENCE_S)
    watcher.stop()


def _is_readable(wake):
    import select

    return bool(select.select([wake], [], [], 0)[0])


def test_a_folder_that_was_replaced_is_watched_again(folder, watcher, told):
    folder.rename(folder.with_name("old"))
    folder.mkdir()

    watcher.check_folders()
    (folder / "a.jsonl").touch()

    assert told(folder / "a.jsonl")


def test_a_folder_that_comes_back_is_watched_again(folder, watcher, told, recorded):
    folder.rmdir()
    told(folder)
    folder.mkdir()

    watcher.check_folders()
    (folder / "a.jsonl").touch()

    assert told(folder / "a.jsonl")
    assert recorded == []


def test_a_folder_that_is_still_the_same_is_not_watched_twice(folder, watcher):
    before = dict(watcher._watched)

    watcher.check_folders()

    assert watcher._watched == before


def test_without_events_from_the_system_the_reason_is_recorded_once_and_nothing_fails(
    folder, listening, recorded, monkeypatch
):
    def refuse():
        raise OSError(errno.EMFILE, "inotify instance limit reached")

    monkeypatch.setattr(module, "_observer", refuse)
    watcher = Watcher({folder: True}, listening, Wake().set)

    watcher.start()

    watcher.check_folders()
    assert watcher.drain() == []
    [failed] = recorded
    assert failed.alert == (
        "watcher",
        "no file system events ([Errno 24] inotify instance limit reached); "
        "new files are found by rescans only (daemon.rescan_s)",
    )
    watcher.stop()


def test_a_folder_that_cannot_be_watched_gives_up_with_the_reason(folder, watcher, recorded, monkeypatch):
    def refuse(*arguments, **options):
        raise OSError(errno.ENOSPC, "inotify watch limit reached")

    monkeypatch.setattr(watcher._observer, "schedule", refuse)
    folder.rename(folder.with_name("old"))
    folder.mkdir()

    watcher.check_folders()

    [failed] = recorded
    assert "inotify watch limit reached" in failed.message


def test_too_many_changes_are_told_as_none_and_then_it_starts_anew(folder, watcher, monkeypatch):
    change = Change(folder / "a.jsonl", renamed_in=False)
    watcher._changes.extend([change] * (module.MANY + 5))

    overflowed = watcher.drain()

    assert overflowed is None
    assert watcher.drain() == []


def test_as_many_changes_as_can_be_told_apart_are_told(folder, watcher):
    change = Change(folder / "a.jsonl", renamed_in=False)
    watcher._changes.extend([change] * (module.MANY - 1))

    assert len(watcher.drain()) == module.MANY - 1
