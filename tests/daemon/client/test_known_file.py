"""All that is known of one file is found by its name or its job, wherever it is."""

import json
import os

import pytest

from daemon.client.errors import AmbiguousName, NoSuchFile, UnreadableHistory
from daemon.files.identity import identity_of
from daemon.files.notes import REJECTED_SUFFIX, note_beside, report_file
from daemon.jobs.reasons import write_reason
from daemon.status.board import StatusBoard
from daemon.status.data_reports import write_report
from tests.daemon.cli.test_training_data_report import report
from tests.daemon.client.test_history import add_event, add_steps
from tests.health import cursor_of, publish
from tests.support import job_for, rows, write_jsonl
from trainer.config.schema import Settings
from trainer.protocol.job import FaultKind, JobRecord, Outcome, Priority, Reason, Window
from trainer.protocol.manifest import Progress
from trainer.protocol.messages import Validated

JOB = "20260101-000000-000001"
PLACES = {
    "waiting": "high",
    "processing": "processing",
    "completed": "recently_completed",
    "failed": "failed",
    "skipped": "skipped",
}


def put(layout, ledger, *, state, name="chat.jsonl", id=JOB, folder=None, **fields):
    """Have a file lie where its state says, with a job."""
    path = write_jsonl(layout.queue / (folder or PLACES[state]) / name, [*rows(2), {"id": id}])
    job = job_for(path, id=id, priority=Priority.HIGH, format="messages", **fields)
    ledger.add_job(job, identity_of(path.lstat()), "processing" if state in list(Outcome) else state)
    if state in list(Outcome):
        reason = Reason(kind=FaultKind.BAD_DATA, message="it is odd\x1b", file=name, at="now")
        record = JobRecord(job_id=id, sha256="", outcome=state, rows_trained=2, steps=2)
        ledger.finish_job(job, state, record, None if state == "completed" else reason)
    ledger.commit()
    return path


@pytest.mark.parametrize("state", PLACES)
@pytest.mark.parametrize("name", ["chat.jsonl", "FOLDER/chat.jsonl", JOB])
def test_a_file_is_found_in_any_state_by_name_place_or_job(client, ledger, layout, state, name):
    put(layout, ledger, state=state)

    file = client.history.file(name.replace("FOLDER", PLACES[state]))

    assert (file.name, file.state, file.place) == ("chat.jsonl", state, f"queue/{PLACES[state]}/chat.jsonl")
    assert (file.job.id, file.priority, file.job.format) == (JOB, "high", "messages")
    assert file.reason == ("it is odd\\x1b" if state in ("failed", "skipped") else None)


def test_a_file_that_was_cleared_away_does_not_hide_a_later_one_of_its_name(client, ledger, layout):
    put(layout, ledger, state="failed")
    os.makedirs(layout.trash / "failed-20260101-000000")
    os.rename(layout.failed / "chat.jsonl", layout.trash / "failed-20260101-000000" / "chat.jsonl")
    put(layout, ledger, state="skipped", id="20260101-000000-000002")

    assert client.history.file("chat.jsonl").state == "skipped"
    assert client.history.file("failed-20260101-000000/chat.jsonl").state == "failed"


def test_a_file_that_was_skipped_queued_again_and_removed_is_that_of_its_newest_job(client, ledger, layout):
    path = put(layout, ledger, state="skipped")
    newest = job_for(path, id="20260101-000000-000002", priority=Priority.HIGH)
    ledger.add_job(newest, identity_of(path.lstat()), "removed")
    ledger.commit()
    removed = Reason(kind=FaultKind.REQUEST, message="removed with training_queue", file=path.name, at="now")
    write_reason(path, removed)

    file = client.history.file("chat.jsonl")

    assert (file.job.id, file.state, file.place) == (newest.id, "skipped", "queue/skipped/chat.jsonl")
    assert file.reason == "removed with training_queue"


