"""A session that was stopped goes on exactly where it was."""

import pytest

from tests.trainer.session_rig import LEAVE, FakeEngine, Run, settings_with, start
from trainer.protocol.job import Cursor, Outcome
from trainer.protocol.manifest import Progress
from trainer.protocol.messages import (
    CheckpointPublished,
    ForgetJobs,
    JobEnded,
    JobStarted,
    Pause,
)

# ---- shut down and go on


def test_shut_down_in_the_middle_of_a_file_saves_its_cursor_and_ends_no_job(job_file):
    job, path = job_file()

    run = Run([start(job, path)], between={2: [LEAVE]})

    assert len(run.trained) == 2
    assert run.told(JobEnded) == []
    [saved] = run.engine.saved
    assert (saved.global_step, saved.cursors["a"].step, saved.cursors["a"].rows_trained) == (2, 2, 4)
    assert run.told(CheckpointPublished)[0].finished == ()


def test_shut_down_while_paused_does_not_save_twice(job_file):
    job, path = job_file()

    run = Run([start(job, path), LEAVE], between={2: [Pause()]})

    assert run.engine.saved_steps == [2]
    assert run.told(JobEnded) == []


def test_shut_down_without_any_step_saves_nothing():
    run = Run([LEAVE])

    assert run.engine.saved == []


@pytest.mark.parametrize(
    "stop_after", [1, 2, 3, 4, 5]
)  # 3 steps are an epoch: its end is a place like any other
def test_a_stopped_file_goes_on_with_the_row_and_the_noise_that_were_next(job_file, stop_after):
    job, path = job_file("a", 5)
    settings = settings_with(training={"epochs": 2})
    whole = Run([start(job, path, settings), LEAVE])
    before = Run([start(job, path, settings)], between={stop_after: [LEAVE]})

    after = Run([start(job, path, settings), LEAVE], engine=FakeEngine(before.engine.saved[-1]))

    assert after.told(JobStarted)[0].first_step == stop_after
    assert before.token_ids + after.token_ids == whole.token_ids
    seeds = [bundle.step_seed for bundle in before.trained + after.trained]
    assert seeds == [bundle.step_seed for bundle in whole.trained]
    assert after.told(JobEnded)[0].record == whole.told(JobEnded)[0].record
    assert after.engine.progress == whole.engine.progress


def test_every_row_is_trained_exactly_once_an_epoch(job_file):
    job, path = job_file("a", 7)

    run = Run([start(job, path, settings_with(training={"epochs": 3, "batch_size": 3})), LEAVE])

    epochs = [run.token_ids[i : i + 3] for i in (0, 3, 6)]
    as_sets = [{tuple(ids) for step in epoch for ids in step} for epoch in epochs]
    assert [[len(step) for step in epoch] for epoch in epochs] == [[3, 3, 1]] * 3
    assert [len(epoch) for epoch in as_sets] == [7, 7, 7]
    assert as_sets[0] == as_sets[1] == as_sets[2]
    assert epochs[0] != epochs[1]


def test_a_job_goes_on_with_the_settings_it_began_with(job_file):
    job, path = job_file("a", 6)
    began_with = settings_with(training={"learning_rate": 0.5, "batch_size": 2})
    by_now = settings_with(training={"learning_rate": 0.1, "batch_size": 3})
    before = Run([start(job, path, began_with)], between={1: [LEAVE]})

    after = Run([start(job, path, by_now), LEAVE], engine=FakeEngine(before.engine.saved[-1]))

    assert after.engine.used == [began_with]
    assert [len(bundle.examples) for bundle in after.trained] == [2, 2]


def test_the_job_after_one_that_went_on_has_its_own_settings(job_file):
    job, path = job_file("a", 4)
    next_job, next_path = job_file("b", 3)
    began_with, by_now = settings_with(), settings_with(training={"batch_size": 3})
    before = Run([start(job, path, began_with)], between={1: [LEAVE]})

    after = Run(
        [start(job, path, by_now), start(next_job, next_path, by_now), LEAVE],
        engine=FakeEngine(before.engine.saved[-1]),
    )

    assert after.engine.used == [began_with, by_now]
    assert [len(bundle.examples) for bundle in after.trained] == [2, 3]


def test_a_cursor_of_another_plan_is_not_applied(job_file):
    job, path = job_file("a")
    cursor = Cursor(
        job_id="a",
        sha256=job.sha256,
        plan="another",
        step=2,
        rows_trained=4,
        settings=settings_with().model_dump(mode="json"),
    )

    run = Run([start(job, path), LEAVE], engine=FakeEngine(Progress(global_step=2, cursors={"a": cursor})))

    [ended] = run.told(JobEnded)
    assert ended.record.outcome is Outcome.FAILED
    assert "the checkpoint counts steps of plan another" in ended.record.message
    assert run.trained == []
    assert run.engine.saved[-1].cursors == {}


def test_forgotten_jobs_lose_their_cursors_in_the_next_checkpoint(job_file):
    job, path = job_file("a", 2)
    old = Cursor(job_id="x", sha256="", plan="", step=1, rows_trained=1, settings={})
    progress = Progress(cursors={"x": old, "y": old.model_copy(update={"job_id": "y"})})

    run = Run([ForgetJobs(job_ids=("x", "unheard of")), start(job, path), LEAVE], engine=FakeEngine(progress))

    assert list(run.engine.saved[-1].cursors) == ["y"]
