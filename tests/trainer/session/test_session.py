"""A session trains a file from start to end and obeys between steps. Model and loop are fakes."""

import re
from collections import deque

import pytest

from tests.support import FakeClock, row
from tests.trainer.session_rig import LEAVE, FakeEngine, FakeSave, Run, Script, settings_with, start
from trainer.protocol.job import FaultKind, JobRecord, Outcome
from trainer.protocol.manifest import Progress
from trainer.protocol.messages import (
    CheckpointPublished,
    CheckpointRef,
    Continued,
    Held,
    JobEnded,
    JobStarted,
    Notice,
    Pause,
    QueueEmpty,
    Resume,
    SkipJob,
    StepsTaken,
)
from trainer.reporting.reporter import Reporter
from trainer.session.session import Session

# ---- a file from start to end


def test_a_file_is_trained_row_by_row_and_finished_by_a_checkpoint(job_file):
    job, path = job_file("a", 5)

    run = Run([start(job, path), QueueEmpty(), LEAVE])

    record = JobRecord(
        job_id="a", name="a.jsonl", sha256=job.sha256, outcome=Outcome.COMPLETED, rows_trained=5, steps=3
    )
    assert [type(event) for event in run.told(JobStarted, StepsTaken, JobEnded, CheckpointPublished)] == [
        JobStarted,
        StepsTaken,
        JobEnded,
        CheckpointPublished,
    ]
    assert run.told(JobStarted) == [
        JobStarted(job_id="a", first_step=0, total_steps=3, steps_per_epoch=3, global_step=0)
    ]
    assert run.told(JobEnded) == [JobEnded(record=record, durable=False)]
    assert run.told(CheckpointPublished)[0].finished == (record,)
    [saved] = run.engine.saved
    assert (saved.global_step, saved.samples_seen, saved.finished) == (3, 5, [record])
    assert saved.cursors == {}


def test_every_step_is_reported_with_its_place_in_the_file_and_in_the_models_life(job_file):
    job, path = job_file("a", 3)
    engine = FakeEngine(Progress(global_step=10, tokens_seen=1000, samples_seen=100))

    run = Run([start(job, path), LEAVE], engine=engine)

    tokens = [sum(map(len, step)) for step in run.token_ids]
    assert [(step.global_step, step.file_step, step.rows) for step in run.steps] == [(11, 1, 2), (12, 2, 1)]
    assert [step.tokens for step in run.steps] == tokens
    assert [step.supervised_tokens for step in run.steps] == [bundle.num_items for bundle in run.trained]
    assert [(step.loss, step.learning_rate, step.grad_norm) for step in run.steps] == [(0.5, 0.25, None)] * 2
    assert engine.progress.tokens_seen == 1000 + sum(tokens)
    assert engine.progress.samples_seen == 103


def test_noise_is_seeded_by_the_steps_number_alone(job_file):
    job, path = job_file("a", 8)
    other_job, other_path = job_file("b", [row(f"Other {i}", "yes") for i in range(8)])

    first = Run([start(job, path), LEAVE])
    second = Run([start(other_job, other_path), LEAVE])
    reseeded = Run([start(job, path, settings_with(training={"seed": 43})), LEAVE])

    seeds = [bundle.step_seed for bundle in first.trained]
    assert len(set(seeds)) == 4
    assert [bundle.step_seed for bundle in second.trained] == seeds
    assert set(seeds).isdisjoint(bundle.step_seed for bundle in reseeded.trained)


def test_truncated_rows_and_rows_without_target_are_counted_once_however_many_epochs(job_file):
    long_question, long_answer = row("q" * 100, "yes"), row("q", "y" * 100)
    job, path = job_file("a", [long_question, long_answer, row("q", "yes")])
    settings = settings_with(training={"epochs": 2}, data={"max_length": 60})

    run = Run([start(job, path, settings), LEAVE])

    [ended] = run.told(JobEnded)
    assert (ended.truncated_rows, ended.rows_without_target) == (2, 1)
    assert (ended.record.rows_trained, ended.record.steps) == (6, 4)


def test_untrainable_rows_are_left_out_and_their_lines_reported(job_file):
    job, path = job_file("a", [row("q" * 100, "yes"), row("q", "yes"), *[row("q" * 100, "no")] * 11])

    run = Run([start(job, path, settings_with(data={"max_length": 60})), LEAVE])

    assert [len(step) for step in run.token_ids if step] == [1]
    [told] = run.told(Notice)
    before, _, rest = told.message.partition("lines ")
    lines, _, after = rest.partition(", …")
    assert before == "a.jsonl: 12 untrainable rows without a supervised token: "
    assert after.startswith("; expected a turn to train among the first 60 tokens (data.max_length)")
    assert len(set(lines.split(", ")) - {"2"}) == 10
    assert told.job_id == "a"


