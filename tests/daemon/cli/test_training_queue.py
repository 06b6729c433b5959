"""The command training_queue, run as a person runs it, without a daemon."""

import json
import os
import shlex
import sqlite3
import stat
import subprocess
import sys
import time
from contextlib import closing

import pytest
from filelock import FileLock
from typer.testing import CliRunner

from daemon.cli.queue_view import ROWS_SHOWN
from daemon.cli.training_queue import app
from daemon.files.identity import identity_of
from daemon.files.notes import REASON_SUFFIX, note_beside
from daemon.jobs.admission import admit
from daemon.jobs.reasons import LOST, write_reason
from daemon.ledger.ledger import Ledger
from daemon.status.board import StatusBoard
from tests.daemon.cli.runner import runner_of
from tests.health import note_jobs, publish
from tests.support import FakeClock, job_for, rows, write_jsonl
from trainer.data.reading.file_kinds import FileKind, what_it_is
from trainer.protocol.files import file_sha256
from trainer.protocol.job import FaultKind, JobRecord, Outcome, Priority, Reason
from trainer.protocol.manifest import Progress
from trainer.protocol.text import shell_word

run = runner_of(app)


def run_as_a_process(layout, *arguments):
    """Run the command with everything around it: exit code, both outputs, the process's umask."""
    command = [sys.executable, "-m", "daemon.cli.training_queue", *arguments, "--base-dir", str(layout.base)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def ledger_with(layout, *known, clock=None):
    """Write a ledger of jobs (path, priority, state) that arrived in this order, and return it, open."""
    ledger = Ledger(layout.ledger_file, clock=clock or FakeClock())
    for number, (path, priority, state) in enumerate(known):
        job = job_for(path, id=f"20260101-000000-00000{number}", priority=priority)
        ledger.add_job(job, identity_of(path.stat()), state)
    ledger.commit()
    return ledger


def listed(layout, *keys):
    files = json.loads(run(layout, "list", "--json").stdout)
    return [tuple(file[key] for key in keys) for file in files]


def running_daemon(layout):
    StatusBoard(layout.status_file, daemon_pid=os.getpid()).publish()


def test_list_and_status_show_the_formats_of_rows(layout):
    path = write_jsonl(layout.waiting(Priority.HIGH) / "a.jsonl", rows(2))
    ledger = Ledger(layout.ledger_file, clock=FakeClock())
    ledger.add_job(
        job_for(path, priority=Priority.HIGH, format="alpaca"), identity_of(path.stat()), "waiting"
    )
    ledger.close()
    write_jsonl(layout.waiting(Priority.HIGH) / "unchecked.jsonl", rows(1))

    table = run(layout, "list").stdout
    counts = json.loads(run(layout, "status", "--json").stdout)

    assert listed(layout, "name", "format") == [("a.jsonl", "alpaca"), ("unchecked.jsonl", None)]
    assert "FORMAT\n" in table
    assert "  alpaca\n" in table
    assert (counts["high"], counts["format_alpaca"]) == (2, 1)


def test_list_shows_what_a_ledger_of_an_earlier_release_knows(layout):
    path = write_jsonl(layout.waiting(Priority.HIGH) / "a.jsonl", rows(2))
    ledger_with(layout, (path, Priority.HIGH, "waiting")).close()
    with closing(sqlite3.connect(layout.ledger_file)) as database:
        database.execute("ALTER TABLE jobs DROP COLUMN format")

    assert listed(layout, "name", "rows", "format") == [("a.jsonl", 2, None)]


def test_list_shows_files_in_training_order(layout):
    ledger = Ledger(layout.ledger_file, clock=FakeClock())
    for number, (name, priority) in enumerate(
        [("late.jsonl", Priority.LOW), ("b.jsonl", Priority.HIGH), ("a.jsonl", Priority.HIGH)]
    ):
        path = write_jsonl(layout.waiting(priority) / name, rows(2))
        job = job_for(path, id=f"20260101-000000-00000{number}", priority=priority)
        ledger.add_job(job, identity_of(path.stat()), "waiting")
    ledger.close()
    write_jsonl(layout.waiting(Priority.HIGH) / "unchecked.jsonl", rows(1))

    result = run(layout, "list", "--json")

    assert [(file["name"], file["state"]) for file in json.loads(result.stdout)] == [
        ("b.jsonl", "waiting"),
        ("a.jsonl", "waiting"),
        ("unchecked.jsonl", "unchecked"),
        ("late.jsonl", "waiting"),
    ]


@pytest.mark.parametrize("is_running, state", [(True, "checking"), (False, "unchecked")])
def test_list_calls_a_file_unchecked_while_no_daemon_could_check_it(layout, is_running, state):
    write_jsonl(layout.waiting(Priority.HIGH) / "a.jsonl", rows(1))
    StatusBoard(layout.status_file, daemon_pid=os.getpid() if is_running else None).publish()

    assert listed(layout, "state") == [(state,)]
    assert ("when a daemon starts" in run(layout, "list").stdout) == (state == "unchecked")


def test_list_is_short_unless_all_is_wanted(layout):
    for number in range(ROWS_SHOWN + 3):
        (layout.waiting(Priority.LOW) / f"{number:03}.jsonl").write_text("{}\n")

    short, whole = run(layout, "list"), run(layout, "list", "--all")

    assert "and 3 more" in short.stdout
    assert short.stdout.count(".jsonl") == ROWS_SHOWN
    assert whole.stdout.count(".jsonl") == ROWS_SHOWN + 3


def test_names_cannot_talk_to_the_terminal(layout):
    (layout.waiting(Priority.LOW) / "\x1b]0;owned\x07[red].jsonl").write_text("{}\n")
    os.close(os.open(os.fsencode(layout.waiting(Priority.LOW)) + b"/\xff\n.jsonl", os.O_CREAT))

    result = run(layout, "list")

    assert result.exit_code == 0
    assert "\x1b" not in result.stdout
    assert "\\x1b]0;owned\\x07[red].jsonl" in result.stdout
    assert "\\xff\\n.jsonl" in result.stdout


def test_status_counts_every_folder(layout):
    write_jsonl(layout.waiting(Priority.LOW) / "a.jsonl", rows(1))
    write_jsonl(layout.failed / "b.jsonl", rows(1))
    (layout.failed / "b.jsonl.reason.json").write_text("{}")

    result = run(layout, "status", "--json")

    assert json.loads(result.stdout) == {
        "high": 0, "normal": 0, "low": 1, "processing": 0, "recently_completed": 0, "failed": 1, "skipped": 0,
        "trash": 0,
    }  # fmt: skip


def complete(layout, name):
    """Have the ledger say that this file has been completed, without a step."""
    path = write_jsonl(layout.finished(Outcome.COMPLETED) / name, rows(1))
    ledger = Ledger(layout.ledger_file, clock=FakeClock(time.time() - 150))
    ledger.add_job(job_for(path), identity_of(path.stat()), "processing")
    record = JobRecord(job_id=job_for(path).id, sha256="", outcome=Outcome.COMPLETED, rows_trained=1, steps=0)
    ledger.finish_job(job_for(path), "completed", record, None)
    ledger.close()


@pytest.mark.parametrize("command", ["list", "status"])
def test_an_empty_queue_says_what_was_completed_last(layout, command):
    fresh = run(layout, command).stdout
    complete(layout, "done.jsonl")

    said = run(layout, command).stdout
    write_jsonl(layout.waiting(Priority.LOW) / "a.jsonl", rows(1))

    assert fresh.splitlines()[-1] == "the queue is empty"
    assert said.splitlines()[-1] == (
        "the queue is empty; 1 file completed, the last one done.jsonl 2 minutes ago (training_queue history)"
    )
    assert "the queue is empty" not in run(layout, command).stdout
    assert "done.jsonl" not in run(layout, command, "--json").stdout


def test_history_shows_completed_files_and_no_others(layout):
    empty = run(layout, "history")
    complete(layout, "done.jsonl")
    write_jsonl(layout.failed / "b.jsonl", rows(1))

    table = run(layout, "history").stdout
    documents = json.loads(run(layout, "history", "--json").stdout)

    assert empty.stdout == "no file has been completed yet\n"
    assert [line.split()[0] for line in table.splitlines()] == ["FILE", "done.jsonl"]
    assert [file["name"] for file in documents] == ["done.jsonl"]
    assert run(layout, "history", "--limit", "0").exit_code != 0


def test_show_says_where_a_file_is_and_why(layout):
    fail(layout, "its rows are odd\x1b")

    shown = run(layout, "show", "failed/a.jsonl").stdout
    document = json.loads(run(layout, "show", "a.jsonl", "--json").stdout)

    assert shown.splitlines()[:3] == [
        "a.jsonl: failed",
        "  place         queue/failed/a.jsonl",
        "  reason        its rows are odd\\x1b",
    ]
    assert (document["state"], document["job"]) == ("failed", None)


def test_set_priority_moves_the_file(layout):
    write_jsonl(layout.waiting(Priority.LOW) / "a.jsonl", rows(1))

    result = run(layout, "set-priority", "a.jsonl", "high")

    assert result.exit_code == 0
    assert (layout.waiting(Priority.HIGH) / "a.jsonl").exists()
    assert not (layout.waiting(Priority.LOW) / "a.jsonl").exists()


def test_after_a_move_without_a_daemon_the_list_says_what_the_folders_say(layout):
    path = write_jsonl(layout.waiting(Priority.LOW) / "a.jsonl", rows(2))
    ledger_with(layout, (path, Priority.LOW, "waiting")).close()

    run(layout, "set-priority", "a.jsonl", "high")

    assert listed(layout, "name", "state", "priority", "rows") == [("a.jsonl", "waiting", "high", 2)]
    assert json.loads(run(layout, "status", "--json").stdout)["high"] == 1


def test_files_of_one_name_are_listed_with_their_own_rows(layout):
    low = write_jsonl(layout.waiting(Priority.LOW) / "a.jsonl", rows(2))
    high = write_jsonl(layout.waiting(Priority.HIGH) / "a.jsonl", rows(5))
    begun = write_jsonl(layout.processing / "a.jsonl", rows(7))
    ledger_with(
        layout,
        (low, Priority.LOW, "waiting"),
        (high, Priority.HIGH, "waiting"),
        (begun, Priority.HIGH, "processing"),
    ).close()
    write_jsonl(layout.waiting(Priority.NORMAL) / "a.jsonl", rows(1))

    assert listed(layout, "state", "priority", "rows") == [
        ("processing", "high", 7),
        ("waiting", "high", 5),
        ("unchecked", "normal", None),
        ("waiting", "low", 2),
    ]


@pytest.mark.parametrize(
    "verdict, state", [("completed", "saving"), ("interrupted", "processing"), (None, "processing")]
)
def test_a_trained_file_is_listed_as_saving_until_its_checkpoint_is_there(layout, verdict, state):
    running_daemon(layout)
    path = write_jsonl(layout.processing / "a.jsonl", rows(1))
    ledger = ledger_with(layout, (path, Priority.NORMAL, "processing"))
    job = ledger.find_job(next(ledger.open_files()).job_id).job
    ledger.start_attempt(job.id)
    ledger.end_attempt(job.id, "completed", None, is_charged=False)  # then its worker died unsaved
    ledger.start_attempt(job.id)
    if verdict:
        ledger.end_attempt(job.id, verdict, None, is_charged=False)
    ledger.close()

    assert listed(layout, "state") == [(state,)]
    assert json.loads(run(layout, "status", "--json").stdout)["processing"] == 1


@pytest.mark.parametrize("events, state", [
    (["worker_started", "trained"], "saving"),
    (["worker_started", "trained", "worker_started"], "processing"),
    (["worker_started", "trained", "daemon_started"], "processing"),
    (["worker_started", "trained", "worker_started", "checkpoint"], "processing"),
    (["worker_started", "trained", "checkpoint", "worker_started"], "saving"),
])  # fmt: skip
def test_a_file_whose_worker_died_before_it_was_saved_is_not_listed_as_saving(layout, events, state):
    running_daemon(layout)
    path = write_jsonl(layout.processing / "a.jsonl", rows(1))
    clock = FakeClock()
    ledger = ledger_with(layout, (path, Priority.NORMAL, "processing"), clock=clock)
    job = ledger.find_job(next(ledger.open_files()).job_id).job
    ledger.start_attempt(job.id)
    for kind in events:
        clock.now += 1.0
        if kind == "trained":
            ledger.end_attempt(job.id, "completed", None, is_charged=False)
        ledger.add_event(kind, kind)
    ledger.close()

    assert listed(layout, "state") == [(state,)]
    assert json.loads(run(layout, "show", "a.jsonl", "--json").stdout)["state"] == state


def test_nothing_is_listed_as_saving_while_no_daemon_runs(layout):
    path = write_jsonl(layout.processing / "a.jsonl", rows(1))
    ledger = ledger_with(layout, (path, Priority.NORMAL, "processing"))
    job = ledger.find_job(next(ledger.open_files()).job_id).job
    ledger.start_attempt(job.id)
    ledger.end_attempt(job.id, "completed", None, is_charged=False)
    ledger.close()

    assert listed(layout, "state") == [("processing",)]
    assert json.loads(run(layout, "show", "a.jsonl", "--json").stdout)["state"] == "processing"


def test_a_damaged_ledger_is_an_error_that_names_it(layout):
    layout.ledger_file.write_text("not a database, and long enough to be read as one" * 50)

    result = run(layout, "list")

    assert "ledger.sqlite3" in str(result.exception)


@pytest.mark.parametrize("command", [["remove"], ["set-priority", "high"]])
def test_a_name_of_two_files_is_refused_until_the_folder_is_given(layout, command):
    for priority in (Priority.HIGH, Priority.LOW):
        write_jsonl(layout.waiting(priority) / "a.jsonl", rows(1))
    subcommand, *rest = command

    refused = run(layout, subcommand, "a.jsonl", *rest)
    accepted = run(layout, subcommand, "low/a.jsonl", *rest)

    assert "high/a.jsonl or low/a.jsonl" in str(refused.exception)
    assert accepted.exit_code == 0
    assert not (layout.waiting(Priority.LOW) / "a.jsonl").exists()


def test_retry_takes_the_file_of_the_folder_that_is_given(layout):
    for folder in ("failed", "skipped"):
        write_jsonl(layout.queue / folder / "a.jsonl", rows(1))

    refused = run(layout, "retry", "a.jsonl")
    run(layout, "retry", "skipped/a.jsonl")

    assert "failed/a.jsonl or skipped/a.jsonl" in str(refused.exception)
    assert (layout.failed / "a.jsonl").exists()
    assert not (layout.queue / "skipped" / "a.jsonl").exists()


def test_only_the_file_in_training_gets_the_advice_to_skip_it(layout):
    running_daemon(layout)
    paths = [
        write_jsonl(layout.processing / name, rows(1)) for name in ("done.jsonl", "now.jsonl", "next.jsonl")
    ]
    ledger = ledger_with(layout, *[(path, Priority.NORMAL, "processing") for path in paths])
    job = ledger.find_job(next(ledger.open_files()).job_id).job
    ledger.start_attempt(job.id)
    ledger.end_attempt(job.id, "completed", None, is_charged=False)
    ledger.close()

    with FileLock(layout.lock_file):
        messages = {path.name: str(run(layout, "remove", path.name).exception) for path in paths}
        prioritised = str(run(layout, "set-priority", "now.jsonl", "low").exception)

    assert "waits for its checkpoint" in messages["done.jsonl"]
    assert "training_controller skip" in messages["now.jsonl"]
    assert prioritised == (
        "now.jsonl is being trained; to have another file trained first, make that one more urgent "
        "(training_queue set-priority OTHER high), which helps unless this one is high, too, or "
        "daemon.preempt is false"
    )
    assert "continues after now.jsonl" in messages["next.jsonl"]
    assert all(path.exists() for path in paths)


def test_without_a_daemon_a_started_file_is_said_to_continue_when_one_runs(layout):
    write_jsonl(layout.processing / "a.jsonl", rows(1))

    result = run(layout, "set-priority", "a.jsonl", "high")

    assert "continues once a daemon runs" in str(result.exception)
    assert (layout.processing / "a.jsonl").exists()


def test_without_a_daemon_a_file_that_is_in_the_model_is_not_said_to_be_removed(layout):
    path = write_jsonl(layout.processing / "a.jsonl", rows(1))
    [job] = note_jobs(layout, (path, Priority.NORMAL))
    record = JobRecord(job_id=job.id, sha256=job.sha256, outcome=Outcome.COMPLETED, rows_trained=1, steps=1)
    publish(layout, 1, progress=Progress(global_step=1, finished=[record]))

    result = run(layout, "remove", "a.jsonl")

    assert "processing/a.jsonl is fully trained, and the newest checkpoint contains it" in str(
        result.exception
    )
    assert path.exists()


def test_without_a_daemon_a_started_file_can_be_removed_and_keeps_its_priority(layout):
    path = write_jsonl(layout.processing / "a.jsonl", rows(1))
    ledger_with(layout, (path, Priority.HIGH, "processing")).close()

    result = run(layout, "remove", "a.jsonl")

    assert result.stdout == "a.jsonl is now in queue/skipped/\n"
    run(layout, "retry", "a.jsonl")
    assert (layout.waiting(Priority.HIGH) / "a.jsonl").exists()


@pytest.mark.parametrize(
    "folder, advice",
    [
        ("failed", "training_queue retry failed/a.jsonl"),
        ("skipped", "training_queue retry skipped/a.jsonl"),
        ("recently_completed", "queue/recently_completed/a.jsonl"),
        ("failed", "training_queue retry 'failed/two words.jsonl'"),
        ("recently_completed", "queue/recently_completed/two words.jsonl'"),
    ],
)
@pytest.mark.parametrize("command", [["remove"], ["set-priority", "high"]])
def test_a_file_that_does_not_wait_any_more_is_found_and_can_be_retried(layout, command, folder, advice):
    name = "two words.jsonl" if "two words" in advice else "a.jsonl"
    write_jsonl(layout.queue / folder / name, rows(1))

    result = run(layout, command[0], name, *command[1:])

    assert advice in str(result.exception)
    assert (layout.queue / folder / name).exists()


def test_retry_says_where_a_file_waits_already(layout):
    write_jsonl(layout.waiting(Priority.LOW) / "a.jsonl", rows(1))

    assert "low/a.jsonl is already waiting" in str(run(layout, "retry", "a.jsonl").exception)


def test_list_shows_failed_and_skipped_files_with_their_reasons(layout):
    write_jsonl(layout.waiting(Priority.LOW) / "a.jsonl", rows(1))
    run(layout, "remove", "a.jsonl")
    write_jsonl(layout.failed / "b.jsonl", rows(1))

    failed, skipped = run(layout, "list", "--failed"), run(layout, "list", "--skipped")
    both = run(layout, "list", "--failed", "--skipped", "--json")

    assert "b.jsonl" in failed.stdout
    assert "a.jsonl" not in failed.stdout
    assert "removed with training_queue" in skipped.stdout
    assert [(file["name"], file["state"]) for file in json.loads(both.stdout)] == [
        ("b.jsonl", "failed"),
        ("a.jsonl", "skipped"),
    ]


def test_notes_and_copies_are_readable_by_their_owner_alone(layout, tmp_path):
    file = write_jsonl(tmp_path / "a.jsonl", rows(1))
    write_jsonl(layout.waiting(Priority.HIGH) / "b.jsonl", rows(1))

    run_as_a_process(layout, "add", str(file))
    run_as_a_process(layout, "remove", "b.jsonl")

    note = layout.finished(Outcome.SKIPPED) / "b.jsonl.reason.json"
    copy = layout.inbox / "normal" / "a.jsonl"
    assert [stat.S_IMODE(path.stat().st_mode) for path in (note, copy)] == [0o600, 0o600]


@pytest.mark.parametrize(
    "arguments, exit_code",
    [(["remove", "nope.jsonl"], 1), (["remove"], 2), (["set-priority", "a.jsonl", "urgent"], 2)],
)
def test_with_json_an_error_is_json_on_standard_output(layout, arguments, exit_code):
    result = run_as_a_process(layout, *arguments, "--json")

    assert result.returncode == exit_code
    assert list(json.loads(result.stdout)) == ["error"]
    assert result.stderr == ""


@pytest.mark.parametrize("command, more", [("remove", []), ("set-priority", ["low"])])
def test_a_file_that_is_still_in_the_inbox_is_moved_by_hand(layout, command, more):
    write_jsonl(layout.inbox / "a.jsonl", rows(1))
    write_jsonl(layout.finished(Outcome.COMPLETED) / "a.jsonl", rows(1))

    result = run(layout, command, "a.jsonl", *more)

    assert str(result.exception) == (
        "inbox/a.jsonl has not been accepted yet, because no daemon runs; until then, move it yourself: "
        "out of inbox/, or to inbox/high/ or inbox/low/ for another priority"
    )


def test_a_wrong_priority_is_named_with_those_that_exist(layout):
    result = run_as_a_process(layout, "set-priority", "a.jsonl", "urgent")

    assert (result.returncode, result.stdout) == (2, "")
    assert 'PRIORITY is "urgent"; expected one of high, normal, low' in result.stderr
    assert "Value error" not in result.stderr


def test_remove_keeps_the_file_and_says_why_it_lies_there(layout):
    write_jsonl(layout.waiting(Priority.HIGH) / "a.jsonl", rows(1))

    run(layout, "remove", "a.jsonl")

    skipped = layout.queue / "skipped"
    assert (skipped / "a.jsonl").exists()
    assert json.loads((skipped / "a.jsonl.reason.json").read_text())["kind"] == "request"


def test_retry_puts_a_file_back_where_it_came_from(layout):
    write_jsonl(layout.waiting(Priority.HIGH) / "a.jsonl", rows(1))
    run(layout, "remove", "a.jsonl")

    run(layout, "retry", "a.jsonl")

    assert (layout.waiting(Priority.HIGH) / "a.jsonl").exists()
    assert not (layout.queue / "skipped" / "a.jsonl.reason.json").exists()


def test_retry_failed_takes_every_failed_file_and_no_notes(layout):
    for name in ("a.jsonl", "b.jsonl", "b.jsonl.rejected.jsonl", "b.jsonl.reason.json"):
        (layout.failed / name).write_text("{}\n")

    run(layout, "retry", "--failed")

    assert sorted(path.name for path in layout.waiting(Priority.NORMAL).iterdir()) == ["a.jsonl", "b.jsonl"]


def test_retry_admits_a_content_only_if_it_is_told_to(layout):
    for name, number in (("a.jsonl", 1), ("b.jsonl", 2)):
        write_jsonl(layout.failed / name, rows(number))

    run(layout, "retry", "a.jsonl", "--admit")
    run(layout, "retry", "b.jsonl")

    back = {path.name: file_sha256(path) for path in layout.waiting(Priority.NORMAL).iterdir()}
    assert [path.name for path in layout.admitted.iterdir()] == [back["a.jsonl"]]
    assert "b.jsonl" in back


@pytest.mark.parametrize("meant", ["a.jsonl", "normal/a.jsonl"])
def test_what_was_admitted_is_so_until_that_is_taken_back(layout, meant):
    write_jsonl(layout.failed / "a.jsonl", rows(1))
    run(layout, "retry", "a.jsonl", "--admit")
    before = json.loads(run(layout, "show", "a.jsonl", "--json").stdout)["is_admitted"]

    result = run(layout, "unadmit", meant)
    again = run(layout, "unadmit", meant)

    assert result.stdout == (
        "a.jsonl is no longer admitted: when a file with its content starts, it is checked like any other\n"
    )
    after = json.loads(run(layout, "show", "a.jsonl", "--json").stdout)["is_admitted"]
    assert (before, after, list(layout.admitted.iterdir())) == (True, False, [])
    assert "the content of a.jsonl is not admitted" in str(again.exception)


def test_a_content_is_known_by_its_job_once_its_file_is_gone(layout):
    path = write_jsonl(layout.failed / "a.jsonl", rows(1))
    with closing(ledger_with(layout, (path, Priority.NORMAL, "failed"))):
        admit(layout, path)
        path.unlink()

    run(layout, "unadmit", "20260101-000000-000000")

    assert list(layout.admitted.iterdir()) == []


def test_retry_takes_several_names_each_once(layout):
    for name in ("a.jsonl", "b.jsonl", "c.jsonl"):
        write_jsonl(layout.failed / name, rows(1))

    result = run(layout, "retry", "a.jsonl", "failed/b.jsonl", "failed/a.jsonl", "--json")

    assert json.loads(result.stdout) == ["a.jsonl", "b.jsonl"]
    assert sorted(path.name for path in layout.waiting(Priority.NORMAL).iterdir()) == ["a.jsonl", "b.jsonl"]
    assert (layout.failed / "c.jsonl").exists()


def test_retry_of_several_changes_nothing_if_one_cannot_be_meant(layout):
    write_jsonl(layout.failed / "a.jsonl", rows(1))

    result = run(layout, "retry", "a.jsonl", "nope.jsonl")

    assert "nope.jsonl" in str(result.exception)
    assert (layout.failed / "a.jsonl").exists()


def test_retry_completes_every_name(layout, tmp_path):
    for name in ("a.jsonl", "b.jsonl"):
        write_jsonl(layout.failed / name, rows(1))
    words = f"training_queue retry a.jsonl --base-dir {layout.base} "
    shell = {"_TRAINING_QUEUE_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": "5"}

    offered = CliRunner().invoke(app, [], env=shell, prog_name="training_queue")

    assert offered.stdout.split() == ["a.jsonl", "b.jsonl"]


@pytest.mark.parametrize("which", [["--failed"], ["a.jsonl", "b.jsonl"]])
def test_retry_admits_one_file_at_a_time(layout, which):
    for name in ("a.jsonl", "b.jsonl"):
        write_jsonl(layout.failed / name, rows(1))

    result = run(layout, "retry", *which, "--admit")

    assert "--admit needs one NAME" in str(result.exception)
    assert (layout.failed / "a.jsonl").exists()


def test_what_is_no_file_is_not_admitted(layout):
    os.mkfifo(layout.failed / "a.jsonl")

    result = run(layout, "retry", "a.jsonl", "--admit")

    assert "a.jsonl is not a regular file" in str(result.exception)


def fail(layout, message, **fields):
    """Have a file lie in failed/ for this reason."""
    path = write_jsonl(layout.failed / "a.jsonl", rows(1))
    reason = {"kind": FaultKind.BAD_DATA, "message": message, "file": "a.jsonl", "at": "2026-01-01T00:00:00Z"}
    write_reason(path, Reason(**(reason | fields)))


def test_a_file_that_was_never_taken_in_is_not_admitted(layout):
    fail(layout, "3 of 4 rows are malformed")

    result = run(layout, "retry", "a.jsonl", "--admit")

    assert "failed/a.jsonl cannot be admitted: that is for rows that can be trained" in str(result.exception)
    assert "3 of 4 rows are malformed; correct the file" in str(result.exception)
    assert not layout.admitted.exists()
    assert (layout.failed / "a.jsonl").exists()


@pytest.mark.parametrize(
    "message, fields",
    [
        ("all of 3 rows are too long", {"job_id": "20260101-000000-000001"}),
        (LOST, {}),
        ("skipped while it was checked", {"kind": FaultKind.REQUEST}),
    ],
)
def test_a_file_that_was_not_refused_at_intake_is_admitted(layout, message, fields):
    fail(layout, message, **fields)

    run(layout, "retry", "a.jsonl", "--admit")

    assert len(list(layout.admitted.iterdir())) == 1
    assert (layout.waiting(Priority.NORMAL) / "a.jsonl").exists()


@pytest.mark.parametrize("arguments", [["retry"], ["retry", "a.jsonl", "--failed"]])
def test_retry_wants_either_a_name_or_all(layout, arguments):
    result = run(layout, *arguments)

    assert "either a NAME or --failed" in str(result.exception)


@pytest.mark.parametrize(
    "arguments", [["remove", "nope.jsonl"], ["set-priority", "nope.jsonl", "high"], ["retry", "nope.jsonl"]]
)
def test_an_unknown_name_is_named_in_the_error(layout, arguments):
    result = run(layout, *arguments)

    assert result.exit_code != 0
    assert "nope.jsonl" in str(result.exception)


def test_a_folder_that_is_no_working_directory_is_refused(tmp_path):
    result = CliRunner().invoke(app, ["list", "--base-dir", str(tmp_path)])

    assert "is not a working directory" in str(result.exception)
    assert not list(tmp_path.iterdir())


# ---- clear


def fail_named(layout, name, *, at="2026-01-01T00:00:00Z"):
    path = write_jsonl(layout.failed / name, rows(1))
    reason = Reason(
        kind=FaultKind.BAD_DATA, message="it is odd", file=name, at=at, priority=Priority.HIGH, job_id="1"
    )
    write_reason(path, reason)
    return path


def test_what_failed_is_cleared_away_and_the_counts_follow(layout):
    for name in ("a.jsonl", "b.jsonl"):
        fail_named(layout, name)
    fail_named(layout, "new.jsonl", at="2100-01-01T00:00:00Z")

    said = run(layout, "clear", "--failed", "--older-than", "7d").stdout
    counts = json.loads(run(layout, "status", "--json").stdout)

    [folder] = layout.trash.iterdir()
    assert said == (
        f"moved 2 failed files to queue/.trash/{folder.name}/\n"
        "left 1 failed file: not old enough\n"
        "unless disk.queue_trash_kept_s is set, they stay there; to put one back: training_queue retry NAME\n"
    )
    assert (counts["failed"], counts["trash"]) == (1, 2)
    assert sorted(os.listdir(layout.failed)) == ["new.jsonl", "new.jsonl.reason.json"]


def test_single_files_are_cleared_away_by_their_names(layout):
    for name in ("a.jsonl", "b.jsonl", "both.jsonl"):
        fail_named(layout, name)
    skipped = layout.finished(Outcome.SKIPPED)
    other = fail_named(layout, "other.jsonl").rename(skipped / "both.jsonl")
    note_beside(layout.failed / "other.jsonl", REASON_SUFFIX).rename(note_beside(other, REASON_SUFFIX))

    said = run(layout, "clear", "a.jsonl", "skipped/both.jsonl").stdout
    unclear = run(layout, "clear", "b.jsonl", "both.jsonl", "waits.jsonl")

    assert said.count("moved 1 ") == 2
    assert sorted(path.name for folder in layout.trash.iterdir() for path in folder.glob("*.jsonl")) == [
        "a.jsonl",
        "both.jsonl",
    ]
    assert "no file is named waits.jsonl" in str(unclear.exception)
    assert sorted(path.name for path in layout.failed.glob("*.jsonl")) == ["b.jsonl", "both.jsonl"]


def test_a_file_that_failed_is_said_to_wait_no_more_and_what_can_be_done(layout):
    fail_named(layout, "a.jsonl")

    refused = str(run(layout, "remove", "a.jsonl").exception)

    assert refused == (
        "failed/a.jsonl does not wait; to queue it again: training_queue retry failed/a.jsonl; "
        "to clear it away: training_queue clear failed/a.jsonl"
    )


@pytest.mark.parametrize("name", ["a.jsonl", "a b.jsonl", "-a.jsonl"])
def test_what_the_trash_tells_to_type_works_where_the_file_lies_now(layout, name):
    path = write_jsonl(layout.failed / name, rows(1))
    word = shlex.quote(name)
    admit = f"--admit -- {word}" if name.startswith("-") else f"{word} --admit"
    message = f"odd; {what_it_is(FileKind.TAR, str(path))}, or: training_queue retry {admit}"
    at = "2026-01-01T00:00:00Z"
    reason = Reason(kind=FaultKind.BAD_DATA, message=message, file=name, at=at, job_id="1")
    write_reason(path, reason)
    run(layout, "clear", "--failed")
    write_jsonl(layout.failed / name, rows(2))  # a newer one, which is not meant
    [folder] = layout.trash.iterdir()

    [listed] = json.loads(run(layout, "list", "--trash", "--json").stdout)
    shown = json.loads(run(layout, "show", listed["name"], "--json").stdout)

    assert f"tar -xf {shell_word(str(folder / name))}," in listed["reason"]
    assert shown["reason"] == listed["reason"]
    typed = shlex.split(listed["reason"].partition("training_queue ")[2])
    there = {"TRAINING_BASE_DIR": str(layout.base)}
    tried = CliRunner().invoke(app, typed, env=there)
    assert tried.exit_code == 0, tried.exception
    assert not (folder / name).exists()


def test_the_trash_is_listed_with_names_that_retry_takes(layout):
    fail_named(layout, "a.jsonl")
    run(layout, "clear", "--failed")

    [file] = json.loads(run(layout, "list", "--trash", "--json").stdout)
    again = run(layout, "retry", file["name"])

    assert (file["state"], file["reason"]) == ("failed", "it is odd")
    assert again.stdout == "a.jsonl is queued again\n"
    assert (layout.waiting(Priority.HIGH) / "a.jsonl").exists()


def test_a_name_in_the_trash_says_how_to_have_the_file_back(layout):
    fail_named(layout, "a.jsonl")
    run(layout, "clear", "--failed")

    message = str(run(layout, "set-priority", "a.jsonl", "high").exception)

    assert "/a.jsonl has been cleared away; to queue it again: training_queue retry failed-" in message


@pytest.mark.parametrize("command", ["list", "status"])
def test_a_queue_is_not_called_empty_while_a_file_is_in_the_inbox(layout, command):
    (layout.inbox / "new.jsonl").write_text("")

    last = run(layout, command).stdout.splitlines()[-1]

    assert last == "1 file in inbox/, not taken in yet; nothing else waits"


def test_files_that_are_not_old_enough_are_not_said_to_be_missing(layout):
    fail_named(layout, "new.jsonl", at="2100-01-01T00:00:00Z")

    said = run(layout, "clear", "--failed", "--older-than", "7d").stdout

    assert said == "left 1 failed file: not old enough\n"


def test_nothing_to_clear_is_said(layout):
    result = run(layout, "clear", "--failed", "--skipped")

    assert (result.exit_code, result.stdout) == (
        0,
        "there are no failed files to move\nthere are no skipped files to move\n",
    )
    assert not layout.trash.exists()


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["clear"], "give either a NAME, or --failed, --skipped or both"),
        (["clear", "a.jsonl", "--failed"], "give either a NAME, or --failed, --skipped or both"),
        (["clear", "a.jsonl", "--older-than", "7d"], "--older-than is for --failed and --skipped"),
        (["clear", "--failed", "--older-than", "soon\x1b"], r'--older-than is "soon\x1b"; expected a number'),
        (["clear", "--failed", "--older-than", "7"], "such as 12h, 7d or 2w"),
        (["list", "--trash", "--failed"], "--trash goes with neither"),
    ],
)
def test_what_cannot_be_meant_changes_nothing(layout, arguments, said):
    path = fail_named(layout, "a.jsonl")

    assert said in str(run(layout, *arguments).exception)
    assert path.exists()


def test_if_one_of_several_files_cannot_be_retried_none_is_and_that_is_said(layout):
    (layout.failed / "a.jsonl").write_text("{}\n")

    refused = run(layout, "retry", "a.jsonl", "gone.jsonl")

    assert str(refused.exception).endswith("; nothing was retried")
    assert (layout.failed / "a.jsonl").exists()


def test_a_file_in_the_inbox_is_not_accepted_or_not_taken_in_yet(layout):
    for name in ("list.json", "chat.jsonl"):
        (layout.inbox / name).write_text("{}\n")

    said = [run(layout, "show", name).stdout.splitlines()[0] for name in ("list.json", "chat.jsonl")]

    assert said == ["list.json: in inbox/, not accepted", "chat.jsonl: in inbox/, not taken in yet"]
