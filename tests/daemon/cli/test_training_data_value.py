"""training_data value: what the ledger says a file has brought."""

import json

import pytest

from daemon.cli.training_data import app
from daemon.files.identity import identity_of
from daemon.jobs.reasons import write_reason
from daemon.ledger.ledger import Ledger
from tests.daemon.cli.runner import runner_of
from tests.support import FakeClock, job_for, rows, write_jsonl
from trainer.protocol.job import FaultKind, JobRecord, Outcome, Reason
from trainer.protocol.layout import Layout
from trainer.protocol.messages import StepReport, Validated

run = runner_of(app)


class History:
    """A ledger that is written as the daemon would."""

    def __init__(self, layout):
        self.layout = layout
        self.ledger = Ledger(layout.ledger_file, clock=FakeClock())
        self.step = 0

    def job(self, name, number):
        path = write_jsonl(self.layout.processing / name, rows(number))
        job = job_for(path, id=f"20260101-000000-00000{number}")
        self.ledger.add_job(job, identity_of(path.stat()), "processing")
        return job

    def steps(self, job, *losses, file_step=0):
        for number, loss in enumerate(losses, start=file_step + 1):
            self.step += 1
            self.ledger.add_steps(
                [
                    StepReport(
                        job_id=job.id, global_step=self.step, file_step=number, loss=loss, rows=2, tokens=100,
                        supervised_tokens=1, learning_rate=1.0, grad_norm=1.0, seconds=1.5,
                    )
                ]
            )  # fmt: skip

    def validate(self, loss, rows=10, weights="last"):
        self.ledger.add_validation(Validated(global_step=self.step, loss=loss, rows=rows, weights=weights))

    def complete(self, job, *, steps):
        outcome = Outcome.COMPLETED
        record = JobRecord(
            job_id=job.id, sha256=job.sha256, outcome=outcome, rows_trained=2 * steps, steps=steps
        )
        self.ledger.finish_job(job, outcome.value, record, None)

    def value(self, name, *options):
        self.ledger.commit()
        return run(self.layout, "value", name, *options)


@pytest.fixture
def history(tmp_path):
    layout = Layout(tmp_path)
    layout.create()
    history = History(layout)
    yield history
    history.ledger.close()


def test_a_trained_file_shows_losses_before_and_after(history):
    first, second = history.job("first.jsonl", 1), history.job("second.jsonl", 2)
    history.steps(first, 9.0)
    history.validate(2.0)
    history.steps(second, 3.0, 2.5, 2.0)
    history.validate(1.5)
    history.complete(second, steps=3)

    assert history.value("second.jsonl").stdout.splitlines() == [
        f"second.jsonl (job {second.id}): completed",
        "6 rows trained in 3 steps, 300 tokens, 4 s",
        "training loss: 3.0000 in its first step, 2.0000 in its last",
        "validation loss: 2.0000 (step 1) before, 1.5000 (step 4) after: 0.5000 lower",
    ]


def test_a_program_gets_everything(history):
    job = history.job("chat.jsonl", 1)
    history.steps(job, 3.0, 2.0)
    history.validate(1.5)

    found = json.loads(history.value("chat.jsonl", "--json").stdout)

    assert (found["job"], found["steps"], found["tokens"], found["seconds"]) == (job.id, 2, 200, 3.0)
    assert (found["first_step"], found["last_step"], found["first_loss"], found["last_loss"]) == (
        1,
        2,
        3.0,
        2.0,
    )
    assert found["before"] is None
    after = {"global_step": 2, "loss": 1.5, "rows": 10, "weights": "last", "other_loss": None}
    assert found["after"] == after
    assert found["validation_change"] is None


def test_it_says_clearly_that_there_was_no_validation(history):
    history.steps(history.job("chat.jsonl", 1), 3.0)

    shown = history.value("chat.jsonl").stdout

    assert "validation loss: not measured before or after it; with validation.file in config.json" in shown


def test_a_validation_after_the_next_file_is_not_ascribed_to_this_one(history):
    first, second = history.job("first.jsonl", 1), history.job("second.jsonl", 2)
    history.validate(2.0)
    history.steps(first, 3.0)
    history.steps(second, 3.0)
    history.validate(1.0)

    meanwhile = history.value("first.jsonl").stdout
    history.complete(first, steps=1)
    afterwards = history.value("first.jsonl").stdout

    assert "2.0000 (step 0) before, not yet measured after" in meanwhile
    assert "2.0000 (step 0) before, not measured after" in afterwards


def test_validations_of_different_rows_are_not_compared(history):
    history.validate(2.0, rows=10)
    history.steps(history.job("chat.jsonl", 1), 3.0)
    history.validate(1.0, rows=20)

    assert "not comparable, measured on different rows" in history.value("chat.jsonl").stdout


def test_validations_of_different_weights_are_not_compared(history):
    history.validate(2.0, weights="average")
    history.steps(history.job("chat.jsonl", 1), 3.0)
    history.validate(1.0)

    both = "2.0000 averaged (step 0) before, 1.0000 last (step 1) after"
    assert f"{both}: not comparable, of different weights" in history.value("chat.jsonl").stdout


def test_validations_of_the_average_are_compared_and_say_so(history):
    history.validate(2.0, weights="average")
    history.steps(history.job("chat.jsonl", 1), 3.0)
    history.validate(1.5, weights="average")

    both = "2.0000 averaged (step 0) before, 1.5000 averaged (step 1) after"
    assert f"{both}: 0.5000 lower" in history.value("chat.jsonl").stdout