@pytest.mark.parametrize("stop_after", [1, 2, 3, 4, 5])
def test_a_file_that_continues_names_each_untrainable_row_once(job_file, stop_after):
    untrainable = {1, 3, 5}
    job, path = job_file("a", [row("q" * (100 if line in untrainable else 1), "yes") for line in range(1, 6)])
    settings = settings_with(training={"epochs": 2}, data={"max_length": 60})  # three steps each
    saved = Run([start(job, path, settings), LEAVE], between={stop_after: [LEAVE]}).engine.saved[-1]

    continued = Run([start(job, path, settings), LEAVE], engine=FakeEngine(saved))

    [ended] = continued.told(JobEnded)
    messages = [told.message for told in continued.told(Notice)]
    lines = re.findall(r"lines? ([\d, ]+);", " ".join(messages))
    named = [int(line) for line in ", ".join(lines).split(", ") if line]
    assert len(named) == len(set(named)) == ended.rows_without_target
    if stop_after <= 3:  # a whole epoch is left
        assert (set(named), ended.counted_from_step) == (untrainable, None)
    else:
        assert set(named) <= untrainable
        assert ended.counted_from_step == stop_after + 1
        assert all(f"a supervised token from step {stop_after + 1} on: " in message for message in messages)


EXCHANGES = {
    "messages": [{"role": role, "content": role[0] * 20} for _ in range(3) for role in ("user", "assistant")]
}


@pytest.mark.parametrize(
    "overlong, counted, examples",
    [
        ("truncate_left_turns", (1, 0, 0), 2),
        ("truncate_right", (1, 0, 0), 2),
        ("split", (0, 1, 0), 4),
        ("drop", (0, 0, 1), 1),
    ],
)
def test_what_becomes_of_long_rows_is_counted_and_rows_stay_rows(job_file, overlong, counted, examples):
    job, path = job_file("a", [EXCHANGES, row("q", "yes")])
    settings = settings_with(data={"max_length": 70, "overlong": overlong})

    run = Run([start(job, path, settings), LEAVE])

    [ended] = run.told(JobEnded)
    assert (ended.truncated_rows, ended.split_rows, ended.dropped_rows) == counted
    assert [len(step) for step in run.token_ids] == [examples]
    assert [step.rows for step in run.steps] == [2]
    assert (ended.record.rows_trained, run.engine.progress.samples_seen) == (2, 2)


def test_a_long_row_may_fail_its_file_naming_its_line(job_file):
    job, path = job_file("a", [row("q", "yes"), EXCHANGES])
    settings = settings_with(data={"max_length": 70, "overlong": "fail"})

    run = Run([start(job, path, settings), LEAVE])

    [ended] = run.told(JobEnded)
    assert ended.record.outcome is Outcome.FAILED
    assert ended.record.message.startswith("line 2: the row has ")
    assert 'data.overlong is "fail"; expected at most 70 (data.max_length)' in ended.record.message


def test_a_step_without_anything_to_learn_is_taken_and_has_no_loss(job_file):
    job, path = job_file("a", [row("q" * 100, "yes")] * 2)

    run = Run([start(job, path, settings_with(data={"max_length": 60})), LEAVE])

    [step] = run.steps
    assert (step.rows, step.tokens, step.supervised_tokens, step.loss) == (2, 0, 0, None)
    assert run.told(JobEnded)[0].record.outcome is Outcome.COMPLETED


# ---- pause and resume


def test_pause_holds_between_two_steps_and_saves_until_resume(job_file):
    job, path = job_file()

    run = Run([start(job, path), Resume(), LEAVE], between={2: [Pause()]})

    kinds = [type(event) for event in run.told(StepsTaken, Held, Continued, JobEnded)]
    assert kinds == [StepsTaken, Held, Continued, StepsTaken, JobEnded]
    assert [len(event.steps) for event in run.told(StepsTaken)] == [2, 3]
    assert run.told(Held) == [Held(global_step=2)]
    assert run.engine.saved_steps == [2, 5]  # whoever pauses may switch the machine off
    assert run.engine.saved[0].cursors["a"].step == 2


def test_a_pause_before_the_first_step_of_a_model_has_nothing_to_save(job_file):
    job, path = job_file()

    run = Run([start(job, path), Resume(), LEAVE], between={0: [Pause()]})

    assert run.told(Held) == [Held(global_step=0)]
    assert run.engine.saved_steps == [5]


def test_pause_while_idle_is_told_once_and_holds_the_next_file_back(job_file):
    job, path = job_file("a", 2)
    job_began_after = []

    run = Run([Pause(), start(job, path), lambda: job_began_after.append("resume"), Resume(), LEAVE])

    assert job_began_after == ["resume"]
    assert [type(event) for event in run.told(Held, Continued, JobStarted)] == [Held, Continued, JobStarted]


