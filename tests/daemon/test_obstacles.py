"""What keeps files from being trained here."""

import os
import shutil

import pytest

from daemon.obstacles import Obstacles, obstacle
from tests.support import FakeClock

MIB = 1024 * 1024


@pytest.fixture
def disk(monkeypatch):
    """A disk whose free space and flags are set for the test."""

    class Disk:
        f_bavail = 600
        f_frsize = MIB
        f_flag = 0
        looks = 0

    def statvfs(folder):
        Disk.looks += 1
        return Disk

    monkeypatch.setattr("daemon.obstacles.os.statvfs", statvfs)
    return Disk


def test_nothing_is_in_the_way_of_a_healthy_place(layout):
    assert obstacle(layout, 0) is None


@pytest.mark.parametrize("free_mib, is_enough", [(511, False), (512, True), (513, True)])
def test_a_disk_must_have_the_free_space_that_is_set(layout, disk, free_mib, is_enough):
    disk.f_bavail = free_mib

    found = obstacle(layout, 512 * MIB)

    assert (found is None) == is_enough
    if found:
        assert found == (
            f"{layout.models}: 511 MiB of disk space are free; expected at least 512 MiB "
            "(daemon.min_free_bytes); free some space"
        )


@pytest.mark.parametrize(
    "folder", ["models", "status", "logs", "queue", "queue/low", "queue/processing", "queue/failed"]
)
def test_a_missing_folder_is_in_the_way(layout, folder):
    shutil.rmtree(layout.base / folder)

    assert obstacle(layout, 0).startswith(f"{layout.base / folder}: is missing; expected a folder;")


def test_a_file_in_a_folders_place_is_in_the_way(layout):
    layout.models.rmdir()
    layout.models.touch()

    assert "models: is missing; expected a folder" in obstacle(layout, 0)


def test_a_folder_that_may_not_be_written_is_in_the_way(layout, monkeypatch):
    layout.processing.chmod(0o500)
    # Not by the rights alone: the superuser, who may run the tests, is never refused
    monkeypatch.setattr("daemon.obstacles.os.access", lambda folder, _: folder != layout.processing)

    found = obstacle(layout, 0)

    user = os.geteuid()
    assert found == (
        f"{layout.processing}: has mode 0500; expected user {user} to have read and write access; change "
        "the mode or the owner"
    )


def test_a_read_only_file_system_is_in_the_way(layout, disk):
    disk.f_flag = os.ST_RDONLY | os.ST_NOSUID

    assert "mounted read-only" in obstacle(layout, 0)


def test_looking_writes_nothing(layout):
    before = sorted(layout.base.rglob("*")), layout.models.stat().st_mtime_ns

    obstacle(layout, 0)

    assert (sorted(layout.base.rglob("*")), layout.models.stat().st_mtime_ns) == before


@pytest.mark.parametrize("later_s, is_seen", [(0.0, False), (0.9, False), (1.0, True)])
def test_a_change_is_seen_after_a_second_at_the_latest(layout, later_s, is_seen):
    clock = FakeClock()
    environment = Obstacles(layout, clock=clock)
    before = environment.obstacle(0)

    layout.models.rmdir()
    clock.now += later_s

    assert before is None
    assert (environment.obstacle(0) is not None) == is_seen


def test_another_demand_is_looked_at_at_once(layout, disk):
    environment = Obstacles(layout, clock=FakeClock())
    before = environment.obstacle(600 * MIB)

    assert before is None
    assert environment.obstacle(601 * MIB) is not None
