"""A disk that is full, or read-only: nothing crashes, nothing is lost, and it goes on when that is over."""

import errno
import os
import re
import subprocess
import sys

import pytest

from daemon.status.board import StatusBoard
from tests.faults.site import ROOT, Site
from tests.faults.small_disk import SmallDisk
from tests.support import rows

ROWS = 400


@pytest.fixture
def disk(tmp_path):
    mount_point = tmp_path / "disk"
    mount_point.mkdir()
    with SmallDisk(mount_point) as disk:
        yield disk


@pytest.fixture
def site(disk, tmp_path):
    site = Site(disk.seen_from_here, tmp_path / "output.txt", seen_by_daemon=disk.base, enter=disk.enter)
    yield site
    site.kill()


def begin(site):
    """Have one file nearly trained, and another one ready to be renamed into the inbox.

    They are so long that a checkpoint does not fit into the gaps a full disk may have.
    """
    site.drop("second.jsonl", rows(ROWS, start=ROWS), folder="logs")
    site.drop("first.jsonl", rows(ROWS))
    site.start(FAKE_HOLD=f"first.jsonl:{ROWS}")
    site.until(lambda: site.status().get("file_step") == ROWS - 1, "the last step but one")


def go_on(site):
    """Let the first file be trained to its end, and drop the second."""
    (site.layout.base / "go").touch()
    os.rename(site.layout.logs / "second.jsonl", site.layout.inbox / "second.jsonl")


def test_a_full_disk_is_waited_for(disk, site):
    begin(site)
    disk.fill()

    go_on(site)
    site.until(lambda: re.search("No space left|disk is full", site.tail()), "a word about the disk")
    was_running = site.is_running
    disk.free()

    site.until_completed("first.jsonl", "second.jsonl")
    assert was_running
    assert site.stop() == 0
    site.assert_consistent()
    site.assert_every_step_is_noted()


def test_a_directory_that_turns_read_only_is_waited_for(disk, site):
    begin(site)
    disk.protect()

    go_on(site)
    site.until(lambda: "Read-only file system" in site.tail(), "a word about the disk")
    was_running = site.is_running
    disk.unprotect()

    site.until_completed("first.jsonl", "second.jsonl")
    assert was_running
    assert site.stop() == 0
    site.assert_consistent()
    site.assert_every_step_is_noted()


@pytest.mark.parametrize("is_used", [False, True], ids=["new", "used before"])
def test_a_daemon_does_not_start_in_a_read_only_directory_and_says_so_in_one_line(disk, tmp_path, is_used):
    if is_used:
        Site(disk.seen_from_here, tmp_path / "output.txt")
    disk.protect()

    command = [*disk.enter, sys.executable, "-m", "daemon.cli.training_daemon", "--base-dir", str(disk.base)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    assert result.returncode == 1
    assert re.fullmatch(r"error: .*Read-only file system.*\n", result.stderr), result.stderr


def test_a_fault_that_stays_is_not_told_with_its_traceback_again_and_again(rig, monkeypatch, caplog):
    told = []

    def refuse(board):
        told.append("again")
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("daemon.loop.FAILED_TURN_WAIT_S", 0.01)
    rig.start().until_status("idle")
    monkeypatch.setattr(StatusBoard, "publish", refuse)

    rig.until(lambda: len(told) > 5, "turns that fail")

    tracebacks = [record for record in caplog.records if record.exc_info]
    assert len(tracebacks) == 1
