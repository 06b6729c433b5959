"""Clearing moves files and their notes, loses nothing whenever it is killed, and can be undone."""

import errno
import filecmp
import os
import time
from itertools import count

import pytest

from daemon.client.errors import WrongPlace
from daemon.client.trash import ARRIVING_S, clear, trash_folders, trashed_files
from daemon.files.notes import REASON_SUFFIX, REJECTED_SUFFIX, note_beside
from daemon.jobs.reasons import write_reason
from tests.support import PowerCut, rows, write_jsonl
from trainer.protocol.job import FaultKind, Outcome, Priority, Reason

LATER_S = 3600.0


def put(layout, name, *, outcome=Outcome.FAILED, at="2026-01-01T00:00:00.000Z", is_noted=True):
    path = write_jsonl(layout.finished(outcome) / name, [name.encode("utf-8", "replace")])
    if is_noted:
        reason = Reason(kind=FaultKind.BAD_DATA, message=f"because of {name!r}", file=name, at=at)
        write_reason(path, reason)
    return path


def reject(layout, name):
    note = note_beside(layout.failed / name, REJECTED_SUFFIX)
    note.write_text(f"rows of {name!r}")
    return note


def clear_later(layout, outcome=Outcome.FAILED, *, older_than_s=0.0):
    return clear(layout, outcome, older_than_s=older_than_s, now=time.time() + LATER_S)


def everything(layout):
    """Return the contents of all files in the queue by their names, except for second names of notes."""
    return sorted(path.name for path in layout.queue.rglob("*") if path.is_file())


# ---- what is moved


def test_a_file_goes_with_its_notes(layout):
    put(layout, "a.jsonl")
    reject(layout, "a.jsonl")

    cleared = clear_later(layout)

    [folder] = trash_folders(layout)
    assert cleared.moved == (f"queue/.trash/{folder.name}/a.jsonl",)
    assert everything(layout) == ["a.jsonl", "a.jsonl.reason.json", "a.jsonl.rejected.jsonl"]
    assert list(layout.failed.iterdir()) == []
    assert folder.stat().st_mode & 0o777 == 0o700


def test_the_lists_of_all_tries_of_a_file_go_with_it(layout):
    put(layout, "a.jsonl")
    for name in ("a.jsonl", "a-2.jsonl", "a-3.jsonl"):
        reject(layout, name)

    clear_later(layout)

    assert list(layout.failed.iterdir()) == []
    assert "a-3.jsonl.rejected.jsonl" in everything(layout)


def test_the_lists_of_files_that_are_put_back_go_to_one_folder_of_the_trash(layout, client):
    for name in ("a.jsonl", "b.jsonl"):
        put(layout, name)
    for name in ("a.jsonl", "a-2.jsonl", "b.jsonl"):
        reject(layout, name)

    client.queue.retry_failed()

    [folder] = trash_folders(layout)
    assert sorted(path.name for path in folder.iterdir()) == [
        "a-2.jsonl.rejected.jsonl", "a.jsonl.rejected.jsonl", "b.jsonl.rejected.jsonl"
    ]  # fmt: skip
    assert list(layout.failed.iterdir()) == []
    assert client.queue.trashed() == ([], 0)


def test_the_list_of_a_file_that_comes_back_from_the_trash_stays_there(layout, client):
    put(layout, "a.jsonl")
    reject(layout, "a.jsonl")
    clear_later(layout)
    note = reject(layout, "a.jsonl")  # of another file that had this name since

    client.queue.retry("a.jsonl")

    [folder] = trash_folders(layout)
    assert [path.name for path in folder.iterdir()] == ["a.jsonl.rejected.jsonl"]
    assert list(layout.failed.iterdir()) == [note]


def test_where_nothing_was_rejected_putting_files_back_makes_no_folder_in_the_trash(layout, client):
    put(layout, "a.jsonl")

    client.queue.retry("a.jsonl")

    assert trash_folders(layout) == []


def test_a_list_that_is_of_another_file_stays(layout):
    put(layout, "a.jsonl")
    reject(layout, "a.jsonl")
    note = reject(layout, "a-2.jsonl")
    write_jsonl(layout.finished(Outcome.COMPLETED) / "a-2.jsonl", rows(1))

    clear_later(layout)

    assert list(layout.failed.iterdir()) == [note]


def test_rejected_rows_stay_where_another_file_has_that_name(layout):
    put(layout, "a.jsonl", outcome=Outcome.SKIPPED)
    note = reject(layout, "a.jsonl")
    write_jsonl(layout.finished(Outcome.COMPLETED) / "a.jsonl", rows(1))

    clear_later(layout, Outcome.SKIPPED)

    assert list(layout.failed.iterdir()) == [note]


