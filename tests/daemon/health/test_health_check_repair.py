"""What dead processes leave, what a repair does about it, and that nothing else is touched."""

import os

import pytest
from filelock import FileLock

from daemon.checkpoints.review import (
    list_checkpoints,
)
from daemon.health.check_result import Severity
from daemon.health.health_check import examine
from daemon.health.leftovers import find_leftovers
from daemon.health.repair import repair
from daemon.ledger.ledger import Ledger
from daemon.status.reader import read_status
from tests.health import NOW, level, publish, tree
from tests.support import FakeClock
from trainer.protocol.job import Priority

GONE = 2**22 + 1  # above the highest process number of Linux


def leave_behind(layout):
    """Leave what each kind of process that dies may leave; return it."""
    (layout.models / "checkpoints").mkdir(exist_ok=True)
    folders = [layout.models / ".staging", layout.models / "checkpoints" / ".trash-step-1"]
    for folder in folders:
        folder.mkdir()
        (folder / "model.safetensors").touch()
    files = [
        layout.models / ".current_model.tmp",
        layout.status / f".training_status.json.{GONE}.tmp",
        layout.waiting(Priority.NORMAL) / f".{GONE}.part",
        layout.failed / ".chat.jsonl.rejected.jsonl.part",
    ]
    for file in files:
        file.touch()
    return sorted([*folders, *files])


def test_a_folder_with_nothing_in_it_is_no_leftover(layout):
    (layout.models / ".staging").mkdir()

    assert find_leftovers(layout, daemon_runs=False, worker_runs=False) == []


def test_what_dead_processes_have_left_is_found(layout):
    left = leave_behind(layout)

    assert find_leftovers(layout, daemon_runs=False, worker_runs=False) == left
    assert level(layout, "leftovers") is Severity.WARNING


def test_what_living_processes_are_writing_is_no_left_over(layout):
    leave_behind(layout)
    (layout.status / f".training_status.json.{os.getpid()}.tmp").touch()

    left = find_leftovers(layout, daemon_runs=True, worker_runs=True)

    assert {path.name for path in left} == {f".training_status.json.{GONE}.tmp", f".{GONE}.part"}


@pytest.mark.parametrize("name", [".chat.jsonl.tmp", "12.part", ".x.12.tmp.jsonl", "chat.12.tmp"])
def test_names_of_others_are_no_left_overs(layout, name):
    (layout.waiting(Priority.NORMAL) / name).touch()

    assert find_leftovers(layout, daemon_runs=False, worker_runs=False) == []


def test_the_inbox_is_nobody_elses_business(layout):
    (layout.inbox / f".{GONE}.part").touch()
    (layout.inbox / "high" / f".{GONE}.part").touch()

    assert find_leftovers(layout, daemon_runs=False, worker_runs=False) == []


def test_a_repair_gives_a_folder_back_the_rights_of_its_own_user(layout):
    layout.failed.chmod(0o500)

    done = repair(layout)

    assert done == ["made queue/failed/ readable and writable"]
    assert level(layout, "folders") is Severity.OK


def test_a_repair_leaves_a_working_directory_in_which_all_is_well(layout):
    left = leave_behind(layout)
    layout.logs.rmdir()
    layout.models.chmod(0o755)

    done = repair(layout)

    findings = examine(layout, read_status(layout), now=NOW)
    assert [item for item in findings if item.level is not Severity.OK] == []
    assert done[:2] == ["closed models/ to other users", "created logs/"]
    assert len(done) == 2 + len(left)


def test_a_repair_does_nothing_where_nothing_is_to_be_done(layout):
    before = tree(layout)

    assert repair(layout) == []
    assert tree(layout) == before


@pytest.mark.parametrize("lock", ["status/daemon.lock", "models/.worker.lock"])
def test_a_repair_removes_nothing_while_somebody_holds_a_lock(layout, lock):
    left = leave_behind(layout)

    with FileLock(layout.base / lock):
        done = repair(layout)

    assert all(os.path.lexists(path) for path in left)
    assert "is running" in done[0]


def test_a_repair_removes_a_link_and_not_what_it_points_to(layout, tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").touch()
    (layout.models / ".staging").symlink_to(tmp_path / "precious")

    repair(layout)

    assert not (layout.models / ".staging").is_symlink()
    assert (tmp_path / "precious" / "file").exists()


def test_a_folder_that_is_a_link_is_left_to_its_owner(layout, tmp_path):
    (tmp_path / "big").mkdir(mode=0o755)
    layout.models.rmdir()
    layout.models.symlink_to(tmp_path / "big")

    assert repair(layout) == []
    assert (tmp_path / "big").stat().st_mode & 0o777 == 0o755


# ---- the whole


def test_a_new_working_directory_is_well(layout):
    findings = examine(layout, read_status(layout), now=NOW)

    assert [item for item in findings if item.level is not Severity.OK] == []


def test_a_health_check_changes_nothing(layout):
    publish(layout, 1, locked={"data.max_length": 512})
    Ledger(layout.ledger_file, clock=FakeClock()).close()
    leave_behind(layout)
    before = tree(layout)

    examine(layout, read_status(layout), now=NOW)

    assert tree(layout) == before


def test_a_folder_that_is_missing_is_found_once(layout):
    layout.processing.rmdir()

    problems = [
        item for item in examine(layout, read_status(layout), now=NOW) if item.level is Severity.PROBLEM
    ]

    assert [item.message for item in problems] == ["queue/processing/: missing"]


def test_a_file_among_the_checkpoints_is_none(layout):
    path = publish(layout, 1)
    path.with_name("step-x").touch()

    assert list_checkpoints(layout.models) == [path]
