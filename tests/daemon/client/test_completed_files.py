"""What completed files have brought, and the first checkpoint that contains each."""

import pytest

from tests.daemon.client.test_history import add_event, add_job, add_steps
from tests.support import FakeClock
from trainer.protocol.job import JobRecord, Outcome
from trainer.protocol.messages import Validated


def complete(ledger, layout, number, *, first_step=1, losses=(3.0, 2.0), at=1_000_000_000.0):
    """Have a file be trained to its end: steps from `first_step` on, saved with the last of them."""
    job = add_job(ledger, layout, number)
    ledger._clock = FakeClock(at)
    add_steps(ledger, losses, job_id=job.id, first=first_step)
    ledger.add_event("trained", "it is trained", job.id)
    record = JobRecord(job_id=job.id, sha256="", outcome=Outcome.COMPLETED, rows_trained=2, steps=len(losses))
    ledger.finish_job(job, "completed", record, None)
    ledger.commit()
    return job


def announce(ledger, step):
    add_event(ledger, "checkpoint", "saved", data=f'{{"path": "models/checkpoints/step-{step:09}"}}')


def keep(layout, step):
    (layout.models / "checkpoints" / f"step-{step:09}").mkdir(parents=True)


def test_the_file_that_ended_last_comes_first_whenever_it_arrived(client, ledger, layout):
    complete(ledger, layout, 1, first_step=3, at=300.0)
    complete(ledger, layout, 2, first_step=1, at=100.0)
    complete(ledger, layout, 3, first_step=5, at=200.0)
    add_job(ledger, layout, 4)

    assert [file.name for file in client.history.completed()] == ["1.jsonl", "3.jsonl", "2.jsonl"]
    assert [file.name for file in client.history.completed(limit=1)] == ["1.jsonl"]
    assert client.history.count_completed() == 3


def test_a_completed_file_has_its_figures(client, ledger, layout):
    ledger.add_validation(Validated(global_step=0, loss=2.5, rows=4))
    complete(ledger, layout, 1)
    ledger.add_validation(Validated(global_step=2, loss=2.0, rows=4))
    ledger.commit()

    [file] = client.history.completed()

    assert (file.steps, file.tokens, file.seconds, file.tokens_per_s) == (2, 20, 1.0, 20.0)
    assert (file.first_loss, file.last_loss, file.validation_change) == (3.0, 2.0, -0.5)
    assert file.finished_at == "2001-09-09T01:46:40.000Z"


def test_the_first_checkpoint_after_the_last_step_is_named_also_once_it_is_removed(client, ledger, layout):
    complete(ledger, layout, 1)
    announce(ledger, 2)
    announce(ledger, 4)
    keep(layout, 4)

    [file] = client.history.completed()

    assert (file.checkpoint, file.is_checkpoint_kept) == ("step-000000002", False)


def test_several_files_may_be_in_one_checkpoint_for_the_first_time(client, ledger, layout):
    complete(ledger, layout, 1)
    complete(ledger, layout, 2, first_step=3)
    announce(ledger, 4)
    keep(layout, 4)

    assert {file.checkpoint for file in client.history.completed()} == {"step-000000004"}
    assert all(file.is_checkpoint_kept for file in client.history.completed())


def test_a_crash_before_the_event_of_a_checkpoint_does_not_hide_it(client, ledger, layout):
    complete(ledger, layout, 1)
    keep(layout, 2)
    announce(ledger, 9)  # by the next worker

    assert client.history.completed()[0].checkpoint == "step-000000002"


def test_a_checkpoint_of_before_the_file_was_trained_again_does_not_contain_it(client, ledger, layout):
    job = complete(ledger, layout, 1, first_step=4)
    announce(ledger, 9)  # damaged later, so an older one was used and the file trained again
    ledger.add_event("trained", "it is trained", job.id)
    announce(ledger, 5)

    assert client.history.completed()[0].checkpoint == "step-000000005"


def test_a_file_without_a_step_is_in_no_checkpoint(client, ledger, layout):
    complete(ledger, layout, 1, losses=())
    announce(ledger, 4)
    keep(layout, 4)

    [file] = client.history.completed()

    assert (file.checkpoint, file.tokens_per_s, file.is_checkpoint_kept) == (None, None, False)


@pytest.mark.parametrize("name", ["step-x", "step-", "step-\x1b1"])
def test_a_folder_of_another_name_is_no_checkpoint(client, ledger, layout, name):
    complete(ledger, layout, 1)
    (layout.models / "checkpoints" / name).mkdir(parents=True)

    assert client.history.completed()[0].checkpoint is None


def test_a_page_of_past_files_says_the_same_of_each_as_the_list_of_completed_ones(client, ledger, layout):
    for number in (1, 2, 3):
        complete(ledger, layout, number, first_step=2 * number - 1, at=100.0 * number)
        announce(ledger, 2 * number)
    keep(layout, 6)
    ledger.commit()

    files, after = [], ""
    while after is not None:
        page = client.history.past(limit=1, after=after)
        files += page.files
        after = page.next

    assert [vars(file) for file in files] == [
        vars(file) | {"reason": None} for file in client.history.completed()
    ]
    assert [file.checkpoint for file in files] == ["step-000000006", "step-000000004", "step-000000002"]


def test_what_happened_before_the_first_file_of_a_page_is_not_read(client, ledger, layout):
    job = complete(ledger, layout, 1)
    announce(ledger, 2)
    ledger._database.write("UPDATE jobs SET started_at = '2001-01-01' WHERE id = ?", (job.id,))
    ledger.commit()
    [file] = client.history.past().files
    assert file.checkpoint == "step-000000002"

    ledger._database.write("UPDATE jobs SET started_at = '2100-01-01' WHERE id = ?", (job.id,))
    ledger.commit()
    [file] = client.history.past().files
    assert file.checkpoint is None


@pytest.mark.parametrize("after", ["x", "//", "2001/x/y", "/" * 9])
def test_a_page_that_nobody_offered_is_empty_or_the_first(client, ledger, layout, after):
    complete(ledger, layout, 1)

    assert len(client.history.past(after=after).files) <= 1
