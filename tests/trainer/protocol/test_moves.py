"""Moves that never overwrite and never lose a file."""

import errno
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.trainer.protocol.test_files import ODD_NAMES, drop, names
from trainer.protocol import files
from trainer.protocol.files import copy_durably, keep_durably, move_all_durably, move_durably, numbered


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    (tmp_path / "inbox").mkdir()
    return tmp_path / "inbox"


@pytest.fixture
def queue(tmp_path: Path) -> Path:
    (tmp_path / "queue").mkdir()
    return tmp_path / "queue"


def refuse_links(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def link(source: Path, target: Path, *, follow_symlinks: bool = True) -> None:
        if not os.path.lexists(source):
            raise FileNotFoundError(errno.ENOENT, "gone", str(source))
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", link)


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_second_file_of_one_name_gets_a_number_and_both_keep_their_content(inbox, queue, name):
    drop(queue, name, "first")

    target = move_durably(drop(inbox, name, "second"), queue)

    assert target.name == numbered(name, 2)
    assert (queue / name).read_text() == "first"
    assert target.read_text() == "second"
    assert names(inbox) == []


def test_a_move_takes_the_first_free_number(inbox, queue):
    for taken in ("a.jsonl", "a-2.jsonl", "a-3.jsonl"):
        drop(queue, taken)

    assert move_durably(drop(inbox, "a.jsonl"), queue).name == "a-4.jsonl"


def test_a_move_can_rename(inbox, queue):
    target = move_durably(drop(inbox, ".a.jsonl.part"), queue, name="a.jsonl")

    assert target == queue / "a.jsonl"


def test_a_dangling_symlink_in_the_way_is_not_replaced(inbox, queue):
    (queue / "a.jsonl").symlink_to("nowhere")

    target = move_durably(drop(inbox, "a.jsonl"), queue)

    assert target.name == "a-2.jsonl"
    assert (queue / "a.jsonl").is_symlink()


def test_a_symlink_is_moved_as_a_symlink(inbox, queue, tmp_path):
    secret = drop(tmp_path, "secret", "mine")
    (inbox / "a.jsonl").symlink_to(secret)

    target = move_durably(inbox / "a.jsonl", queue)

    assert target.is_symlink()
    assert os.readlink(target) == str(secret)
    assert secret.stat().st_nlink == 1


def test_a_missing_file_cannot_be_moved(inbox, queue):
    with pytest.raises(FileNotFoundError, match=r"gone before it could be moved: .*a\.jsonl"):
        move_durably(inbox / "a.jsonl", queue)

    assert names(queue) == []


def test_a_batch_moves_what_is_there_and_says_none_for_the_rest(inbox, queue):
    moves = [
        (drop(inbox, "a.jsonl", "1"), queue, "same.jsonl"),
        (inbox / "gone.jsonl", queue, "gone.jsonl"),
        (drop(inbox, "b.jsonl", "2"), queue, "same.jsonl"),
    ]

    targets = move_all_durably(iter(moves))

    assert targets == [queue / "same.jsonl", None, queue / "same-2.jsonl"]
    assert [(queue / name).read_text() for name in ("same.jsonl", "same-2.jsonl")] == ["1", "2"]
    assert names(inbox) == []


def test_an_empty_batch_moves_nothing():
    assert move_all_durably([]) == []


def test_the_old_name_goes_only_after_the_new_one_is_durable(inbox, queue, monkeypatch):
    source = drop(inbox, "a.jsonl")
    present = []
    monkeypatch.setattr(files, "sync_directory", lambda folder: present.append((folder, source.exists())))

    move_durably(source, queue)

    assert present == [(queue, True)]
    assert not source.exists()


@pytest.mark.parametrize("link_error", [None, errno.EXDEV])
def test_a_file_dropped_under_the_same_name_during_a_move_stays(inbox, queue, monkeypatch, link_error):
    source = drop(inbox, "a.jsonl", "first")
    if link_error:
        refuse_links(monkeypatch, link_error)

    def replace_source(folder: Path) -> None:
        if source.read_text() == "first":
            drop(inbox, ".new", "second").replace(source)

    monkeypatch.setattr(files, "sync_directory", replace_source)

    target = move_durably(source, queue)

    assert target.read_text() == "first"
    assert source.read_text() == "second"


# ---- where no hard link can be made


@pytest.mark.parametrize("number", files.NO_LINK_HERE)
def test_without_hard_links_a_file_is_copied_and_never_overwrites(inbox, queue, monkeypatch, number):
    refuse_links(monkeypatch, number)
    drop(queue, "a.jsonl", "first")

    targets = move_all_durably(
        [(drop(inbox, "a.jsonl", "second"), queue, "a.jsonl"), (inbox / "gone", queue, "gone")]
    )

    assert targets == [queue / "a-2.jsonl", None]
    assert names(inbox) == []
    assert names(queue) == ["a-2.jsonl", "a.jsonl"]
    assert [(queue / name).read_text() for name in names(queue)] == ["second", "first"]


def test_another_error_of_a_link_is_not_hidden_by_a_copy(inbox, queue, monkeypatch):
    refuse_links(monkeypatch, errno.ENOSPC)
    source = drop(inbox, "a.jsonl")

    with pytest.raises(OSError, match="No space"):
        move_durably(source, queue)

    assert source.exists()
    assert names(queue) == []


def test_a_copy_does_not_follow_a_symlink(inbox, queue, tmp_path, monkeypatch):
    refuse_links(monkeypatch, errno.EXDEV)
    (inbox / "a.jsonl").symlink_to(drop(tmp_path, "secret"))

    with pytest.raises(OSError, match="symbolic links"):
        move_durably(inbox / "a.jsonl", queue)

    assert (inbox / "a.jsonl").is_symlink()
    assert names(queue) == []


def test_a_copy_that_reads_back_differently_is_thrown_away(inbox, queue, monkeypatch):
    source = drop(inbox, "a.jsonl")
    monkeypatch.setattr(files, "file_sha256", lambda path: str(path))

    with pytest.raises(OSError, match="the copy differs from the original"):
        copy_durably(source, queue, "a.jsonl")

    assert source.exists()
    assert names(queue) == []


def test_threads_that_copy_into_one_folder_do_not_meet_in_a_temporary_name(inbox, queue, monkeypatch):
    both, hash_of = threading.Barrier(2, timeout=60), files.file_sha256

    def meet(path):
        both.wait()
        return hash_of(path)

    monkeypatch.setattr(files, "file_sha256", meet)
    with ThreadPoolExecutor() as pool:
        copied = [
            pool.submit(copy_durably, drop(inbox, name, name), queue, name) for name in ("a.jsonl", "b.jsonl")
        ]
        for item in copied:
            item.result()

    assert {path.name: path.read_text() for path in queue.iterdir()} == {
        "a.jsonl": "a.jsonl",
        "b.jsonl": "b.jsonl",
    }


def test_a_copy_is_not_stopped_by_what_a_crashed_copy_left(inbox, queue):
    leftover = drop(queue, f".{os.getpid()}.part", "half")

    copy_durably(drop(inbox, "a.jsonl", "whole"), queue, "a.jsonl")

    assert (queue / "a.jsonl").read_text() == "whole"
    assert not leftover.exists()


@pytest.mark.parametrize("link_error", [None, errno.EXDEV])
def test_a_kept_file_gets_exactly_the_name_that_was_asked_for(inbox, queue, monkeypatch, link_error):
    source = drop(inbox, "a.jsonl", "kept")
    if link_error:
        refuse_links(monkeypatch, link_error)

    keep_durably(source, queue, name="job-1")
    drop(inbox, "b.jsonl", "other")
    with pytest.raises(FileExistsError):
        keep_durably(inbox / "b.jsonl", queue, name="job-1")

    assert names(queue) == ["job-1"]
    assert (queue / "job-1").read_text() == "kept"
    assert source.exists()
