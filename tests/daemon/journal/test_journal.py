"""What is recorded once reaches the log, the status and the ledger."""

import ast
import json
import logging
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from daemon.journal.document import PAGE, event_types, page
from daemon.journal.events import (
    CommandAnswered,
    FileAccepted,
    FileRefused,
    JobFinished,
    ModelWentBack,
    TrainingBlocked,
    TrainingEnded,
    TrainingFailed,
    TrainingStarted,
    TurnFailed,
    WorkerCrashed,
    WorkerNotice,
)
from daemon.journal.journal import Journal, LedgerRows, LogLines, StatusChanges
from daemon.status.board import StatusBoard
from trainer.protocol.messages import LOSS_SPIKE

AT = "2026-11-21T12:00:00.000Z"
ROOT = Path(__file__).parents[3]
OF_THE_JOURNAL = (".add_event", "board.error", "board.alert", "board.clear_alert")
CRASHED = WorkerCrashed(job_id="1", file="a.jsonl", reason="it crashed", fault="crash", restart_in_s=4.0)
ACCEPTED = FileAccepted(
    job_id="1", file="a.jsonl", rows=8, priority="high", rejected_rows=2, first_rejection="line 3: no"
)


@pytest.fixture
def board(layout):
    return StatusBoard(layout.status_file, daemon_pid=1, wall_clock=lambda: 1e9)


def shown(board):
    board.publish()
    return board.status


def rows(ledger):
    return [dict(row) for row in ledger._database.read("SELECT * FROM events ORDER BY id")]


def test_every_subscriber_hears_of_every_event_in_order():
    heard = []

    class Subscriber:
        def on_event(self, event, at):
            heard.append((self, event))

    first, second = Subscriber(), Subscriber()
    journal = Journal([first, second])

    journal.record(ACCEPTED)
    journal.record(CRASHED)

    assert heard == [(first, ACCEPTED), (second, ACCEPTED), (first, CRASHED), (second, CRASHED)]


def test_the_log_has_a_line_with_level_and_job(caplog):
    caplog.set_level(logging.INFO)

    LogLines().on_event(CRASHED, AT)

    [record] = caplog.records
    assert (record.levelname, record.getMessage(), record.job_id) == (
        "ERROR",
        "it crashed; starting again in 4 s",
        "1",
    )


def test_a_worker_that_crashed_without_a_file_is_not_said_to_start_again_at_once():
    idle = replace(CRASHED, job_id=None, file=None)

    assert idle.message == (
        "it crashed; another one starts once there is something to train, in 4 s at the earliest"
    )


def test_a_turn_that_failed_is_logged_with_its_traceback(caplog):
    try:
        raise OSError("disk is full")
    except OSError:
        LogLines().on_event(TurnFailed(exception="OSError", problem="disk is full"), AT)

    assert "Traceback" in caplog.text


def test_the_ledger_has_a_row_with_the_facts(ledger):
    LedgerRows(ledger).on_event(ACCEPTED, AT)

    [row] = rows(ledger)
    assert (row["kind"], row["job_id"]) == ("accepted", "1")
    assert row["message"] == "accepted a.jsonl (8 rows, high); 2 rows rejected, the first: line 3: no"
    assert json.loads(row["data"]) == {
        "file": "a.jsonl",
        "rows": 8,
        "priority": "high",
        "rejected_rows": 2,
        "first_rejection": "line 3: no",
    }


def test_facts_are_printable_whatever_a_file_is_called(ledger):
    LedgerRows(ledger).on_event(FileRefused(file="a\x1b[31m\udcff.jsonl", reason="no\nrows"), AT)

    [row] = rows(ledger)
    assert all(text.isprintable() for text in json.loads(row["data"]).values())


def test_what_the_ledger_cannot_take_is_written_later_in_order(ledger, monkeypatch):
    subscriber = LedgerRows(ledger)
    add_event = ledger.add_event

    def full(*arguments, **options):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(ledger, "add_event", full)
    subscriber.on_event(ACCEPTED, AT)
    monkeypatch.setattr(ledger, "add_event", add_event)
    subscriber.on_event(CRASHED, AT)

    assert [row["kind"] for row in rows(ledger)] == ["accepted", "worker_crashed"]