def test_a_file_that_was_cleared_away_keeps_its_state(client, ledger, layout):
    put(layout, ledger, state="failed")
    os.makedirs(layout.trash / "failed-20260101-000000")
    os.rename(layout.failed / "chat.jsonl", layout.trash / "failed-20260101-000000" / "chat.jsonl")

    file = client.history.file("chat.jsonl")

    assert (file.state, file.job.id) == ("failed", JOB)
    assert file.place == "queue/.trash/failed-20260101-000000/chat.jsonl"


def test_a_file_in_the_inbox_is_known_too(client, layout):
    write_jsonl(layout.inbox / "low" / "chat.jsonl", rows(1))

    file = client.history.file("chat.jsonl")

    assert (file.state, file.place, file.priority) == ("dropped", "inbox/low/chat.jsonl", "low")
    assert (file.job, file.ended_at) == (None, None)


def test_only_a_daemon_that_runs_checks_a_file(client, layout):
    write_jsonl(layout.waiting(Priority.LOW) / "chat.jsonl", rows(1))
    StatusBoard(layout.status_file, daemon_pid=os.getpid()).publish()

    assert client.history.file("chat.jsonl").state == "checking"


def test_a_file_in_the_inbox_that_is_not_accepted_says_why_and_what_to_do(client, layout):
    (layout.inbox / "table.csv").write_text("prompt;completion\na;b\n")
    (layout.inbox / "notes.txt").write_text("Remember the milk.")

    assert client.history.file("table.csv").reason == (
        "inbox/table.csv: it is a table of values separated by semicolons (CSV), not JSON Lines; convert and "
        f"add it: training_queue add {layout.inbox}/table.csv --base-dir {layout.base}"
    )
    assert client.history.file("notes.txt").reason == (
        "it is not accepted; expected a name that ends in .jsonl, .jsonl.gz or .jsonl.zst"
    )


def test_a_file_whose_rows_are_to_be_checked_has_no_job_yet_and_knows_its_earlier_one(client, ledger, layout):
    path = put(layout, ledger, state="failed")
    os.rename(path, layout.waiting(Priority.LOW) / "chat.jsonl")  # somebody tries it again

    file = client.history.file("chat.jsonl")

    assert (file.state, file.job, file.priority) == ("unchecked", None, "low")
    assert file.other_jobs == (JOB,)


def test_a_file_that_is_gone_is_known_from_the_ledger(client, ledger, layout):
    put(layout, ledger, state="completed").unlink()

    file = client.history.file("chat.jsonl")

    assert (file.state, file.place, file.job.id) == ("completed", None, JOB)


def test_a_refused_file_says_why_when_and_which_rows(client, layout):
    path = write_jsonl(layout.failed / "chat.jsonl", rows(1))
    at = "2026-01-01T00:00:00Z"
    write_reason(path, Reason(kind=FaultKind.BAD_DATA, message="no rows\x1b", file="chat.jsonl", at=at))
    note_beside(path, REJECTED_SUFFIX).write_text('{"line": 1}\n')

    file = client.history.file("chat.jsonl")

    assert (file.state, file.job, file.reason, file.ended_at) == ("failed", None, "no rows\\x1b", at)
    assert file.rejected_list == "queue/failed/chat.jsonl.rejected.jsonl"


def test_a_refused_file_names_the_list_of_its_last_try_and_none_of_a_later_file_of_its_name(client, layout):
    at = "2026-01-01T00:00:10.000Z"
    for name, refused_at in (("chat.jsonl", at), ("chat-3.jsonl", "2026-01-01T00:00:20.000Z")):
        path = write_jsonl(layout.failed / name, rows(1))
        write_reason(path, Reason(kind=FaultKind.BAD_DATA, message="no rows", file=name, at=refused_at))
    ten = 1767225610.0  # Unix seconds of `at`
    for name, written_at in (("chat.jsonl", ten - 9), ("chat-2.jsonl", ten), ("chat-3.jsonl", ten + 9)):
        note = note_beside(layout.failed / name, REJECTED_SUFFIX)
        note.write_text('{"line": 1}\n')
        os.utime(note, (written_at, written_at))

    listed = [client.history.file(name).rejected_list for name in ("chat.jsonl", "chat-3.jsonl")]

    assert listed == [f"queue/failed/{name}.rejected.jsonl" for name in ("chat-2.jsonl", "chat-3.jsonl")]


