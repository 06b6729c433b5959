"""The ledger remembers that a forgotten file was there, and nothing of what was in it."""

import json

import pytest

from daemon.files.identity import Identity
from daemon.ledger.event_stream import read_job_events
from daemon.ledger.forgetting import reading_to_forget
from daemon.ledger.ledger import Ledger
from tests.daemon.ledger.entries import step
from tests.support import FakeClock
from trainer.protocol.job import Job, Priority
from trainer.protocol.manifest import Branch
from trainer.protocol.messages import PreviewMade, Score, SuiteAnswer, SuiteScored


@pytest.fixture
def ledger(tmp_path):
    ledger = Ledger(tmp_path / "ledger.sqlite3", clock=FakeClock())
    for number, name in enumerate(("good.jsonl", "bad.jsonl", "bad.jsonl"), start=1):
        job = Job(
            id=f"job-{number}",
            name=name,
            priority=Priority.LOW,
            sha256=str(number) * 64,
            rows=9,
            size_bytes=1,
            metadata={"skill": {"secret": 9}},
        )
        ledger.add_job(job, Identity(device=1, inode=number, size=1, mtime_ns=1), "completed")
    ledger.add_steps([step(number, job_id=f"job-{number}", file_step=1) for number in (1, 2, 3)])
    for number in (1, 3):
        preview = PreviewMade(global_step=number, prompt="Who?", text="he", ended_by="end", seconds=0.5)
        ledger.evaluations.add_preview(preview)
        answer = SuiteAnswer(prompt="Who?", expected="she", text="he", is_right=False)
        score = Score(rows=1, loss=1.0, exact_match=0.0)
        scored = SuiteScored(global_step=number, suite="people", overall=score, answers=(answer,))
        ledger.evaluations.add_scores(scored)
    ledger.commit()
    yield ledger
    ledger.close()


def test_its_row_stays_without_what_was_in_it_and_previews_of_left_models_go(ledger, tmp_path):
    branch = Branch(
        number=1, from_branch=0, from_step=1, left_step=3, at="now", why="forget", reason="bad", jobs=()
    )

    ledger.branches.begin(branch, [branch])
    ledger.forget_job("job-2", "bad")
    ledger.commit()

    with reading_to_forget(tmp_path / "ledger.sqlite3") as reader:
        job = reader.job("job-2")
        database = reader._database
        [row] = database.execute("SELECT reason FROM jobs WHERE id = 'job-2'").fetchall()
        assert (job.state, job.job.metadata, json.loads(row["reason"])["message"]) == (
            "removed",
            {},
            "forgotten, and erased: bad",
        )
        assert database.execute("SELECT count(*) FROM left_previews").fetchone()[0] == 0
        assert database.execute("SELECT count(*) FROM left_suite_answers").fetchone()[0] == 0
        for table in ("previews", "suite_answers"):
            rows = database.execute(f"SELECT global_step FROM {table}")
            assert [row["global_step"] for row in rows] == [1]
        assert reader.left_first_steps(["job-2"]) == [(0, 2)]


def test_events_that_may_quote_a_row_of_it_stay_without_what_they_said(ledger, tmp_path):
    quoted = 'bad.jsonl: 9 of 9 rows have the short answer "secret"'
    for job_id in ("job-1", "job-2"):
        ledger.add_event("accepted", "accepted, all rows", job_id, {"first_rejection": None})
        ledger.add_event("accepted", "the first: secret", job_id, {"first_rejection": "secret"})
        ledger.add_event("data_report", quoted, job_id, {"summary": quoted})
        ledger.add_event("finished", "failed: secret", job_id, {"outcome": "failed", "reason": "secret"})
        ledger.add_event("finished", "completed", job_id, {"outcome": "completed", "reason": None})

    ledger.forget_job("job-2", "bad")
    ledger.commit()

    path = tmp_path / "ledger.sqlite3"
    kept, left = (read_job_events(path, job_id, limit=10) for job_id in ("job-1", "job-2"))
    assert [event.message for event in kept].count(quoted) == 1
    assert [event.kind for event in left] == [event.kind for event in kept]
    said = "bad.jsonl: what was said of its rows went when it was forgotten"
    assert [event.message for event in left] == ["accepted, all rows", said, said, said, "completed"]
    assert "secret" not in "".join(str(event.data) for event in left)


@pytest.mark.parametrize(
    "name, found",
    [("bad.jsonl", ["2", "3"]), ("good.jsonl", ["1"]), ("job-3", ["3"]), ("2" * 8, ["2"]), ("2" * 7, [])],
)
def test_a_content_is_found_by_name_job_and_hash(ledger, tmp_path, name, found):
    with reading_to_forget(tmp_path / "ledger.sqlite3") as reader:
        assert [content.sha256[0] for content in reader.contents(name)] == found
