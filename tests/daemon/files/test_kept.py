"""Accepted files are kept under their SHA-256, up to a budget; those trained longest ago go first."""

import errno
import os

import pytest

from daemon.files import kept
from daemon.files.kept import DAY_S, KeptFiles, kept_in, kept_use

SHA256 = [f"{number:064x}" for number in range(10)]


@pytest.fixture
def problems():
    return []


@pytest.fixture
def make(tmp_path, problems):
    def make(budget_bytes):
        return KeptFiles(
            tmp_path / "data",
            budget_bytes=lambda: budget_bytes,
            on_problem=lambda name, error: problems.append((name, error.errno)),
        )

    return make


@pytest.fixture
def accept(tmp_path):
    """Return what puts a file of some bytes into the queue."""

    def accept(name, num_bytes=10):
        path = tmp_path / name
        path.write_bytes(b"x" * num_bytes)
        return path

    return accept


def names(tmp_path):
    return sorted(path.name for path in (tmp_path / "data").iterdir())


def test_a_kept_file_is_a_second_name_that_stays_when_the_first_one_goes(make, accept, tmp_path):
    path = accept("a.jsonl")

    make(100).keep(path, SHA256[0])

    assert path.samefile(tmp_path / "data" / SHA256[0])
    path.unlink()
    assert (tmp_path / "data" / SHA256[0]).read_bytes() == b"x" * 10


def test_a_content_that_comes_again_is_kept_once(make, accept, tmp_path, problems):
    files = make(100)

    files.keep(accept("a.jsonl"), SHA256[0])
    files.keep(accept("b.jsonl"), SHA256[0])

    assert names(tmp_path) == [SHA256[0]]
    assert problems == []


def test_a_budget_of_0_keeps_nothing(make, accept, tmp_path):
    make(0).keep(accept("a.jsonl"), SHA256[0])

    assert not (tmp_path / "data").exists()


def test_beyond_the_budget_those_moved_longest_ago_go_first(make, accept, tmp_path, monkeypatch):
    order = {SHA256[number]: moved_at for number, moved_at in enumerate((3.0, 1.0, 2.0, 4.0))}
    listed = kept.kept_in
    monkeypatch.setattr(
        kept,
        "kept_in",
        lambda folder: (
            kept.KeptFile(sha256=file.sha256, num_bytes=file.num_bytes, moved_at=order[file.sha256])
            for file in listed(folder)
        ),
    )
    files = make(30)

    for number in range(4):
        files.keep(accept(f"{number}.jsonl"), SHA256[number])

    assert names(tmp_path) == [SHA256[0], SHA256[3]]  # 27 bytes are left of the 30


@pytest.mark.parametrize("code", [errno.EXDEV, errno.EPERM])
def test_where_there_are_no_links_it_is_copied_beside(make, accept, tmp_path, monkeypatch, code):
    def refuse(*arguments, **named):
        raise OSError(code, "no link here")

    monkeypatch.setattr(os, "link", refuse)
    files = make(100)

    files.keep(accept("a.jsonl"), SHA256[0])
    files._copies.shutdown(wait=True)

    assert (tmp_path / "data" / SHA256[0]).read_bytes() == b"x" * 10


def test_a_full_disk_is_reported_and_keeps_nobody_from_training(make, accept, monkeypatch, problems):
    def refuse(*arguments, **named):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "link", refuse)

    make(100).keep(accept("a.jsonl"), SHA256[0])

    assert problems == [("a.jsonl", errno.ENOSPC)]


def test_a_file_that_has_moved_on_is_no_problem(make, tmp_path, problems):
    make(100).keep(tmp_path / "gone.jsonl", SHA256[0])

    assert problems == []


def test_the_forecast_says_when_the_budget_is_used_up_at_this_pace(make, accept, tmp_path):
    files = make(1000)
    for number in range(4):
        files.keep(accept(f"{number}.jsonl", 50), SHA256[number])
    [newest, *_] = sorted((file.moved_at for file in kept_in(tmp_path / "data")), reverse=True)

    use = kept_use(tmp_path / "data", budget_bytes=1000, now=newest + 2 * DAY_S, over_days=7)
    later = kept_use(tmp_path / "data", budget_bytes=1000, now=newest + 9 * DAY_S, over_days=7)

    assert (use.files, use.bytes) == (4, 200)
    assert use.full_in_s == pytest.approx(800 / 75 * DAY_S, rel=0.01)  # the first one has no pace
    assert later.full_in_s is None


def test_nothing_kept_has_no_forecast(tmp_path):
    assert kept_use(tmp_path / "data", budget_bytes=1000, now=0.0).full_in_s is None