def test_while_the_ledger_takes_nothing_flushing_says_so(ledger, monkeypatch):
    def full(*arguments, **options):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(ledger, "add_event", full)
    journal = Journal([LogLines(), LedgerRows(ledger)])

    journal.record(ACCEPTED)

    with pytest.raises(sqlite3.OperationalError):
        journal.flush()


def test_errors_and_alerts_are_shown_until_they_are_no_longer_true(board):
    status = StatusChanges(board)

    status.on_event(CRASHED, AT)
    status.on_event(ACCEPTED, AT)
    before = shown(board).alerts
    warnings = shown(board).warnings
    status.on_event(
        TrainingEnded(job_id="1", file="a.jsonl", outcome="completed", rows=8, steps=4, loss=0.5), AT
    )

    assert before == ["it crashed", "a.jsonl: 2 rows rejected (training_queue show a.jsonl)"]
    assert warnings == before[1:]
    assert shown(board).alerts == ["it crashed"]
    assert (board.status.last_error.error_class, board.status.last_error.file) == ("WorkerCrash", "a.jsonl")


@pytest.mark.parametrize(
    "event",
    [
        TrainingStarted(job_id="2", file="b.jsonl", first_step=0, total_steps=2),
        ModelWentBack(branch=1, from_step=2, left_step=5, why="rollback", reason="worse", files=("a.jsonl",)),
    ],
    ids=lambda event: event.kind,
)
def test_the_alert_that_the_loss_jumped_goes_with_the_file_and_with_its_steps(board, event):
    journal = Journal([StatusChanges(board)])
    journal.record(WorkerNotice(key=LOSS_SPIKE, text="the loss jumped", job_id="1"))
    assert shown(board).alerts == ["the loss jumped"]

    journal.record(event)

    assert shown(board).alerts == []


@pytest.mark.parametrize(
    "outcome, words", [("completed", "trained a.jsonl: 8 rows in"), ("skipped", "skipped a.jsonl: 8 rows in")]
)
def test_a_file_is_called_completed_only_once_a_checkpoint_contains_it(outcome, words):
    trained = TrainingEnded(job_id="1", file="a.jsonl", outcome=outcome, rows=8, steps=4, loss=0.5)
    finished = JobFinished(job_id="1", file="a.jsonl", outcome=outcome, rows=8, steps=4, reason=None)

    assert trained.message.startswith(words)
    assert finished.message == f"{outcome} a.jsonl"


def test_an_answer_is_shown_with_the_id_of_its_request(board):
    StatusChanges(board).on_event(CommandAnswered(name="pause", request_id="7", result="paused"), AT)

    assert (shown(board).last_command.id, board.status.last_command.result) == ("7", "paused")


def test_what_blocks_is_the_last_error(board):
    StatusChanges(board).on_event(TrainingBlocked(reason="no space left"), AT)

    assert shown(board).last_error.message == "no space left"


def test_a_job_that_failed_says_why_in_the_status_and_what_it_did_in_the_history(board):
    failed = TrainingFailed(
        job_id="1", file="a.jsonl", outcome="failed", rows=2, steps=1, loss=0.25, reason="line 3 is cut off"
    )

    StatusChanges(board).on_event(failed, AT)

    assert failed.message == "failed a.jsonl: 2 rows in 1 step, loss 0.2500"
    assert shown(board).last_error.message == "line 3 is cut off"


# ---- the list of events


def test_the_committed_page_lists_the_events_of_the_code():
    assert (ROOT / PAGE).read_text() == page(), "run: python -m daemon.journal.document"


def test_every_event_says_when_it_happens_and_can_be_shown():
    types = event_types()
    for item in types:
        assert item.__doc__, item
        assert item.kind, item
        assert item.message is not types[0].__mro__[1].message, f"{item} has no message"


def test_nothing_but_the_journal_writes_events_or_shows_errors_and_alerts():
    calls = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in sorted((ROOT / "daemon").rglob("*.py"))
        if path.parent.name != "journal"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(OF_THE_JOURNAL)
    ]

    assert calls == []


def test_no_decision_is_read_back_from_the_status():
    readers = [
        str(path.relative_to(ROOT))
        for path in sorted((ROOT / "daemon").rglob("*.py"))
        if "board.status." in path.read_text() or "._board.status" in path.read_text()
    ]

    assert readers == []
