"""The ledger remembers that a forgotten file was there, and nothing of what was in it."""

import json

import pytest

from daemon.files.identity import Identity
from daemon.ledger.forgetting import reading_to_forget
from daemon.ledger.ledger import Ledger
from tests.daemon.ledger.entries import step
from tests.support import FakeClock
from trainer.protocol.job import Job, Priority
from trainer.protocol.manifest import Branch
from trainer.protocol.messages import PreviewMade


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
        assert [row["global_step"] for row in database.execute("SELECT global_step FROM previews")] == [1]
        assert reader.left_first_steps(["job-2"]) == [(0, 2)]


@pytest.mark.parametrize(
    "name, found",
    [("bad.jsonl", ["2", "3"]), ("good.jsonl", ["1"]), ("job-3", ["3"]), ("2" * 8, ["2"]), ("2" * 7, [])],
)
def test_a_content_is_found_by_name_job_and_hash(ledger, tmp_path, name, found):
    with reading_to_forget(tmp_path / "ledger.sqlite3") as reader:
        assert [content.sha256[0] for content in reader.contents(name)] == found