def test_a_job_has_its_steps_losses_attempts_events_and_checkpoint(client, ledger, layout):
    ledger.add_validation(Validated(global_step=0, loss=2.5, rows=4))
    put(layout, ledger, state="processing")
    ledger.start_attempt(JOB)
    ledger.end_attempt(JOB, "crash", "it crashed", is_charged=True)
    ledger.start_attempt(JOB)
    add_steps(ledger, [3.0, 2.0], job_id=JOB)
    ledger.add_event("started", "training starts", JOB, {"total_steps": 7})
    ledger.add_event("trained", "trained", JOB)
    add_event(ledger, "checkpoint", "saved", data='{"path": "models/checkpoints/step-000000002"}')
    add_event(ledger, "blocked", "not of this job")

    job = client.history.file("chat.jsonl").job

    assert (job.steps, job.total_steps, job.tokens_per_s) == (2, 7, 20.0)
    assert (job.first_loss, job.last_loss, job.before.loss, job.after) == (3.0, 2.0, 2.5, None)
    assert [(attempt.number, attempt.verdict) for attempt in job.every_attempt] == [(1, "crash"), (2, None)]
    assert (job.attempts, job.every_attempt[0].message) == (1, "it crashed")
    assert [event.kind for event in job.events] == ["started", "trained"]
    assert job.checkpoint is None  # it is not completed


def test_steps_that_only_the_newest_checkpoint_has_count_as_trained(client, ledger, layout):
    put(layout, ledger, state="processing")
    add_steps(ledger, [3.0, 2.0, 1.0], job_id=JOB, file_step=2)
    ledger.leave_out(JOB, Window(first=0, last=0))
    ledger.commit()
    job = job_for(layout.processing / "chat.jsonl", id=JOB)
    cursor = cursor_of(job, Settings(), step=6).model_copy(update={"rows_trained": 5})
    publish(layout, 1, progress=Progress(global_step=9, cursors={JOB: cursor}))

    job = client.history.file("chat.jsonl").job

    assert (job.steps, job.rows_trained, job.unrecorded_steps) == (5, 5, 2)  # of 6, one was left out
    assert (job.tokens, job.last_loss) == (30, 1.0)


def test_steps_after_the_newest_checkpoint_are_those_of_the_ledger(client, ledger, layout):
    put(layout, ledger, state="processing")
    add_steps(ledger, [3.0, 2.0, 1.0], job_id=JOB)
    cursor = cursor_of(job_for(layout.processing / "chat.jsonl", id=JOB), Settings(), step=2)
    publish(layout, 1, progress=Progress(global_step=2, cursors={JOB: cursor}))

    job = client.history.file("chat.jsonl").job

    assert (job.steps, job.rows_trained, job.unrecorded_steps) == (3, 3, 0)


def test_a_completed_job_names_its_checkpoint(client, ledger, layout):
    put(layout, ledger, state="completed")
    add_steps(ledger, [3.0], job_id=JOB)
    ledger.add_event("trained", "trained", JOB)
    add_event(ledger, "checkpoint", "saved", data='{"path": "models/checkpoints/step-000000001"}')

    job = client.history.file("chat.jsonl").job

    assert (job.checkpoint, job.is_checkpoint_kept) == ("step-000000001", False)


def test_a_trained_file_is_saving_until_its_checkpoint_is_there(client, ledger, layout):
    StatusBoard(layout.status_file, daemon_pid=os.getpid()).publish()
    put(layout, ledger, state="processing")
    ledger.start_attempt(JOB)
    ledger.end_attempt(JOB, "completed", None, is_charged=False)
    ledger.commit()

    assert client.history.file("chat.jsonl").state == "saving"


