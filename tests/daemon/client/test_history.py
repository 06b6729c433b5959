"""What the ledger knows, read page by page beside a running daemon, and from ledgers of earlier releases."""

import sqlite3
from contextlib import closing
from itertools import pairwise

import pytest

from daemon.client.errors import NoSuchFile, UnreadableHistory
from daemon.files.identity import identity_of
from tests.support import job_for, rows, write_jsonl
from trainer.protocol.job import FaultKind, JobRecord, Outcome, Reason
from trainer.protocol.messages import StepReport, SuiteScored, Validated


def add_event(ledger, kind, message, *, data=None):
    ledger._database.write(
        "INSERT INTO events (at, kind, job_id, message, data) VALUES ('now', ?, NULL, ?, ?)",
        (kind, message, data or "{}"),
    )
    ledger.commit()


def add_job(ledger, layout, number, *, state="waiting"):
    path = write_jsonl(layout.queue / "normal" / f"{number}.jsonl", rows(2, start=10 * number))
    job = job_for(path, id=f"20260101-000000-{number:06}")
    ledger.add_job(job, identity_of(path.stat()), state)
    ledger.commit()
    return job


def add_steps(ledger, losses, *, job_id="1", first=1, file_step=1):
    ledger.add_steps(
        [
            StepReport(
                global_step=first + number, job_id=job_id, file_step=file_step + number, rows=1, tokens=10,
                supervised_tokens=5, loss=loss, learning_rate=0.1, grad_norm=1.0, seconds=0.5,
            )
            for number, loss in enumerate(losses)
        ]
    )  # fmt: skip
    ledger.commit()


# ---- nothing there, or nothing readable


def test_where_no_daemon_has_run_everything_is_empty(client):
    history = client.history

    assert [*history.events(), *history.jobs(), *history.steps(), *history.steps_for_picture()] == []
    assert [*history.validations(), *history.suite_scores(), *history.previews(), *history.crashes()] == []
    assert history.newest_event_id() == 0
    assert history.job("20260101-000000-000001") is None


@pytest.mark.parametrize(
    "name", ["events", "jobs", "steps", "steps_for_picture", "validations", "suite_scores", "previews"]
)
def test_a_damaged_ledger_is_named(client, layout, name):
    layout.ledger_file.write_bytes(b"no database" * 500)

    with pytest.raises(UnreadableHistory, match=r"ledger\.sqlite3: file is not a database"):
        getattr(client.history, name)()


# ---- events


def test_events_are_read_from_where_a_reader_left_off(client, ledger):
    for number in range(5):
        add_event(ledger, "accepted", f"file {number}", data=f'{{"rows": {number}}}')

    first = client.events(limit=2)
    rest = client.events(after=first[-1].id)

    assert [event.message for event in first] == ["file 0", "file 1"]
    assert [event.data for event in rest] == [{"rows": 2}, {"rows": 3}, {"rows": 4}]
    assert client.events(after=rest[-1].id) == []
    assert client.history.newest_event_id() == rest[-1].id


def test_events_of_a_ledger_without_facts_are_read_all_the_same(client, ledger, layout):
    add_event(ledger, "moved", "a file")
    ledger.commit()
    with closing(sqlite3.connect(layout.ledger_file)) as database:
        database.execute("ALTER TABLE events DROP COLUMN data")

    [event] = client.events()

    assert (event.kind, event.message, event.data) == ("moved", "a file", None)


# ---- jobs


def test_jobs_come_page_by_page_newest_first(client, ledger, layout):
    for number in range(1, 6):
        add_job(ledger, layout, number)

    pages = [client.history.jobs(limit=2)]
    while page := client.history.jobs(before=pages[-1][-1].id, limit=2):
        pages.append(page)

    assert [[job.name for job in page] for page in pages] == [
        ["5.jsonl", "4.jsonl"],
        ["3.jsonl", "2.jsonl"],
        ["1.jsonl"],
    ]


def test_jobs_of_one_state_are_found(client, ledger, layout):
    job = add_job(ledger, layout, 1)
    add_job(ledger, layout, 2)
    reason = Reason(kind=FaultKind.BAD_DATA, message="too\x1b long", file="1.jsonl", at="now")
    record = JobRecord(job_id=job.id, sha256="", outcome=Outcome.FAILED, rows_trained=1, steps=1)
    ledger.finish_job(job, "failed", record, reason)
    ledger.commit()

    [found] = client.history.jobs(state="failed")

    assert (found.id, found.reason, found.rows, found.steps) == (job.id, "too\\x1b long", 2, 1)


def test_a_job_that_still_runs_has_the_sums_of_its_steps_so_far(client, ledger, layout):
    job = add_job(ledger, layout, 1, state="processing")
    add_steps(ledger, [3.0, 2.0], job_id=job.id)

    found = client.history.job(job.id)

    assert (found.state, found.steps, found.rows_trained, found.tokens) == ("processing", 2, 2, 20)
    assert (found.first_loss, found.last_loss, found.finished_at) == (3.0, 2.0, None)


def test_jobs_of_a_ledger_without_formats_are_read_all_the_same(client, ledger, layout):
    add_job(ledger, layout, 1)
    ledger.commit()
    with closing(sqlite3.connect(layout.ledger_file)) as database:
        database.execute("ALTER TABLE jobs DROP COLUMN format")

    [job] = client.history.jobs()

    assert job.format is None