def test_rejected_rows_of_a_skipped_file_go_with_it(layout):
    put(layout, "a.jsonl", outcome=Outcome.SKIPPED)
    reject(layout, "a.jsonl")

    clear_later(layout, Outcome.SKIPPED)

    [folder] = trash_folders(layout)
    assert folder.name.startswith("skipped-")
    assert (folder / "a.jsonl.rejected.jsonl").exists()
    assert list(layout.failed.iterdir()) == []


def test_only_what_is_old_enough_is_moved(layout):
    old, new = put(layout, "old.jsonl", at="2026-01-01T00:00:00.000Z"), put(layout, "new.jsonl")
    now = 1_767_312_000.0  # 2026-01-02
    write_reason(new, Reason(kind=FaultKind.CRASH, message="", file="new.jsonl", at="2026-01-01T12:00:00Z"))

    cleared = clear(layout, Outcome.FAILED, older_than_s=86_400.0, now=now)

    assert (len(cleared.moved), cleared.kept) == (1, 1)
    assert (old.exists(), new.exists()) == (False, True)


@pytest.mark.parametrize("note", ['{"at": "yesterday"}', '{"at": 3}', "[]", "no json"])
def test_where_a_note_says_no_time_the_time_of_the_move_counts(layout, note):
    path = put(layout, "a.jsonl", is_noted=False)
    os.utime(path, (0, 0))  # the content may be as old as it likes
    note_beside(path, REASON_SUFFIX).write_text(note)

    assert clear_later(layout, older_than_s=2 * LATER_S).kept == 1
    assert len(clear_later(layout, older_than_s=LATER_S / 2).moved) == 1


def test_odd_names_are_moved_like_others(layout):
    names = [b"\xff\n.jsonl", b"a b'$(x).jsonl", b"x" * 240 + b".jsonl"]
    for name in map(os.fsdecode, names):
        put(layout, name, is_noted=False)

    cleared = clear_later(layout)

    assert sorted(os.fsencode(path.name) for path in trashed_files(layout)) == sorted(names)
    assert all(place.isprintable() for place in cleared.moved)


def test_links_and_folders_are_moved_themselves(layout, tmp_path):
    precious = write_jsonl(tmp_path / "precious.jsonl", rows(1))
    (layout.failed / "link.jsonl").symlink_to(precious)
    (layout.failed / "folder.jsonl").mkdir()

    clear_later(layout)

    assert precious.exists()
    assert [path.is_symlink() for path in trashed_files(layout)] == [False, True]


def test_two_clearings_in_one_second_take_two_folders(layout):
    put(layout, "a.jsonl")
    clear(layout, Outcome.FAILED, older_than_s=0.0, now=2e9)
    put(layout, "a.jsonl")
    clear(layout, Outcome.FAILED, older_than_s=0.0, now=2e9)

    assert [folder.name for folder in trash_folders(layout)] == [
        "failed-20330518-033320",
        "failed-20330518-033320-2",
    ]


def test_completed_files_are_not_cleared(client):
    with pytest.raises(WrongPlace, match="may replay its rows"):
        client.queue.clear(Outcome.COMPLETED)


# ---- beside a daemon


def test_a_file_that_the_daemon_is_still_putting_there_is_left(layout):
    path = put(layout, "a.jsonl", is_noted=False)
    os.link(path, layout.processing / "a.jsonl")  # its old name is about to go
    put(layout, "b.jsonl", is_noted=False)  # its note is about to come

    soon = clear(layout, Outcome.FAILED, older_than_s=0.0, now=time.time() + ARRIVING_S / 2)
    later = clear_later(layout)

    assert (soon.moved, soon.arriving) == ((), 2)
    assert (len(later.moved), later.arriving) == (1, 1)
    assert path.exists()


def test_a_file_that_is_taken_away_meanwhile_leaves_nothing_in_the_trash(layout, monkeypatch):
    put(layout, "a.jsonl")
    rename = os.rename

    def retried_first(source, target):
        os.unlink(source)
        rename(source, target)

    monkeypatch.setattr(os, "rename", retried_first)
    cleared = clear_later(layout)

    assert cleared.moved == ()
    assert trash_folders(layout) == []


