"""Steps that are not finite are counted, shown with their rows, and after the fourth left out."""

import pytest

from tests.trainer.session_rig import LEAVE, FakeEngine, Run, settings_with, start
from trainer.protocol.faults import NotFinite
from trainer.protocol.job import Window
from trainer.protocol.messages import JobEnded, JobStarted, QueueEmpty, StartJob, StepsTaken


def test_a_step_that_was_not_applied_is_remembered_and_reported_with_its_rows(job_file):
    run = Run([start(*job_file("a")), LEAVE], between={4: [LEAVE]}, bad=[1])

    cursor = run.engine.saved[-1].cursors["a"]
    assert (cursor.bad_steps, cursor.step, cursor.rows_trained) == ((1,), 4, 6)
    assert [step.not_applied for step in run.steps] == [None, "the loss is nan", None, None]
    assert [step.lines for step in run.steps] == [(), run.trained[1].lines, (), ()]
    assert len(run.trained[1].lines) == 2


def test_three_such_steps_do_not_stop_a_job(job_file):
    run = Run([start(*job_file("a")), LEAVE], bad=[0, 2, 4])

    [ended] = run.told(JobEnded)
    assert (ended.record.steps, ended.record.rows_trained) == (5, 4)


def test_the_fourth_is_one_too_many_and_names_the_steps_to_leave_out(job_file):
    events = []

    with pytest.raises(NotFinite, match=r"a\.jsonl: the loss is nan") as refused:
        Run([start(*job_file("a", 20)), LEAVE], bad=[1, 3, 4, 7, 8], events=events)

    assert refused.value.window == Window(first=1, last=7)
    steps = [step for event in events if isinstance(event, StepsTaken) for step in event.steps]
    assert len(steps) == 8  # they are told before the session ends
    assert [event for event in events if isinstance(event, JobEnded)] == []


def test_such_steps_far_apart_are_left_at_that(job_file, monkeypatch):
    monkeypatch.setattr("trainer.session.session.BAD_STEPS_SPAN", 3)

    run = Run([start(*job_file("a", 20)), LEAVE], bad=[0, 2, 4, 6, 8])

    assert run.told(JobEnded)[0].record.rows_trained == 2 * 5


def test_steps_of_one_job_do_not_count_against_the_next(job_file):
    run = Run([start(*job_file("a", 6)), start(*job_file("b", 6)), LEAVE], bad=[0, 1])

    assert len(run.told(JobEnded)) == 2


def test_steps_counted_before_a_restart_still_count(job_file):
    path = job_file("a", 20)
    before = Run([start(*path)], between={5: [LEAVE]}, bad=[1, 3])

    with pytest.raises(NotFinite) as refused:
        Run([start(*path), LEAVE], engine=FakeEngine(before.engine.saved[-1]), bad=[6, 8])

    assert refused.value.window == Window(first=1, last=8)


@pytest.mark.parametrize(
    "windows, trained",
    [
        ([(0, 2)], [3, 4]),
        ([(1, 1), (3, 3)], [0, 2, 4]),
        ([(3, 9)], [0, 1, 2]),
        ([(0, 4)], []),
    ],
)
def test_what_is_left_out_takes_no_step(job_file, windows, trained):
    left_out = tuple(Window(first=first, last=last) for first, last in windows)

    run = Run([start(*job_file("a"), left_out=left_out), QueueEmpty(), LEAVE])

    assert [bundle.index for bundle in run.trained] == trained
    assert [step.file_step for step in run.steps] == [index + 1 for index in trained]
    [ended] = run.told(JobEnded)
    assert ended.record.rows_trained == 2 * len(trained)
    assert run.engine.progress.global_step == len(trained)


def test_steps_already_left_out_do_not_count_again(job_file):
    path = job_file("a", 20)
    before = Run([start(*path)], between={4: [LEAVE]}, bad=[1, 2])
    order = start(*path, left_out=(Window(first=1, last=5),))

    run = Run([order, LEAVE], engine=FakeEngine(before.engine.saved[-1]), bad=[6, 7, 8])

    assert run.told(JobStarted)[0].first_step == 4
    assert [bundle.index for bundle in run.trained] == [6, 7, 8, 9]
    assert run.told(JobEnded)[0].record.rows_trained == 2 * (2 + 1)


def test_a_new_window_after_an_old_one_holds_only_the_new_steps(job_file):
    order = start(*job_file("a", 40), left_out=(Window(first=1, last=5),))

    with pytest.raises(NotFinite) as refused:
        Run([order, LEAVE], bad=[7, 9, 11, 13])

    assert refused.value.window == Window(first=7, last=13)


def test_a_broken_model_at_the_end_of_a_job_is_its_fault_and_nothing_is_saved(job_file):
    engine = FakeEngine()
    events = []

    def spoil(bundle):
        engine.is_broken = bundle.index == 4

    with pytest.raises(NotFinite, match="a weight is not finite") as refused:
        Run([start(*job_file("a")), LEAVE], engine=engine, on_step=spoil, events=events)

    assert refused.value.window == Window(first=0, last=4)
    assert engine.saved == []
    assert [event for event in events if isinstance(event, JobEnded)] == []


def test_a_model_that_broke_in_this_run_is_blamed_on_the_steps_of_this_run_alone(job_file):
    path = job_file("a")
    before = Run([start(*path)], between={2: [LEAVE]})
    engine = FakeEngine(before.engine.saved[-1])
    settings = settings_with(checkpoints={"interval_s": 1.0})

    def spoil(bundle):
        engine.is_broken = True

    with pytest.raises(NotFinite) as refused:
        Run([start(*path, settings), LEAVE], engine=engine, on_step=spoil, step_s=2.0)

    assert refused.value.window == Window(first=2, last=2)


# ---- memory


def bundles_budgets(run):
    return [bundle.micro_batch_tokens for bundle in run.trained]


def test_what_a_step_learned_about_memory_holds_for_the_rest_of_the_job_and_after_a_restart(job_file):
    path = job_file("a")

    def run_out(bundle):
        bundle.micro_batch_tokens = min(bundle.micro_batch_tokens, 100)

    before = Run([start(*path)], between={2: [LEAVE]}, on_step=run_out)
    after = Run([start(*path), LEAVE], engine=FakeEngine(before.engine.saved[-1]))

    assert before.engine.saved[-1].cursors["a"].micro_batch_tokens == 100
    assert bundles_budgets(after) == [100, 100, 100]


@pytest.mark.parametrize(
    "ordered, in_cursor, used", [(50, None, 50), (50, 80, 50), (80, 50, 50), (None, 80, 80)]
)
def test_the_smaller_budget_of_order_and_cursor_counts(job_file, ordered, in_cursor, used):
    path = job_file("a")
    engine = FakeEngine(Run([start(*path)], between={2: [LEAVE]}).engine.saved[-1])
    engine.progress.cursors["a"].micro_batch_tokens = in_cursor

    order: StartJob = start(*path, micro_batch_tokens=ordered)
    run = Run([order, LEAVE], engine=engine)

    assert set(bundles_budgets(run)) == {used}