def test_what_a_file_has_brought_is_asked_by_its_name(client, ledger, layout):
    job = add_job(ledger, layout, 1)
    add_steps(ledger, [3.0], job_id=job.id)

    assert client.history.value_of("1.jsonl").first_loss == 3.0
    with pytest.raises(NoSuchFile, match=r"knows no file named 2\.jsonl"):
        client.history.value_of("2.jsonl")


# ---- steps


def test_steps_come_page_by_page_and_of_one_job(client, ledger):
    add_steps(ledger, [3.0, 2.0], job_id="1")
    add_steps(ledger, [1.0], job_id="2", first=3)

    assert [step.loss for step in client.history.steps(limit=2)] == [3.0, 2.0]
    assert [step.loss for step in client.history.steps(after=2)] == [1.0]
    assert [step.global_step for step in client.history.steps(job_id="2")] == [3]


def test_steps_of_a_ledger_without_replay_are_read_all_the_same(client, ledger, layout):
    add_steps(ledger, [3.0])
    ledger.commit()
    with closing(sqlite3.connect(layout.ledger_file)) as database:
        database.execute("ALTER TABLE steps DROP COLUMN replayed")

    [step] = client.history.steps()

    assert step.replayed == 0


@pytest.mark.parametrize("max_points", [1, 3, 7, 10, 100])
def test_a_picture_has_every_step_in_exactly_one_point_and_no_more_points_than_wanted(
    client, ledger, max_points
):
    add_steps(ledger, [float(number) for number in range(10)], first=5)

    points = client.history.steps_for_picture(max_points)

    assert len(points) <= max_points
    assert sum(point.steps for point in points) == 10
    assert (points[0].first_step, points[-1].last_step) == (5, 14)
    assert (points[0].min_loss, points[-1].max_loss) == (0.0, 9.0)
    for one, following in pairwise(points):
        assert one.last_step < following.first_step
    assert all(point.min_loss <= point.mean_loss <= point.max_loss for point in points)


def test_a_picture_of_a_job_that_was_interrupted_has_its_steps_only(client, ledger):
    add_steps(ledger, [3.0, 2.0], job_id="1", first=1)
    add_steps(ledger, [9.0], job_id="2", first=3)
    add_steps(ledger, [1.0], job_id="1", first=4, file_step=3)

    points = client.history.steps_for_picture(2, job_id="1")

    assert [(point.first_step, point.last_step, point.steps) for point in points] == [(1, 2, 2), (4, 4, 1)]


def test_where_no_loss_is_a_finite_number_a_point_says_so(client, ledger):
    add_steps(ledger, [None, None])

    [point] = client.history.steps_for_picture(1)

    assert (point.steps, point.min_loss, point.mean_loss) == (2, None, None)


# ---- evaluations


def test_validations_and_scores_come_in_order_from_a_step_on(client, ledger):
    for step in (10, 20):
        ledger.add_validation(Validated(global_step=step, loss=step / 10, rows=4))
        score = {"rows": 2, "loss": 1.5, "exact_match": 0.5}
        scored = SuiteScored(global_step=step, suite="sums", overall=score, by_difficulty={"2": score})
        ledger.evaluations.add_scores(scored)
    ledger.commit()

    validations, scores = client.history.validations(after=10), client.history.suite_scores(after=10)

    assert [(found.global_step, found.loss, found.rows) for found in validations] == [(20, 2.0, 4)]
    assert [(found.suite, found.difficulty, found.exact_match) for found in scores] == [
        ("sums", None, 0.5),
        ("sums", "2", 0.5),
    ]


def test_a_ledger_from_before_suites_has_no_scores(client, ledger, layout):
    ledger.commit()
    with closing(sqlite3.connect(layout.ledger_file)) as database:
        database.execute("DROP TABLE suite_scores")
        database.execute("DROP TABLE previews")

    assert client.history.suite_scores() == []
    assert client.history.previews() == []


def test_of_files_that_end_at_the_same_moment_the_one_that_began_last_is_the_last(client, layout, ledger):
    late, early = add_job(ledger, layout, 1), add_job(ledger, layout, 2)
    for job in (early, late):
        ledger.note_start(job)
    for job in (early, late):
        ledger.finish_job(job, Outcome.COMPLETED.value, None, None)
    ledger.commit()

    assert [file.name for file in client.history.completed(limit=1)] == ["1.jsonl"]
    assert [file.name for file in client.history.completed(limit=5)] == ["1.jsonl", "2.jsonl"]


def test_a_file_that_is_completed_again_is_that_of_the_completed_job(client, layout, ledger):
    """It was trained, put back and trained again; then the model went back to the first of these."""
    path = write_jsonl(layout.finished(Outcome.COMPLETED) / "a.jsonl", rows(2))
    first, again = (job_for(path, id=f"20260101-000000-{number:06}") for number in (1, 2))
    ledger.add_job(first, identity_of(path.stat()), "completed")
    ledger.add_job(again, identity_of(path.stat()), "skipped")
    ledger.commit()

    found = client.history.file("a.jsonl")

    assert (found.state, found.job.id, found.other_jobs) == ("completed", first.id, (again.id,))