@pytest.mark.parametrize("after, verdict", [(2.5, "0.5000 HIGHER"), (2.0, "no change"), (None, "not finite")])
def test_a_loss_that_did_not_fall_is_no_secret(history, after, verdict):
    history.validate(2.0)
    history.steps(history.job("chat.jsonl", 1), 3.0)
    history.validate(after)

    assert verdict in history.value("chat.jsonl").stdout


def test_a_file_that_another_interrupted_says_so(history):
    slow, urgent = history.job("slow.jsonl", 1), history.job("urgent.jsonl", 2)
    history.steps(slow, 3.0)
    history.steps(urgent, 2.0, 2.0)
    history.steps(slow, 1.0, file_step=1)

    assert "other jobs took 2 steps in between" in history.value("slow.jsonl").stdout


def test_a_file_that_interrupted_another_says_so_as_that_one_had_no_validation_where_it_paused(history):
    slow, urgent = history.job("slow.jsonl", 1), history.job("urgent.jsonl", 2)
    history.validate(4.0)
    history.steps(slow, 3.0, 3.0, 3.0)
    history.steps(urgent, 2.0, 2.0)
    history.validate(1.0)

    shown = history.value("urgent.jsonl").stdout

    assert "4.0000 (step 0) before, 1.0000 (step 5) after" in shown
    assert "other jobs took 3 steps in between" in shown


def test_of_an_old_file_whose_first_steps_are_thinned_out_the_beginning_is_still_known(history):
    history.validate(2.0)
    job = history.job("chat.jsonl", 1)
    history.step = 99
    history.steps(job, 3.0, file_step=99)
    history.complete(job, steps=100)

    found = json.loads(history.value("chat.jsonl", "--json").stdout)

    assert (found["first_step"], found["steps"]) == (1, 100)
    assert found["before"]["global_step"] == 0


def test_a_file_that_has_taken_no_step_has_brought_nothing(history):
    history.job("chat.jsonl", 1)

    assert "it has taken no step" in history.value("chat.jsonl").stdout


def test_the_newest_of_several_with_one_name_is_shown_and_others_by_their_job(history):
    first, second = history.job("chat.jsonl", 1), history.job("chat.jsonl", 2)

    by_name, by_job = history.value("chat.jsonl").stdout, history.value(first.id).stdout

    assert second.id in by_name
    assert first.id in by_job


def test_a_name_that_nobody_knows_is_an_error_and_the_ledger_is_not_blamed(history):
    result = history.value("no\x1b.jsonl")

    assert str(result.exception) == (
        "the ledger knows no file named no\\x1b.jsonl; expected a name such as training_queue list or "
        "history shows"
    )


def test_a_file_that_was_forgotten_is_said_to_be_gone(history):
    job = history.job("holm.jsonl", 1)
    history.ledger.place_job(job, "removed")
    history.ledger.commit()

    assert str(history.value("holm.jsonl").exception) == (
        "holm.jsonl is gone, and no step of it is in the model; training_queue show holm.jsonl says why"
    )


def test_a_damaged_ledger_is_named(tmp_path):
    layout = Layout(tmp_path)
    layout.create()
    layout.ledger_file.write_bytes(b"no database" * 500)

    result = run(layout, "value", "chat.jsonl")

    assert "ledger.sqlite3: file is not a database; expected a ledger" in str(result.exception)


def test_a_file_that_was_never_taken_in_has_brought_nothing(history):
    path = write_jsonl(history.layout.failed / "chat.jsonl", rows(1))
    write_reason(
        path, Reason(kind=FaultKind.BAD_DATA, message="no rows", file="chat.jsonl", at="2026-01-01T00:00:00Z")
    )

    result = history.value("chat.jsonl")

    assert str(result.exception) == ("queue/failed/chat.jsonl was never trained: no rows")


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.SKIPPED])
def test_a_file_of_which_no_step_is_in_the_model_says_so_and_where_the_reason_is(history, outcome):
    job = history.job("chat.jsonl", 1)
    history.ledger.finish_job(job, outcome.value, None, None)

    assert history.value("chat.jsonl").stdout == (
        f"chat.jsonl (job {job.id}): {outcome.value}\n"
        f"no step of it is in the model\ntraining_queue show {job.id} says why\n"
    )


@pytest.mark.parametrize("has_noticed", [True, False])
def test_a_file_that_was_removed_after_some_steps_has_brought_them(history, has_noticed):
    job = history.job("chat.jsonl", 1)
    history.steps(job, 3.0)
    (history.layout.processing / job.name).rename(history.layout.finished(Outcome.SKIPPED) / job.name)
    if has_noticed:
        history.ledger.place_job(job, "removed")

    shown = history.value("chat.jsonl").stdout.splitlines()

    assert shown[0] == f"chat.jsonl (job {job.id}): skipped"
    assert "in 1 step" in shown[1]


def test_a_name_with_its_folder_means_the_file_that_lies_there(history):
    trained = history.job("chat.jsonl", 1)
    history.steps(trained, 3.0)
    history.complete(trained, steps=1)
    (history.layout.processing / "chat.jsonl").rename(
        history.layout.finished(Outcome.COMPLETED) / "chat.jsonl"
    )
    refused = write_jsonl(history.layout.failed / "chat.jsonl", rows(2))
    at = "2026-01-01T00:00:00Z"
    write_reason(refused, Reason(kind=FaultKind.BAD_DATA, message="no rows", file="chat.jsonl", at=at))

    result = history.value("failed/chat.jsonl")

    assert str(result.exception) == "queue/failed/chat.jsonl was never trained: no rows"
    assert trained.id in history.value("recently_completed/chat.jsonl").stdout
