"""One call fails once, in the middle of handling: every file still ends once, and stop still stops."""

import errno
import os
import sqlite3
from contextlib import closing

import pytest

from daemon.intake import intake
from daemon.jobs import job_queue
from daemon.jobs.job_queue import JobQueue
from daemon.ledger.ledger import Ledger
from daemon.status.board import StatusBoard
from daemon.supervision.supervisor import Supervisor
from daemon.supervision.worker_reports import WorkerReports
from trainer.protocol.job import Outcome
from trainer.protocol.messages import WorkerReady

DISK_FULL = OSError(errno.ENOSPC, "No space left on device")
LOCKED = sqlite3.OperationalError("database is locked")


def failing_once(monkeypatch, owner, name, error):
    """Have one call of `owner.name` raise; return the list that shows whether it has."""
    original, raised = getattr(owner, name), []

    def call(*arguments, **options):
        if not raised:
            raised.append(error)
            raise error
        return original(*arguments, **options)

    monkeypatch.setattr(owner, name, call)
    return raised


@pytest.mark.parametrize(
    "owner, name, error",
    [
        (Ledger, "add_job", LOCKED),
        (Ledger, "add_steps", LOCKED),
        (Ledger, "start_attempt", LOCKED),
        (Ledger, "end_attempt", DISK_FULL),
        (Ledger, "finish_job", LOCKED),
        (Ledger, "commit", LOCKED),
        (JobQueue, "start", DISK_FULL),
        (JobQueue, "finish", DISK_FULL),
        (JobQueue, "look", DISK_FULL),
        (job_queue, "move_durably", DISK_FULL),
        (job_queue, "move_all_durably", DISK_FULL),
        (intake, "move_all_durably", DISK_FULL),
        (StatusBoard, "publish", DISK_FULL),
        (Supervisor, "give", DISK_FULL),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_every_file_still_ends_exactly_once(rig, monkeypatch, owner, name, error):
    rig.start()
    raised = failing_once(monkeypatch, owner, name, error)

    rig.drop("a.jsonl")
    rig.drop("b.jsonl")

    rig.until_in(Outcome.COMPLETED, "a.jsonl", "b.jsonl")
    rig.until(lambda: raised, "the failure")
    steps = rig.read("SELECT job_id, count(*) AS steps FROM steps GROUP BY job_id")
    assert [row["steps"] for row in steps] == [3, 3]
    assert rig.read("SELECT count(*) AS jobs FROM jobs WHERE state <> 'completed'")[0]["jobs"] == 0
    assert rig.stop() == 0


def test_a_daemon_that_cannot_write_its_status_can_still_be_stopped(rig, monkeypatch):
    rig.start()
    rig.drop("a.jsonl")
    rig.until_in(Outcome.COMPLETED, "a.jsonl")

    def refuse(self):
        raise DISK_FULL

    monkeypatch.setattr(StatusBoard, "publish", refuse)

    assert rig.stop() == 0


def test_a_request_whose_file_cannot_be_removed_is_obeyed_once(rig, monkeypatch):
    def refuse(request):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("daemon.commands.remove_request", refuse)
    rig.start()

    rig.command("stop")

    assert rig.left() == 0
    assert len(rig.events("stopping")) == 1


def test_a_file_that_the_checkpoint_does_not_contain_after_all_is_trained_again(rig, monkeypatch):
    """As when the newest checkpoint is damaged, and the one before it has to be taken."""
    rig.start()
    rig.drop("a.jsonl")
    rig.until_in(Outcome.COMPLETED, "a.jsonl")
    assert rig.stop() == 0

    on_ready = WorkerReports._on_ready

    def with_an_older_checkpoint(self, ready: WorkerReady):
        on_ready(self, ready.model_copy(update={"global_step": 0, "finished": (), "recent_steps": ()}))

    monkeypatch.setattr(WorkerReports, "_on_ready", with_an_older_checkpoint)
    rig.start()
    rig.drop("b.jsonl")

    rig.until_in(Outcome.COMPLETED, "a.jsonl", "b.jsonl")
    rig.until(lambda: len([m for m in rig.events("trained") if "a.jsonl" in m]) == 2, "a second training")
    assert any("trained again" in message for message in rig.events("reopened"))


def test_files_of_others_in_the_inbox_survive_the_start_whatever_their_names(rig):
    names = [".chat.jsonl.4711.tmp", ".20261120.part", ".day.rejected.jsonl.part"]
    for name in names:
        (rig.layout.inbox / name).write_text("data")
    (rig.layout.inbox / ".x.1.tmp").mkdir()

    rig.start()

    assert all((rig.layout.inbox / name).exists() for name in names)


def test_a_half_move_out_of_a_folder_in_the_inbox_is_finished(rig):
    folder = rig.layout.inbox / "sub"
    folder.mkdir()
    waiting = rig.drop("a.jsonl", folder="queue/normal")
    os.link(waiting, folder / "a.jsonl")

    rig.start()

    rig.until_in(Outcome.COMPLETED, "a.jsonl")
    assert not (folder / "a.jsonl").exists()
    assert len(rig.read("SELECT * FROM jobs")) == 1


def test_a_file_that_cannot_leave_its_folder_is_not_trained_again_and_again(rig, monkeypatch):
    folder = rig.layout.inbox / "sub"
    folder.mkdir()
    unlink = type(folder).unlink

    def refuse(self, missing_ok=False):
        if self.parent == folder:
            raise PermissionError(errno.EACCES, "Permission denied", str(self))
        unlink(self, missing_ok=missing_ok)

    monkeypatch.setattr(type(folder), "unlink", refuse)
    rig.start()

    rig.drop("stuck.jsonl", folder="inbox/sub")

    rig.until(lambda: any("stuck.jsonl" in alert for alert in rig.status().get("alerts", [])), "an alert")
    assert rig.read("SELECT * FROM jobs") == []


def test_an_attempt_of_a_daemon_that_was_killed_ends_at_its_last_heartbeat(rig):
    rig.start()
    rig.drop("a.jsonl")
    rig.until_in(Outcome.COMPLETED, "a.jsonl")
    rig.stop()
    with closing(sqlite3.connect(rig.layout.ledger_file)) as database, database:
        database.execute("UPDATE attempts SET ended_at=NULL, verdict=NULL")
    heartbeat_at = rig.status()["heartbeat_at"]

    rig.start()

    ended = "SELECT ended_at, verdict FROM attempts WHERE ended_at IS NOT NULL"
    rig.until(lambda: rig.read(ended), "the end of the attempt")
    assert [tuple(row) for row in rig.read(ended)] == [(heartbeat_at, "interrupted")]