def test_the_trash_does_not_disturb_a_daemon(rig):
    rig.drop("bad.jsonl", num_rows=0)
    rig.start()
    rig.until_in(Outcome.FAILED, "bad.jsonl", "bad.jsonl.reason.json")

    clear_later(rig.layout)
    rig.until(lambda: rig.status()["queue"]["failed"] == 0, "the count of failed files")
    rig.stop()
    rig.start()
    rig.drop("good.jsonl")
    rig.until_in(Outcome.COMPLETED, "good.jsonl")

    assert [path.name for path in trashed_files(rig.layout)] == ["bad.jsonl"]
    assert rig.status()["queue"]["failed"] == 0


# ---- killed in the middle


CALLS = ("link", "rename", "unlink", "mkdir", "rmdir", "fsync")


def kill_at(monkeypatch, number):
    """Have everything end at the `number`-th change of the file system, counted from 0."""
    calls = count()

    def dying(call):
        def change(*arguments, **options):
            if next(calls) >= number:
                raise PowerCut
            return call(*arguments, **options)

        return change

    for name in CALLS:
        monkeypatch.setattr(os, name, dying(getattr(os, name)))


@pytest.mark.long
def test_whenever_it_is_killed_each_file_lies_in_one_place_with_its_notes(layout, monkeypatch):
    for number in count():
        for path in layout.queue.rglob("*"):
            if path.is_file():
                path.unlink()
        names = ["a.jsonl", "b.jsonl"]
        for name in names:
            put(layout, name)
            reject(layout, name)
        has_ended = False
        with monkeypatch.context() as killing:
            kill_at(killing, number)
            try:
                clear_later(layout)
                has_ended = True
            except PowerCut:
                pass
        assert_nothing_is_lost(layout, names)
        put(layout, "c.jsonl")
        clear_later(layout)
        assert_nothing_is_lost(layout, [*names, "c.jsonl"])
        assert list(layout.failed.iterdir()) == []
        if has_ended:
            break
    assert number > 10


def assert_nothing_is_lost(layout, names):
    for name in names:
        [path] = [path for path in layout.queue.rglob(name) if path.is_file()]
        assert path.read_text() == f"{name}\n"
        assert f"because of {name!r}" in note_beside(path, REASON_SUFFIX).read_text()
        if name != "c.jsonl":
            assert note_beside(path, REJECTED_SUFFIX).read_text() == f"rows of {name!r}"


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP])
def test_where_files_cannot_be_linked_notes_are_copied(layout, monkeypatch, code):
    def no_link(*arguments, **options):
        raise OSError(code, "no links here")

    put(layout, "a.jsonl")
    with monkeypatch.context() as without:
        without.setattr(os, "link", no_link)
        clear_later(layout)

    assert_nothing_is_lost(layout, [])
    assert list(layout.failed.iterdir()) == []
    assert everything(layout) == ["a.jsonl", "a.jsonl.reason.json"]


def test_a_folder_of_the_queue_on_another_file_system_is_cleared_too(layout, monkeypatch):
    def elsewhere(source, target):
        raise OSError(errno.EXDEV, "another file system")

    put(layout, "a.jsonl")
    with monkeypatch.context() as apart:
        apart.setattr(os, "rename", elsewhere)
        cleared = clear_later(layout)

    assert [place.rpartition("/")[2] for place in cleared.moved] == ["a.jsonl"]
    assert list(layout.failed.iterdir()) == []


# ---- and back again


def test_a_file_comes_back_by_its_name_to_where_it_came_from(client, layout):
    path = put(layout, "a.jsonl")
    write_reason(
        path,
        Reason(kind=FaultKind.BAD_DATA, message="", file="a.jsonl", at="2026-01-01", priority=Priority.LOW),
    )
    clear_later(layout)

    assert client.queue.retry("a.jsonl") == "a.jsonl"

    assert (layout.waiting(Priority.LOW) / "a.jsonl").exists()
    assert trash_folders(layout) == []  # nothing else lay in its folder


def test_a_file_in_failed_comes_before_one_in_the_trash(client, layout):
    put(layout, "a.jsonl")
    clear_later(layout)
    newer = put(layout, "a.jsonl")
    [trashed] = trashed_files(layout)

    client.queue.retry("a.jsonl")
    client.queue.retry(f"queue/.trash/{trashed.parent.name}/a.jsonl")

    assert not newer.exists()
    waiting = layout.waiting(Priority.NORMAL)
    assert sorted(path.name for path in waiting.iterdir()) == ["a-2.jsonl", "a.jsonl"]
    assert filecmp.cmp(waiting / "a.jsonl", waiting / "a-2.jsonl", shallow=False)
