"""What a health check finds, and what it only would have found."""

import os
import sqlite3
import subprocess
import sys
import zipfile

import pytest
from filelock import FileLock

from daemon.control.control_files import read_requests
from daemon.files.identity import identity_of
from daemon.health.check_result import Severity
from daemon.health.machine import (
    MIN_AVAILABLE_BYTES,
    check_clock,
    check_disk,
    check_folders,
    check_gpu,
    check_memory,
)
from daemon.health.processes import (
    OBEYED_WITHIN_S,
    check_control,
    check_daemon,
    check_worker,
    find_workers,
    is_held,
)
from daemon.health.queue_files import TAKEN_WITHIN_S, check_inbox, check_ledger, check_processing
from daemon.ledger.ledger import Ledger
from daemon.status.reader import Status
from tests.health import NOW, begin_to_forget, found, level
from tests.support import FakeClock, job_for, rows, write_jsonl
from trainer.protocol.status import Gpu
from trainer.protocol.text import utc_text

GONE = 2**22 + 1  # above the highest process number of Linux


def status(life, **fields):
    return Status({"daemon_pid": 7, **fields}, life, 3.0)


# ---- daemon and worker


@pytest.mark.parametrize(
    "lock_is_held, life, expected",
    [
        (True, "running", Severity.OK),
        (True, "silent", Severity.PROBLEM),
        (True, "dead", Severity.WARNING),
        (True, "stopped", Severity.WARNING),
        (True, "never started", Severity.WARNING),
        (False, "running", Severity.PROBLEM),
        (False, "silent", Severity.PROBLEM),
        (False, "dead", Severity.PROBLEM),
        (False, "stopped", Severity.OK),
        (False, "never started", Severity.OK),
        (True, "unreadable", Severity.PROBLEM),
        (False, "unreadable", Severity.PROBLEM),
    ],
)
def test_a_daemon_is_well_when_lock_and_status_agree(lock_is_held, life, expected):
    assert check_daemon(status(life), lock_is_held=lock_is_held).level is expected


def test_a_blocked_daemon_is_a_problem_with_its_reason():
    blocked = status("running", status="blocked", status_reason="no\x1b model")

    finding = check_daemon(blocked, lock_is_held=True)

    assert finding.level is Severity.PROBLEM
    assert "no\\x1b model" in finding.message


@pytest.mark.parametrize(
    "daemon_runs, lock_is_held, worker_pids, is_alive, expected",
    [
        (True, True, [8], True, Severity.OK),
        (True, False, [], False, Severity.WARNING),
        (True, True, [8, 9], True, Severity.WARNING),
        (False, True, [], False, Severity.WARNING),
        (False, False, [8], True, Severity.WARNING),
        (False, False, [], False, Severity.OK),
    ],
)
def test_a_worker_is_well_as_long_as_it_lives_and_has_a_daemon(
    daemon_runs, lock_is_held, worker_pids, is_alive, expected
):
    finding = check_worker(
        status("running", worker_pid=8),
        daemon_runs=daemon_runs,
        lock_is_held=lock_is_held,
        worker_pids=worker_pids,
        is_alive=is_alive,
        is_paused=False,
    )

    assert finding.level is expected


@pytest.mark.parametrize("daemon_runs", [True, False])
def test_no_worker_is_promised_while_training_is_paused(daemon_runs):
    finding = check_worker(
        status("paused", worker_pid=None),
        daemon_runs=daemon_runs,
        lock_is_held=False,
        worker_pids=[],
        is_alive=False,
        is_paused=True,
    )

    assert finding.level is Severity.OK
    paused = ": training is paused until" if daemon_runs else "; a daemon that starts stays paused until"
    assert finding.message == f"none is running{paused} training_controller resume"


def test_a_lock_is_seen_without_being_touched(tmp_path):
    path = tmp_path / "a.lock"
    before = is_held(path)
    with FileLock(path):
        held = is_held(path)

    assert (before, held, is_held(path)) == (False, True, False)


def test_looking_at_a_lock_does_not_create_it(tmp_path):
    is_held(tmp_path / "a.lock")

    assert list(tmp_path.iterdir()) == []


