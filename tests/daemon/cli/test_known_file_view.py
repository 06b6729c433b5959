"""What is known of one file fits the terminal, and says nothing of what is not known."""

from dataclasses import replace

import pytest

from daemon.cli import options
from daemon.cli.known_file_view import EVENTS_SHOWN, known_file_lines
from daemon.client.results import (
    GateNote,
    KnownFile,
    KnownJob,
    RecordedAttempt,
    RecordedEvent,
    ReportSummary,
    Validation,
)

AT = "2026-07-21T12:00:00.123Z"


def event(number, message="it happened"):
    return RecordedEvent(id=number, at=AT, kind="started", job_id="1", message=f"{number} {message}")


JOB = KnownJob(
    id="20260101-000000-000001", name="chat.jsonl", state="completed", priority="high", sha256="9f86d081",
    rows=3_000,
    rejected_lines=(3, 5), rows_trained=3_000, steps=188, tokens=71_890, seconds=7.0, first_loss=4.4169,
    last_loss=None, accepted_at=AT, started_at=AT, finished_at=AT, attempts=1, format="messages", reason=None,
    tokens_per_s=10_270.0, total_steps=188, unrecorded_steps=0,
    every_attempt=(
        RecordedAttempt(number=1, started_at=AT, ended_at=AT, verdict="crash", message="it crashed"),
        RecordedAttempt(number=2, started_at=AT, ended_at=None, verdict=None, message=None),
    ),
    before=Validation(global_step=0, loss=2.31, rows=4), after=Validation(global_step=188, loss=2.29, rows=4),
    validation_change=-0.02, other_steps=3, checkpoint="step-000000188", is_checkpoint_kept=False,
    verdicts=(
        GateNote(at=AT, outcome="passed", files=1, from_step=0, global_step=188, reason="it fell"),
        GateNote(at=AT, outcome="refused", files=3, from_step=0, global_step=1_188, reason="it rose"),
    ),
    events=(event(1), event(2, "word " * 30)),
)  # fmt: skip
FILE = KnownFile(
    name="chat.jsonl", state="completed", place="queue/recently_completed/chat.jsonl", priority="high",
    reason=None, ended_at=AT, rejected_list="queue/failed/chat.jsonl.rejected.jsonl", job=JOB,
    is_admitted=False,
    report=ReportSummary(
        sampled_rows=9, blocks=(), warnings=("it is odd",), is_admitted=True, outliers=(3, 1_000)
    ),
    other_jobs=("20250101-000000-000001",),
)  # fmt: skip


def test_each_fact_has_a_line():
    lines = list(known_file_lines(FILE))

    assert lines[:4] == [
        "chat.jsonl: completed",
        "  place         queue/recently_completed/chat.jsonl",
        "  priority      high",
        "  job           20260101-000000-000001",
    ]
    facts = [
        "  rows          3,000 (messages)",
        "  rejected      2 rows: queue/failed/chat.jsonl.rejected.jsonl",
        "  attempts      2, 1 counted against the file",
        "                1. 2026-07-21 12:00:00 UTC, crash 2026-07-21 12:00:00 UTC: it crashed",
        "                2. 2026-07-21 12:00:00 UTC, not ended",
        "  trained       3,000 rows in 188 of 188 steps",
        "  time          7 s, 10,270 tokens/s",
        "  loss          4.4169 in its first step, none (not finite, or no supervised token) in its last",
        "  checkpoint    step-000000188, which has been removed",
        "  data report   admitted; 9 rows inspected; it is odd",
        "  outliers      lines 3, 1000",
        "  gate          passed at step 188: it fell",
        "  gate          refused with 2 other files at step 1,188: it rose",
        "  same name     1 other job: 20250101-000000-000001",
        "  2026-07-21 12:00:00 UTC  1 it happened",
    ]
    assert [fact for fact in facts if fact not in lines] == []
    validation = "2.3100 (step 0) before, 2.2900 (step 188) after: 0.0200 lower"
    assert f"  validation    {validation}; other jobs took 3 steps in between" in lines


def test_steps_that_no_daemon_has_recorded_yet_are_told_from_those_that_were_measured():
    job = replace(JOB, state="processing", steps=31, unrecorded_steps=2)

    lines = list(known_file_lines(replace(FILE, job=job)))

    assert "  trained       3,000 rows in 31 of 188 steps; time and loss are of 29 of them" in lines


def test_losses_of_different_weights_are_named_and_not_compared():
    after = Validation(global_step=188, loss=2.29, rows=4, weights="average")
    job = replace(JOB, after=after, validation_change=None)

    text = "\n".join(known_file_lines(replace(FILE, job=job)))

    both = "2.3100 last (step 0) before, 2.2900 averaged (step 188) after"
    assert f"  validation    {both}: not comparable, of different weights" in text


def test_a_file_whose_end_was_lost_is_not_said_to_be_completed_twice():
    lost = RecordedAttempt(number=1, started_at=AT, ended_at=AT, verdict="completed", message=None)
    job = replace(JOB, every_attempt=(lost, replace(lost, number=2)))

    lines = "\n".join(known_file_lines(replace(FILE, job=job)))

    assert (
        "UTC, trained to its end 2026-07-21 12:00:00 UTC, then undone, or lost before it was saved" in lines
    )
    assert lines.count(", completed 2026") == 1


