"""A job gives way to a more urgent one at a step, and later goes on as if nothing had been."""

from tests.trainer.session_rig import LEAVE, FakeEngine, Run, settings_with, start
from trainer.protocol.job import FaultKind, Outcome
from trainer.protocol.messages import (
    CheckpointPublished,
    Continued,
    Held,
    JobEnded,
    JobPreempted,
    JobStarted,
    Pause,
    PreemptJob,
    QueueEmpty,
    Resume,
    SkipJob,
)

SET_ASIDE = PreemptJob(job_id="a")


def test_its_cursor_is_durable_before_it_is_told(job_file):
    run = Run([start(*job_file("a")), LEAVE], between={2: [SET_ASIDE]})

    events = run.told(CheckpointPublished, JobPreempted, JobEnded)
    assert [type(event) for event in events] == [CheckpointPublished, JobPreempted]
    assert run.told(JobPreempted) == [JobPreempted(job_id="a", steps=2)]
    [saved] = run.engine.saved
    assert (saved.cursors["a"].step, saved.cursors["a"].rows_trained) == (2, 4)


def test_it_goes_on_exactly_after_the_urgent_one(job_file):
    order, urgent = start(*job_file("a")), start(*job_file("b", 2))
    whole = Run([order, LEAVE])

    run = Run([order, urgent, order, LEAVE], between={2: [SET_ASIDE]})

    by_job = {id: [step.file_step for step in run.steps if step.job_id == id] for id in "ab"}
    assert by_job == {"a": [1, 2, 3, 4, 5], "b": [1]}
    assert [step.job_id for step in run.steps] == ["a", "a", "b", "a", "a", "a"]
    assert run.token_ids[:2] + run.token_ids[3:] == whole.token_ids
    assert [event.first_step for event in run.told(JobStarted)] == [0, 0, 2]
    assert [event.record.rows_trained for event in run.told(JobEnded)] == [2, 10]


def test_it_keeps_the_settings_it_began_with_and_the_urgent_one_has_its_own(job_file):
    began_with, by_now = settings_with(), settings_with(training={"batch_size": 5})
    path = job_file("a")

    run = Run(
        [start(*path, began_with), start(*job_file("b"), by_now), start(*path, by_now), LEAVE],
        between={2: [SET_ASIDE]},
    )

    assert [step.rows for step in run.steps] == [2, 2, 5, 5, 2, 2, 2]


def test_a_job_that_was_ordered_but_not_begun_is_returned_at_once(job_file):
    run = Run([Pause(), start(*job_file("a")), SET_ASIDE, Resume(), start(*job_file("b", 2)), LEAVE])

    assert run.told(JobPreempted) == [JobPreempted(job_id="a", steps=0)]
    assert [event.job_id for event in run.told(JobStarted)] == ["b"]


def test_a_job_that_has_no_step_yet_has_nothing_to_save(job_file):
    run = Run([start(*job_file("a")), LEAVE], between={0: [SET_ASIDE]})

    assert run.told(JobPreempted) == [JobPreempted(job_id="a", steps=0)]
    assert run.trained == []
    assert run.engine.saved == []


def test_a_paused_job_is_preempted_and_the_pause_stays(job_file):
    run = Run(
        [start(*job_file("a")), SET_ASIDE, start(*job_file("b", 2)), Resume(), LEAVE],
        between={2: [Pause()]},
    )

    events = run.told(Held, JobPreempted, Continued, JobStarted)
    assert [type(event) for event in events] == [JobStarted, Held, JobPreempted, Continued, JobStarted]
    assert run.engine.saved_steps[0] == 2


def test_a_request_that_comes_after_the_jobs_end_touches_nothing(job_file):
    order, urgent = start(*job_file("a", 2)), start(*job_file("b", 4))

    run = Run([order, SET_ASIDE, urgent, LEAVE])

    assert run.told(JobPreempted) == []
    assert [(event.record.job_id, event.record.steps) for event in run.told(JobEnded)] == [("a", 1), ("b", 2)]


def test_a_request_that_names_another_job_touches_nothing(job_file):
    run = Run([start(*job_file("a")), LEAVE], between={2: [PreemptJob(job_id="b")]})

    assert run.told(JobPreempted) == []
    assert len(run.trained) == 5


def test_a_request_that_came_too_late_does_not_stop_the_same_job_when_it_is_given_again(job_file):
    path = job_file("a", 4)

    run = Run([start(*path), SET_ASIDE, start(*path), LEAVE], between={2: [QueueEmpty()]})

    assert [event.record.outcome for event in run.told(JobEnded)] == [Outcome.COMPLETED] * 2


def test_who_asks_to_skip_and_to_preempt_gets_the_skip(job_file):
    run = Run([start(*job_file("a")), LEAVE], between={2: [SET_ASIDE, SkipJob(job_id="a")]})

    assert run.told(JobPreempted) == []
    assert run.told(JobEnded)[0].fault is FaultKind.REQUEST


def test_a_session_told_to_leave_as_well_leaves_the_job_to_its_cursor(job_file):
    run = Run([start(*job_file("a"))], between={2: [SET_ASIDE, LEAVE]}, engine=FakeEngine())

    assert run.told(JobPreempted) == []
    assert run.engine.saved[-1].cursors["a"].step == 2