def test_workers_of_this_working_directory_are_found_and_no_others(layout):
    code = "import sys; print('up', flush=True); sys.stdin.read()"

    def started(base):
        command = [sys.executable, "-c", code, "trainer.mains.worker", "--base-dir", str(base)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        process.stdout.readline()
        return process

    with started(layout.base) as ours, started(layout.base / "other") as other:
        seen = find_workers(layout.base)
        ours.stdin.close()
        other.stdin.close()

    assert seen == [ours.pid]


@pytest.mark.parametrize(
    "daemon_runs, age_s, expected",
    [
        (True, OBEYED_WITHIN_S, Severity.OK),
        (True, OBEYED_WITHIN_S + 1, Severity.PROBLEM),
        (False, 0, Severity.WARNING),
    ],
)
def test_a_control_file_must_be_obeyed_in_time(layout, daemon_runs, age_s, expected):
    (layout.control / ".pause").touch()
    os.utime(layout.control / ".pause", (NOW - age_s, NOW - age_s))

    [finding] = check_control(read_requests(layout), layout.base, daemon_runs=daemon_runs, now=NOW)

    assert finding.level is expected


# ---- the machine


def test_folders_as_the_daemon_makes_them_are_well(layout):
    [finding] = check_folders(layout, uid=os.geteuid())

    assert finding.level is Severity.OK


@pytest.mark.parametrize(
    "mode, expected",
    [(0o700, Severity.OK), (0o750, Severity.WARNING), (0o770, Severity.PROBLEM), (0o702, Severity.PROBLEM)],
)
def test_a_folder_must_be_closed_to_others(layout, mode, expected):
    layout.models.chmod(mode)

    [finding] = check_folders(layout, uid=os.geteuid())

    assert finding.level is expected


@pytest.mark.parametrize("mode", [0o500, 0o000, 0o600])
def test_a_folder_that_its_own_user_cannot_use_is_a_problem(layout, mode):
    layout.failed.chmod(mode)

    [finding] = check_folders(layout, uid=os.geteuid())
    layout.failed.chmod(0o700)

    assert finding.level is Severity.PROBLEM
    assert finding.message.startswith(f"queue/failed/: mode {mode:04o} does not let its own user")


def test_what_fix_could_not_do_is_not_advised_again(layout, monkeypatch):
    layout.failed.rmdir()
    monkeypatch.setattr("os.access", lambda path, mode: path != layout.queue)

    [finding] = check_folders(layout, uid=os.geteuid())

    assert finding.advice.startswith(f"make {layout.queue} writable for this user; then")


def test_folders_on_a_file_system_that_cannot_be_written_are_one_problem(layout, monkeypatch):
    monkeypatch.setattr("daemon.health.machine.is_read_only", lambda folder: True)

    [finding] = check_folders(layout, uid=os.geteuid())

    assert finding.level is Severity.PROBLEM
    assert finding.message.endswith(": its file system is read-only")


def test_a_ledger_that_may_not_be_seen_is_not_called_missing(layout, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("pathlib.Path.lstat", refuse)

    with pytest.raises(PermissionError):
        check_ledger(layout.ledger_file)


def test_a_working_directory_that_everybody_can_write_is_a_problem(layout):
    layout.base.chmod(0o777)

    [finding] = check_folders(layout, uid=os.geteuid())

    assert "chmod o-w" in finding.advice


def test_folders_of_another_user_are_one_finding(layout):
    [finding] = check_folders(layout, uid=os.geteuid() + 1)

    assert finding.level is Severity.PROBLEM
    assert "inbox/" in finding.message
    assert "logs/" in finding.message


def test_missing_folders_files_and_broken_links_in_their_place_are_problems(layout):
    layout.logs.rmdir()
    layout.control.rmdir()
    layout.control.touch()
    layout.failed.rmdir()
    layout.failed.symlink_to("nowhere")

    findings = check_folders(layout, uid=os.geteuid())

    assert {(finding.level, finding.message) for finding in findings} == {
        (Severity.PROBLEM, "logs/: missing"),
        (Severity.PROBLEM, "control/: not a folder"),
        (Severity.PROBLEM, "queue/failed/: missing"),
    }


@pytest.mark.parametrize("free, expected", [(1999, Severity.PROBLEM), (2000, Severity.OK)])
def test_two_more_checkpoints_must_fit(free, expected):
    [finding] = check_disk({"models": free}, min_free_bytes=100, checkpoint_bytes=1000)

    assert finding.level is expected


@pytest.mark.parametrize("free, expected", [(99, Severity.PROBLEM), (100, Severity.OK)])
def test_the_least_free_space_must_be_there_in_every_folder(free, expected):
    [finding] = check_disk({"status": free}, min_free_bytes=100, checkpoint_bytes=1000)

    assert finding.level is expected


@pytest.mark.parametrize(
    "available, worker_runs, expected",
    [
        (MIN_AVAILABLE_BYTES - 1, True, Severity.WARNING),
        (MIN_AVAILABLE_BYTES, True, Severity.OK),
        (3 * MIN_AVAILABLE_BYTES - 1, False, Severity.WARNING),
        (3 * MIN_AVAILABLE_BYTES, False, Severity.OK),
    ],
)
def test_memory_must_hold_the_model_unless_it_is_there_already(available, worker_runs, expected):
    finding = check_memory(available, checkpoint_bytes=3 * MIN_AVAILABLE_BYTES, worker_runs=worker_runs)

    assert finding.level is expected


@pytest.mark.parametrize(
    "has_gpu, wanted, trained_on, expected",
    [
        (False, "auto", None, Severity.OK),
        (False, "auto", "cpu", Severity.OK),
        (False, "auto", "cuda", Severity.PROBLEM),
        (False, "cpu", "cuda", Severity.OK),
        (False, "cuda", None, Severity.PROBLEM),
        (True, "auto", "cuda", Severity.OK),
    ],
)
def test_a_gpu_must_be_there_if_training_needs_it(has_gpu, wanted, trained_on, expected):
    gpu = Gpu(name="G", used_bytes=1, total_bytes=2, utilization_percent=None, temperature_c=None)

    assert check_gpu([gpu] * has_gpu, wanted=wanted, trained_on=trained_on).level is expected


@pytest.mark.parametrize("ahead_s, expected", [(60, Severity.OK), (61, Severity.WARNING)])
def test_nothing_may_have_been_written_in_the_future(ahead_s, expected):
    assert check_clock({"it": utc_text(NOW + ahead_s)}, now=NOW).level is expected


@pytest.mark.parametrize("moment", ["", "soon", "0001-01-01T00:00:00+23:59"])
def test_a_time_that_makes_no_sense_does_not_stop_the_check(moment):
    assert check_clock({"it": moment}, now=NOW).level is Severity.OK


# ---- the files


@pytest.mark.parametrize(
    "age_s, expected", [(TAKEN_WITHIN_S, Severity.OK), (TAKEN_WITHIN_S + 1, Severity.WARNING)]
)
def test_a_file_must_be_taken_in_within_a_day(layout, age_s, expected):
    path = layout.inbox / "high" / "chat.jsonl"
    path.touch()

    [finding] = check_inbox(layout.inbox, daemon_runs=False, now=path.stat().st_ctime + age_s)

    assert finding.level is expected


def test_a_file_that_was_to_be_forgotten_and_is_not_is_a_problem_until_somebody_asks_again(layout):
    begin_to_forget(layout)

    [finding] = found(layout, "forgetting")

    assert finding.level is Severity.PROBLEM
    assert finding.message == (
        "leak.jsonl was to be forgotten, and is not; asked again, it continues where it was"
    )
    assert finding.advice == (
        "training_models forget 6335b439f31c; if the model may keep the file after all: "
        f"rm -r {layout.models}/.forget"
    )


def test_while_a_file_is_forgotten_no_worker_is_promised():
    forgetting = status("running", status="training", status_reason="forgetting leak.jsonl: step 3 of 9")

    finding = check_worker(
        forgetting, daemon_runs=True, lock_is_held=True, worker_pids=[], is_alive=False, is_paused=False
    )

    assert finding.message == "none is running before this is over: forgetting leak.jsonl: step 3 of 9"


def test_a_file_whose_name_is_not_for_training_is_reported_at_once(layout):
    for name in ("table.csv", "chat.jsonl", "chat.jsonl.part", ".chat.jsonl"):
        (layout.inbox / name).touch()

    now = (layout.inbox / "table.csv").stat().st_ctime
    [finding] = check_inbox(layout.inbox, daemon_runs=False, now=now)

    assert finding.level is Severity.WARNING
    assert finding.message.startswith(
        "inbox/table.csv: not accepted as it is; expected names that end in .jsonl, "
    )


def test_a_file_in_the_inbox_that_can_be_recognised_has_advice_of_its_own(layout):
    with zipfile.ZipFile(layout.inbox / "a.docx", "w") as archive:
        archive.writestr("word/document.xml", "<w/>")
    (layout.inbox / "b.csv").touch()

    [finding] = check_inbox(layout.inbox, daemon_runs=False, now=NOW)

    what = "it is a text document (Word or OpenDocument), not JSON Lines"
    assert finding.message == f"inbox/a.docx: {what}; 1 more"
    assert finding.advice.startswith(f"write the text of {layout.inbox}/a.docx into a table")
    assert "training_queue add" not in finding.advice


def test_a_hostile_name_in_the_inbox_is_shown_harmlessly(layout):
    (layout.inbox / "\x1b]0;owned\x07.jsonl").touch()

    [finding] = check_inbox(layout.inbox, daemon_runs=True, now=NOW + 1e9)

    assert "\\x1b]0;owned\\x07" in finding.message


@pytest.mark.parametrize(
    "daemon_runs, words",
    [(True, "started; the daemon looks after it"), (False, "continues when a daemon starts")],
)
def test_begun_files_are_no_problem_and_it_is_said_what_becomes_of_them(layout, daemon_runs, words):
    begun(layout, "processing")

    [finding] = check_processing(layout.processing, layout.ledger_file, daemon_runs=daemon_runs)

    assert finding.level is Severity.OK
    assert words in finding.message


@pytest.mark.parametrize(
    "daemon_runs, expected",
    [(True, (Severity.WARNING, "not trained")), (False, (Severity.OK, "a daemon that starts checks it"))],
)
@pytest.mark.parametrize("state", [None, "removed"])
def test_a_file_among_the_begun_ones_that_no_job_has_is_not_called_one(layout, state, daemon_runs, expected):
    begun(layout, state)

    [finding] = check_processing(layout.processing, layout.ledger_file, daemon_runs=daemon_runs)

    assert finding.level is expected[0]
    assert expected[1] in finding.message


def begun(layout, state):
    """Put a file into processing/, with a job in this state unless it is None."""
    path = write_jsonl(layout.processing / "chat.jsonl", rows(1))
    ledger = Ledger(layout.ledger_file, clock=FakeClock())
    if state:
        ledger.add_job(job_for(path, id="20260101-000000-000001"), identity_of(path.lstat()), state)
    ledger.close()


def test_a_damaged_ledger_is_a_problem_and_a_whole_one_is_not(layout):
    Ledger(layout.ledger_file, clock=FakeClock()).close()
    whole = level(layout, "ledger")
    layout.ledger_file.write_bytes(b"not a database at all" * 100)

    assert (whole, level(layout, "ledger")) == (Severity.OK, Severity.PROBLEM)


def test_a_locked_ledger_is_a_finding(layout, monkeypatch):
    monkeypatch.setattr("daemon.ledger.reader.TIMEOUT_S", 0)
    ledger = Ledger(layout.ledger_file, clock=FakeClock())
    ledger.close()
    holder = sqlite3.connect(layout.ledger_file)
    holder.execute("PRAGMA locking_mode=EXCLUSIVE")
    holder.execute("BEGIN EXCLUSIVE")
    try:
        [finding] = found(layout, "ledger")
    finally:
        holder.close()

    assert finding.level is Severity.PROBLEM
    assert "locked" in finding.message