@pytest.mark.parametrize(
    "name, others, meant",
    [
        ("chat.jsonl", (), "chat.jsonl"),
        ("-my chat.jsonl", (), "-- '-my chat.jsonl'"),
        ("chat.jsonl", ("20250101-000000-000001",), "20260101-000000-000001"),
    ],
)
def test_that_its_content_is_admitted_is_said_with_the_way_back(monkeypatch, name, others, meant):
    monkeypatch.setattr(options, "_layouts", [])  # of no folder that another test has named

    text = "\n".join(known_file_lines(replace(FILE, name=name, other_jobs=others, is_admitted=True)))

    said = f"  admitted      whatever the check of its rows finds, until: training_queue unadmit {meant}"
    assert said in text


@pytest.mark.parametrize("columns", [80, 120])
def test_it_fits_the_terminal_and_nothing_is_cut_off(columns):
    lines = list(known_file_lines(FILE, columns=columns))

    assert all(len(line) <= columns for line in lines)
    assert " ".join(lines).split() == " ".join(known_file_lines(FILE)).split()


def test_of_a_file_without_a_job_only_what_is_known_is_said():
    bare = replace(FILE, job=None, report=None, other_jobs=(), priority=None, place=None, reason="no rows")

    assert list(known_file_lines(bare)) == [
        "chat.jsonl: completed",
        "  place         its file is gone",
        "  reason        no rows",
        "  rejected      rows are listed in queue/failed/chat.jsonl.rejected.jsonl",
        "  ended         2026-07-21 12:00:00 UTC",
    ]


def test_the_fault_of_an_attempt_is_said_in_words():
    attempt = RecordedAttempt(
        number=1, started_at=AT, ended_at=AT, verdict="bad_config", message="epochs is 0"
    )

    text = "\n".join(known_file_lines(replace(FILE, job=replace(JOB, every_attempt=(attempt,)))))

    assert "UTC, invalid settings 2026-07-21 12:00:00 UTC: epochs is 0" in text


@pytest.mark.parametrize(
    "ended_at, verdict, message, said",
    [
        ("2026-07-21T12:00:05Z", "interrupted", None, "interrupted, last seen 2026-07-21 12:00:05 UTC"),
        ("2026-07-21T12:00:09Z", "interrupted", None, "interrupted before 2026-07-21 12:00:09 UTC"),
        ("2026-07-21T12:00:08Z", "interrupted", "it left", "interrupted 2026-07-21 12:00:08 UTC: it left"),
        (None, None, None, "not ended; no daemon is running"),
    ],
)
def test_of_an_attempt_whose_end_nobody_saw_only_what_is_known_is_said(ended_at, verdict, message, said):
    first = RecordedAttempt(number=1, started_at=AT, ended_at=ended_at, verdict=verdict, message=message)
    second = RecordedAttempt(
        number=2, started_at="2026-07-21T12:00:09Z", ended_at=AT, verdict="completed", message=None
    )
    known = replace(FILE, job=replace(JOB, every_attempt=(first, second)))

    lines = list(known_file_lines(known, is_daemon_gone=True))

    assert any(line.endswith(f"1. 2026-07-21 12:00:00 UTC, {said}") for line in lines)


def test_the_reason_of_the_file_is_not_repeated_with_the_attempt_that_it_ended():
    attempts = tuple(
        RecordedAttempt(number=number, started_at=AT, ended_at=AT, verdict="failed", message=message)
        for number, message in ((1, "it crashed"), (2, "no rows"))
    )
    job = replace(JOB, every_attempt=attempts, reason="no rows")

    text = "\n".join(known_file_lines(replace(FILE, job=job, reason="no rows")))

    assert text.count("no rows") == 1
    assert "it crashed" in text


def test_of_many_events_the_newest_are_shown():
    many = replace(FILE, job=replace(JOB, events=tuple(event(number) for number in range(EVENTS_SHOWN + 5))))

    lines = list(known_file_lines(many))

    assert "  … 5 earlier (--json shows them)" in lines
    assert lines[-1].endswith(f"{EVENTS_SHOWN + 4} it happened")
    assert not any(line.endswith("UTC  4 it happened") for line in lines)


def test_a_file_that_waits_has_trained_nothing():
    waiting = replace(
        JOB, verdicts=(), steps=0, started_at=None, finished_at=None, every_attempt=(), rejected_lines=()
    )

    text = "\n".join(known_file_lines(replace(FILE, job=waiting)))

    assert not any(word in text for word in ("trained", "loss", "validation", "rejected", "attempts"))


@pytest.mark.parametrize(
    "state, told",
    [("processing", "not measured before it"), ("completed", "not measured before or after it")],
)
def test_a_file_may_have_had_a_validation_only_in_between(state, told):
    job = replace(JOB, state=state, before=None, after=None, validation_change=None)

    lines = list(known_file_lines(replace(FILE, state=state, job=job)))

    assert f"  validation    {told}" in lines
