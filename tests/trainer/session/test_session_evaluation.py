"""When a session evaluates, what it may cost, and that it makes nobody wait."""

import pytest

from tests.support import FakeClock, job_for, rows, write_jsonl
from tests.trainer.session_rig import LEAVE, FakeEngine, Run, settings_with, start
from trainer.protocol.job import Outcome
from trainer.protocol.messages import (
    Evaluated,
    Held,
    JobEnded,
    Pause,
    PreviewMade,
    Resume,
    Score,
    SkipJob,
    SuiteScored,
    Validated,
)

OUT_OF_MEMORY = RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes")


class Busy(FakeEngine):
    """Takes its time to evaluate.

    Args:
        suite_s, preview_s: seconds of each of the two suites and two previews.
    """

    def __init__(self, suite_s=0.0, preview_s=0.0):
        super().__init__()
        self.suite_s = suite_s
        self.preview_s = preview_s
        self.clock = FakeClock()
        self.error = None
        self.freed = 0

    def suite_scores(self, settings, *, global_step, is_wanted):
        for name in ("sums", "words"):
            if not is_wanted():
                return
            self.clock.now += self.suite_s
            score = Score(rows=1, loss=1.0, exact_match=0.5)
            yield SuiteScored(global_step=global_step, suite=name, overall=score)

    def previews(self, settings, *, global_step, is_wanted):
        if self.error:
            raise self.error
        for prompt in ("a", "b"):
            if not is_wanted():
                return
            self.clock.now += self.preview_s
            yield PreviewMade(
                global_step=global_step, prompt=prompt, text="x", ended_by="end", seconds=self.preview_s
            )

    def free_memory(self):
        self.freed += 1


@pytest.fixture
def make_job(tmp_path):
    def make(name, steps):
        path = write_jsonl(tmp_path / f"{name}.jsonl", rows(2 * steps))
        return job_for(path, id=name), path

    return make


def run_of(engine, *orders, **named):
    return Run([*orders, LEAVE], engine=engine, clock=engine.clock, step_s=1.0, **named)


def suites(interval_steps, **monitoring):
    validation = {"suites": {"sums": "s.jsonl"}, "interval_steps": interval_steps}
    return settings_with(validation=validation, monitoring=monitoring)


def previews(interval_steps):
    return settings_with(previews={"prompts": ["a"], "interval_steps": interval_steps})


def steps_of(events):
    return sorted({event.global_step for event in events})


def test_suites_come_every_few_steps_and_at_the_end_of_a_file(make_job):
    run = run_of(Busy(), start(*make_job("a", 5), suites(2)))

    assert steps_of(run.told(SuiteScored)) == [2, 4, 5]


def test_previews_come_every_few_steps_of_the_models_life(make_job):
    orders = [start(*make_job(name, 3), previews(2)) for name in "ab"]

    run = run_of(Busy(), *orders)

    assert steps_of(run.told(PreviewMade)) == [2, 4, 6]


def test_dear_previews_come_less_often(make_job):
    run = run_of(Busy(preview_s=0.2), start(*make_job("a", 40), previews(2)))

    # 0.4 s each: in 8 steps of a second they are less than a twentieth of the time, in 4 more
    assert steps_of(run.told(PreviewMade)) == [2, 8, 16, 24, 32, 40]
    assert {event.interval_steps for event in run.told(Evaluated)} == {8}


def test_previews_that_have_become_cheap_come_as_often_as_wanted_again(make_job):
    engine = Busy(preview_s=0.2)

    def cheaper(bundle):
        if engine.progress.global_step >= 10:
            engine.preview_s = 0.0

    run = run_of(engine, start(*make_job("a", 20), previews(2)), on_step=cheaper)

    assert steps_of(run.told(PreviewMade)) == [2, 8, 16, 18, 20]


def test_at_the_end_of_a_file_suites_are_left_out_when_their_time_is_used_up(make_job):
    settings = settings_with(validation={"file": "v.jsonl", "suites": {"sums": "s.jsonl"}})
    orders = [start(*make_job(name, 3), settings) for name in "ab"]

    run = run_of(Busy(suite_s=1.0), *orders)

    assert steps_of(run.told(SuiteScored)) == [3], "the first time, as it has to be measured"
    assert [event.left_out for event in run.told(Evaluated) if event.left_out] == [
        "no time was left for suites at the end of the file (monitoring.max_overhead_percent is 5)"
    ]
    assert steps_of(run.told(Validated)) == [0, 3, 6]


def test_suites_at_the_end_of_files_are_back_when_there_was_enough_training(make_job):
    orders = [start(*make_job(name, steps), suites(500)) for name, steps in (("a", 3), ("b", 3), ("c", 200))]

    run = run_of(Busy(suite_s=1.0), *orders)

    assert steps_of(run.told(SuiteScored)) == [3, 206]


@pytest.mark.parametrize("command", [Pause(), SkipJob(job_id="a")])
def test_whoever_waits_for_the_next_step_need_not_wait_for_the_suites(make_job, command):
    engine = Busy()
    commands = {2: [command]}
    session = [start(*make_job("a", 4), suites(2)), *([Resume()] if command == Pause() else []), LEAVE]

    run = Run(session, engine=engine, between=commands, step_s=1.0)

    assert 2 not in steps_of(run.told(SuiteScored))
    if command == Pause():
        assert run.told(Held)[0].global_step == 2
        assert len(run.trained) == 4
    else:
        assert run.told(JobEnded)[0].record.outcome is Outcome.SKIPPED


def test_previews_that_memory_is_too_small_for_cost_no_training(make_job):
    engine = Busy()
    engine.error = OUT_OF_MEMORY

    run = run_of(engine, start(*make_job("a", 3), previews(2)))

    assert len(run.trained) == 3
    assert engine.freed == 1
    [told] = run.told(Evaluated)
    assert told.left_out == "memory was too small for previews; training continues without it"


def test_another_fault_of_an_evaluation_is_not_hidden(make_job):
    engine = Busy()
    engine.error = RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        run_of(engine, start(*make_job("a", 3), previews(2)))