def test_a_file_that_is_to_be_trained_again_has_not_ended(client, ledger, layout):
    put(layout, ledger, state="waiting")
    ledger._database.write("UPDATE jobs SET finished_at = ?", ("2026-01-01T00:00:00.000Z",))
    ledger.commit()

    file = client.history.file("chat.jsonl")

    assert (file.state, file.ended_at) == ("waiting", None)


def test_of_the_lists_of_rejected_rows_the_one_with_its_lines_is_named(client, ledger, layout):
    put(layout, ledger, state="completed", rejected_lines=(3, 5))
    for name, lines in (("chat.jsonl", [3]), ("chat-2.jsonl", [3, 5]), ("chat-3.jsonl", [3, 5, 6])):
        note = note_beside(layout.failed / name, REJECTED_SUFFIX)
        note.write_text("".join(json.dumps({"line": line}) + "\n" for line in lines))

    file = client.history.file("chat.jsonl")

    assert file.job.rejected_lines == (3, 5)
    assert file.rejected_list == "queue/failed/chat-2.jsonl.rejected.jsonl"


def test_a_report_on_another_file_of_that_name_is_not_shown(client, ledger, layout):
    put(layout, ledger, state="completed")
    found = report("warning").model_copy(update={"file": "chat.jsonl", "job_id": JOB})
    write_report(layout, JOB, found)
    own = client.history.file("chat.jsonl").report
    report_file(layout, JOB).rename(report_file(layout, "20250101-000000-000001"))

    assert own.sampled_rows == found.sampled_rows
    assert own.warnings == tuple(finding.message for finding in found.warnings) != ()
    assert client.history.file("chat.jsonl").report is None


def test_a_file_that_was_never_inspected_has_no_report_of_an_earlier_one_of_its_name(client, ledger, layout):
    write_jsonl(layout.inbox / "high" / "chat.jsonl", rows(1))
    write_report(layout, JOB, report("warning"))

    file = client.history.file("inbox/high/chat.jsonl")

    assert (file.state, file.report) == ("dropped", None)


def test_several_files_of_one_name_are_refused_until_the_folder_is_given(client, ledger, layout):
    put(layout, ledger, state="waiting")
    put(layout, ledger, state="completed", id="20260101-000000-000000")

    with pytest.raises(AmbiguousName, match=r"high/chat\.jsonl or recently_completed/chat\.jsonl; say which"):
        client.history.file("chat.jsonl")

    file = client.history.file("high/chat.jsonl")
    assert (file.state, file.other_jobs) == ("waiting", ("20260101-000000-000000",))


@pytest.mark.parametrize(
    "name", ["nope.jsonl", "\x1b", "failed/chat.jsonl", "", "/", "20260101-000000-000009"]
)
def test_what_nobody_knows_is_named_in_the_error(client, ledger, layout, name):
    put(layout, ledger, state="completed")

    with pytest.raises(NoSuchFile) as raised:
        client.history.file(name)

    assert str(raised.value).isprintable()


def test_a_damaged_ledger_is_named(client, layout):
    layout.ledger_file.write_bytes(b"no database" * 500)

    with pytest.raises(UnreadableHistory, match=r"ledger\.sqlite3: file is not a database"):
        client.history.file("chat.jsonl")


def test_a_file_that_was_removed_after_it_was_started_says_what_was_measured_before_it(
    client, ledger, layout
):
    path = put(layout, ledger, state="processing")
    ledger.add_validation(Validated(global_step=399, loss=0.2271, rows=4))
    add_steps(ledger, [3.0, 2.0], job_id=JOB, first=400)
    ledger.place_job(job_for(path, id=JOB), "removed")
    os.rename(path, layout.finished(Outcome.SKIPPED) / "chat.jsonl")
    ledger.commit()

    job = client.history.file("chat.jsonl").job

    assert (job.state, job.steps, job.before.global_step, job.after) == ("removed", 2, 399, None)