def test_a_pause_taken_back_before_the_next_step_is_not_told(job_file):
    job, path = job_file()

    run = Run([start(job, path), LEAVE], between={2: [Pause(), Resume()]})

    assert run.told(Held, Continued) == []
    assert len(run.steps) == 5


def test_resume_without_pause_changes_nothing(job_file):
    job, path = job_file()

    run = Run([Resume(), start(job, path), LEAVE], between={1: [Resume()]})

    assert run.told(Held, Continued) == []
    assert run.told(JobEnded)[0].record.outcome is Outcome.COMPLETED


# ---- skip


def test_skip_ends_the_job_at_the_next_step_and_keeps_what_was_learned(job_file):
    job, path = job_file("a")
    next_job, next_path = job_file("b", 2)
    settings = settings_with(checkpoints={"group_commit_s": 60.0})

    run = Run(
        [start(job, path, settings), start(next_job, next_path, settings), LEAVE],
        between={2: [SkipJob(job_id="a")]},
    )

    skipped, completed = run.told(JobEnded)
    assert (skipped.record.outcome, skipped.record.steps, skipped.fault) == (
        Outcome.SKIPPED,
        2,
        FaultKind.REQUEST,
    )
    assert not skipped.durable
    assert (completed.record.job_id, completed.record.outcome) == ("b", Outcome.COMPLETED)
    assert run.engine.saved_steps == [2, 3]  # at once: somebody waits to see the file leave
    assert run.engine.saved[0].finished == [skipped.record]
    assert run.engine.saved[0].cursors == {}


def test_skip_while_paused_ends_the_job_and_stays_paused(job_file):
    job, path = job_file("a")
    next_job, next_path = job_file("b", 2)

    run = Run(
        [start(job, path), SkipJob(job_id="a"), start(next_job, next_path), Resume(), LEAVE],
        between={2: [Pause()]},
    )

    events = run.told(Held, JobEnded, Continued, JobStarted)
    assert [type(event) for event in events] == [JobStarted, Held, JobEnded, Continued, JobStarted, JobEnded]
    assert run.told(JobEnded)[0].record.steps == 2


def test_a_job_skipped_before_it_began_takes_no_step_and_needs_no_checkpoint(job_file):
    job, path = job_file("a")

    run = Run([Pause(), start(job, path), SkipJob(job_id="a"), Resume(), LEAVE])

    [ended] = run.told(JobEnded)
    assert (ended.record.outcome, ended.record.steps, ended.durable) == (Outcome.SKIPPED, 0, True)
    assert run.trained == []
    assert run.engine.saved == []


def test_a_job_skipped_before_it_went_on_needs_a_checkpoint_that_has_forgotten_its_cursor(job_file):
    job, path = job_file("a")
    stopped = Run([start(job, path), LEAVE], between={2: [LEAVE]}).engine

    run = Run(
        [Pause(), start(job, path), SkipJob(job_id="a"), LEAVE],
        engine=FakeEngine(stopped.progress),
    )

    [ended] = run.told(JobEnded)
    assert (ended.record.steps, ended.record.rows_trained, ended.durable) == (2, 4, False)
    assert run.engine.saved[-1].cursors == {}
    assert run.engine.saved[-1].finished == [ended.record]


def test_a_skip_that_names_another_job_does_not_touch_this_one(job_file):
    job, path = job_file("a")

    run = Run([start(job, path), LEAVE], between={2: [SkipJob(job_id="b")]})

    assert run.told(JobEnded)[0].record.outcome is Outcome.COMPLETED
    assert len(run.trained) == 5


# ---- what it says it is doing


def test_the_section_tells_what_is_being_done(job_file):
    seen: dict[str, str] = {}
    engine = FakeEngine()
    reporter = Reporter(lambda event: None, clock=FakeClock())
    engine.save = lambda settings: (  # type: ignore[method-assign]
        seen.update(save=reporter.section) or FakeSave(CheckpointRef(path="", step=0, at=""))
    )
    engine.validation_loss = lambda settings: seen.update(validation=reporter.section)  # type: ignore[method-assign]
    waiting = deque(
        [
            lambda: seen.update(before=reporter.section),
            start(*job_file("a", 4), settings_with(validation={"file": "v.jsonl"})),
            lambda: seen.update(held=reporter.section),
            Resume(),
            LEAVE,
        ]
    )
    script = Script(FakeClock(), engine, waiting, {1: [Pause()]})

    for _ in Session(engine, script, reporter, settings_with(), clock=FakeClock()).bundles():
        seen["step"] = reporter.section

    assert seen == {
        "before": "idle",
        "step": "training",
        "save": "saving",
        "held": "paused",
        "validation": "evaluating",
    }
