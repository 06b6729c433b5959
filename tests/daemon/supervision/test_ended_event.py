"""What the log says of a file whose training ended."""

import pytest

from daemon.supervision.completion import ended_event
from tests.support import job_for
from trainer.protocol.job import JobRecord, Outcome
from trainer.protocol.messages import JobEnded


@pytest.mark.parametrize(
    "counted_from_step, remark",
    [
        (None, "3 rows untrainable: no supervised token within data.max_length"),
        (1_120, "3 rows untrainable: no supervised token within data.max_length (from step 1,120 on)"),
    ],
)
def test_rows_that_were_counted_after_a_restart_only_are_told_as_such(tmp_path, counted_from_step, remark):
    path = tmp_path / "a.jsonl"
    path.write_text("{}\n")
    job = job_for(path)
    record = JobRecord(
        job_id=job.id, name=job.name, sha256=job.sha256, outcome=Outcome.COMPLETED, rows_trained=9, steps=3
    )
    ended = JobEnded(record=record, durable=False, rows_without_target=3, counted_from_step=counted_from_step)

    assert ended_event(job, ended, loss=1.0).remarks == (remark,)
