"""Where settings leave open how many tokens go through the model at once, a job keeps what it began with."""

import pytest

from tests.trainer.session_rig import LEAVE, FakeEngine, Run, settings_with, start
from trainer.protocol.messages import JobStarted
from trainer.step.feeding_trainer import StepBundle

AUTO = settings_with(training={"micro_batch_tokens": "auto"})


def budgets(run: Run) -> list[int]:
    return [bundle.micro_batch_tokens for bundle in run.trained]


def run_out_of_memory(bundle: StepBundle) -> None:
    """Do as a step does that fits in parts of 100 tokens only."""
    bundle.micro_batch_tokens = min(bundle.micro_batch_tokens, 100)


def test_a_job_says_and_saves_the_number_it_begins_with(job_file):
    run = Run([start(*job_file("a"), AUTO)], between={2: [LEAVE]})

    assert budgets(run) == [1000, 1000]
    assert run.engine.saved[-1].cursors["a"].micro_batch_tokens == 1000
    assert [event.micro_batch_tokens for event in run.told(JobStarted)] == [1000]


def test_a_job_that_has_begun_keeps_its_number_whatever_would_be_found_by_now(job_file):
    path = job_file("a")
    saved = Run([start(*path, AUTO)], between={2: [LEAVE]}).engine.saved[-1]
    saved.cursors["a"].micro_batch_tokens = 3000

    with_checkpoint = Run([start(*path, AUTO), LEAVE], engine=FakeEngine(saved))
    without = Run([start(*path, AUTO, micro_batch_tokens=2000), LEAVE])

    assert set(budgets(with_checkpoint)) == {3000}
    assert set(budgets(without)) == {2000}


def test_what_a_step_learned_about_memory_holds_for_later_jobs(job_file):
    engine = FakeEngine()

    Run([start(*job_file("a"), AUTO), LEAVE], engine=engine, on_step=run_out_of_memory)
    later = Run([start(*job_file("b"), AUTO), LEAVE], engine=engine)

    assert engine.batch_sizes.limits == [100]
    assert set(budgets(later)) == {100}


def test_a_number_in_the_settings_asks_nobody_and_teaches_nobody(job_file):
    engine = FakeEngine()
    engine.batch_sizes.limits = [7]

    run = Run([start(*job_file("a")), LEAVE], engine=engine, on_step=run_out_of_memory)

    assert (engine.batch_sizes.limits, set(budgets(run))) == ([7], {100})
    assert [event.micro_batch_tokens for event in run.told(JobStarted)] == [None]


@pytest.mark.parametrize("known, used", [(16_384, 4096), (4096, 4096), (50, 50)])
def test_what_the_daemon_knows_never_exceeds_the_settings(job_file, known, used):
    settings = settings_with(training={"micro_batch_tokens": 4096})

    run = Run([start(*job_file("a"), settings, micro_batch_tokens=known), LEAVE])

    assert set(budgets(run)) == {used}


def test_settings_that_were_changed_meanwhile_do_not_touch_a_job_that_has_begun(job_file):
    path = job_file("a")
    saved = Run([start(*path, AUTO)], between={2: [LEAVE]}).engine.saved[-1]
    changed = settings_with(training={"micro_batch_tokens": 7})

    run = Run([start(*path, changed), LEAVE], engine=FakeEngine(saved))

    assert set(budgets(run)) == {1000}
