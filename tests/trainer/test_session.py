"""A session obeys between steps, saves when it should, and no file can stop it. Model and loop are fakes."""

import os
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from transformers import CharSpan

from tests.support import FakeClock, job_for, row, rows, write_jsonl
from trainer.config.schema import Settings
from trainer.core import session as session_module
from trainer.core.feeding_trainer import StepBundle
from trainer.core.session import Session
from trainer.monitoring.reporter import Reporter
from trainer.profiles.base import UnknownProfile
from trainer.protocol.job import Cursor, FaultKind, Job, JobRecord, Outcome
from trainer.protocol.manifest import Progress
from trainer.protocol.messages import (
    CheckpointPublished,
    CheckpointRef,
    Command,
    Continued,
    Event,
    ForgetJobs,
    Held,
    JobEnded,
    JobStarted,
    Pause,
    PrepareJob,
    QueueEmpty,
    Resume,
    ShutDown,
    SkipJob,
    StartJob,
    StepsTaken,
    Validated,
)

LEAVE = ShutDown(reason="the test is over")


@dataclass
class CharEncodings:
    input_ids: list[list[int]]

    def char_to_token(self, row: int, char_index: int) -> int:
        return char_index

    def token_to_chars(self, row: int, token: int) -> CharSpan | None:
        return CharSpan(token, token + 1) if token < len(self.input_ids[row]) else None


class CharTokenizer:
    """One token a character, and a template of one line a turn."""

    def __call__(self, text: list[str], *, add_special_tokens: bool) -> CharEncodings:
        return CharEncodings([[ord(char) for char in one] for one in text])

    def apply_chat_template(
        self, conversation: list[dict[str, str]], *, tokenize: bool, add_generation_prompt: bool
    ) -> str:
        turns = [f"{message['role']}:{message['content']}\n" for message in conversation]
        return "".join(turns) + ("assistant:" if add_generation_prompt else "")


class FakeLearner:
    """Remembers what it was asked to do."""

    def __init__(self, progress: Progress | None = None) -> None:
        self.progress = progress or Progress()
        self.tokenizer = CharTokenizer()
        self.saved: list[Progress] = []
        self.used: list[Settings] = []
        self.validated_at: list[int] = []
        self.save_error: Exception | None = None

    def use(self, settings: Settings) -> None:
        self.used.append(settings)

    def save(self, keep_last: int) -> CheckpointRef:
        if self.save_error:
            raise self.save_error
        self.saved.append(self.progress.model_copy(deep=True))
        return CheckpointRef(path=f"checkpoints/{len(self.saved)}", step=self.progress.global_step, at="now")

    def validation_loss(self, settings: Settings) -> tuple[float, int]:
        self.validated_at.append(self.progress.global_step)
        return 0.5, 7

    @property
    def saved_steps(self) -> list[int]:
        return [progress.global_step for progress in self.saved]


@dataclass
class Pass:
    """Let time pass without a command."""

    seconds: float


@dataclass
class Script:
    """Commands as they come: some while the session waits, some found between steps."""

    clock: FakeClock
    learner: FakeLearner
    waiting: deque[Command | Pass | Callable[[], None]]
    between: dict[int, list[Command]]
    """Number of steps taken -> commands found then."""

    def get(self, timeout_s: float | None) -> Command | None:
        if timeout_s == 0:
            pending = self.between.get(self.learner.progress.global_step)
            return pending.pop(0) if pending else None
        assert self.waiting, "the session waits for ever"
        item = self.waiting.popleft()
        if isinstance(item, Pass):
            assert timeout_s is not None, "the session waits for a command only"
            self.clock.now += item.seconds
            return None
        if callable(item):
            item()
            return self.get(timeout_s)
        return item


class Run:
    """One session from start to end, with everything it did.

    Args:
        step_s: seconds a step takes.
        events: filled with what is told, for a session that does not end well.
    """

    def __init__(
        self,
        waiting: Sequence[Any],
        *,
        between: dict[int, list[Command]] | None = None,
        learner: FakeLearner | None = None,
        settings: Settings | None = None,
        step_s: float = 0.0,
        events: list[Event] | None = None,
    ) -> None:
        self.learner = learner or FakeLearner()
        self.clock = FakeClock()
        self.events = [] if events is None else events
        self.trained: list[StepBundle] = []
        reporter = Reporter(self.events.append, clock=self.clock)
        script = Script(self.clock, self.learner, deque(waiting), between or {})
        session = Session(self.learner, script, reporter, settings or settings_with(), clock=self.clock)
        for bundle in session.bundles():
            self.trained.append(bundle)
            self.clock.now += step_s
            bundle.learning_rate = 0.25
            bundle.loss = 0.5

    def told(self, *kinds: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kinds)]

    @property
    def steps(self) -> list[Any]:
        return [step for event in self.told(StepsTaken) for step in event.steps]

    @property
    def token_ids(self) -> list[list[list[int]]]:
        return [[example.token_ids for example in bundle.examples] for bundle in self.trained]


def settings_with(**sections: dict[str, Any]) -> Settings:
    """Return settings of two rows a step that save neither by time nor late, unless told otherwise."""
    training = {"batch_size": 2, "gradient_accumulation": 1} | sections.pop("training", {})
    checkpoints = {"interval_s": 1e9, "group_commit_s": 0.0} | sections.pop("checkpoints", {})
    return Settings.model_validate({"training": training, "checkpoints": checkpoints, **sections})


def start(job: Job, path: Path, settings: Settings | None = None) -> StartJob:
    return StartJob(job=job, path=str(path), settings=(settings or settings_with()).model_dump(mode="json"))


@pytest.fixture
def file(tmp_path):
    """Return a function that writes a file of different rows and gives its job and path."""

    def write(name: str = "a", content: int | list[Any] = 10) -> tuple[Job, Path]:
        path = tmp_path / f"{name}.jsonl"
        write_jsonl(path, rows(content) if isinstance(content, int) else content)
        return job_for(path, id=name), path

    yield write
    opened = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if _is_open(fd)]
    assert [path for path in opened if path.startswith(str(tmp_path))] == [], "the session left files open"


def _is_open(fd: str) -> bool:
    return os.path.lexists(f"/proc/self/fd/{fd}")


# ---- a file from start to end


def test_a_file_is_trained_row_by_row_and_finished_by_a_checkpoint(file):
    job, path = file("a", 5)

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
    [saved] = run.learner.saved
    assert (saved.global_step, saved.samples_seen, saved.finished) == (3, 5, [record])
    assert saved.cursors == {}


def test_every_step_is_reported_with_its_place_in_the_file_and_in_the_models_life(file):
    job, path = file("a", 3)
    learner = FakeLearner(Progress(global_step=10, tokens_seen=1000, samples_seen=100))

    run = Run([start(job, path), LEAVE], learner=learner)

    tokens = [sum(map(len, step)) for step in run.token_ids]
    assert [(step.global_step, step.file_step, step.rows) for step in run.steps] == [(11, 1, 2), (12, 2, 1)]
    assert [step.tokens for step in run.steps] == tokens
    assert [step.supervised_tokens for step in run.steps] == [bundle.num_items for bundle in run.trained]
    assert [(step.loss, step.learning_rate, step.grad_norm) for step in run.steps] == [(0.5, 0.25, None)] * 2
    assert learner.progress.tokens_seen == 1000 + sum(tokens)
    assert learner.progress.samples_seen == 103


def test_noise_is_seeded_by_the_steps_number_alone(file):
    job, path = file("a", 8)
    other_job, other_path = file("b", [row(f"Other {i}", "yes") for i in range(8)])

    first = Run([start(job, path), LEAVE])
    second = Run([start(other_job, other_path), LEAVE])
    reseeded = Run([start(job, path, settings_with(training={"seed": 43})), LEAVE])

    seeds = [bundle.noise_seed for bundle in first.trained]
    assert len(set(seeds)) == 4
    assert [bundle.noise_seed for bundle in second.trained] == seeds
    assert set(seeds).isdisjoint(bundle.noise_seed for bundle in reseeded.trained)


def test_truncated_rows_and_rows_without_target_are_counted(file):
    long_question, long_answer = row("q" * 100, "yes"), row("q", "y" * 100)
    job, path = file("a", [long_question, long_answer, row("q", "yes")])

    run = Run([start(job, path, settings_with(data={"max_length": 60})), LEAVE])

    [ended] = run.told(JobEnded)
    assert (ended.truncated_rows, ended.rows_without_target) == (2, 1)


# ---- pause and resume


def test_pause_holds_between_two_steps_and_saves_until_resume(file):
    job, path = file()

    run = Run([start(job, path), Resume(), LEAVE], between={2: [Pause()]})

    kinds = [type(event) for event in run.told(StepsTaken, Held, Continued, JobEnded)]
    assert kinds == [StepsTaken, Held, Continued, StepsTaken, JobEnded]
    assert [len(event.steps) for event in run.told(StepsTaken)] == [2, 3]
    assert run.told(Held) == [Held(global_step=2)]
    assert run.learner.saved_steps == [2, 5]  # whoever pauses may switch the machine off
    assert run.learner.saved[0].cursors["a"].step == 2


def test_a_pause_before_the_first_step_of_a_model_has_nothing_to_save(file):
    job, path = file()

    run = Run([start(job, path), Resume(), LEAVE], between={0: [Pause()]})

    assert run.told(Held) == [Held(global_step=0)]
    assert run.learner.saved_steps == [5]


def test_pause_while_idle_is_told_once_and_holds_the_next_file_back(file):
    job, path = file("a", 2)
    job_began_after = []

    run = Run([Pause(), start(job, path), lambda: job_began_after.append("resume"), Resume(), LEAVE])

    assert job_began_after == ["resume"]
    assert [type(event) for event in run.told(Held, Continued, JobStarted)] == [Held, Continued, JobStarted]


def test_a_pause_taken_back_before_the_next_step_is_not_told(file):
    job, path = file()

    run = Run([start(job, path), LEAVE], between={2: [Pause(), Resume()]})

    assert run.told(Held, Continued) == []
    assert len(run.steps) == 5


def test_resume_without_pause_changes_nothing(file):
    job, path = file()

    run = Run([Resume(), start(job, path), LEAVE], between={1: [Resume()]})

    assert run.told(Held, Continued) == []
    assert run.told(JobEnded)[0].record.outcome is Outcome.COMPLETED


# ---- skip


def test_skip_ends_the_job_at_the_next_step_and_keeps_what_was_learned(file):
    job, path = file("a")
    next_job, next_path = file("b", 2)
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
    assert run.learner.saved_steps == [2, 3]  # at once: somebody waits to see the file leave
    assert run.learner.saved[0].finished == [skipped.record]
    assert run.learner.saved[0].cursors == {}


def test_skip_while_paused_ends_the_job_and_stays_paused(file):
    job, path = file("a")
    next_job, next_path = file("b", 2)

    run = Run(
        [start(job, path), SkipJob(job_id="a"), start(next_job, next_path), Resume(), LEAVE],
        between={2: [Pause()]},
    )

    events = run.told(Held, JobEnded, Continued, JobStarted)
    assert [type(event) for event in events] == [JobStarted, Held, JobEnded, Continued, JobStarted, JobEnded]
    assert run.told(JobEnded)[0].record.steps == 2


def test_a_job_skipped_before_it_began_takes_no_step_and_needs_no_checkpoint(file):
    job, path = file("a")

    run = Run([Pause(), start(job, path), SkipJob(job_id="a"), Resume(), LEAVE])

    [ended] = run.told(JobEnded)
    assert (ended.record.outcome, ended.record.steps, ended.durable) == (Outcome.SKIPPED, 0, True)
    assert run.trained == []
    assert run.learner.saved == []


def test_a_job_skipped_before_it_went_on_needs_a_checkpoint_that_has_forgotten_its_cursor(file):
    job, path = file("a")
    stopped = Run([start(job, path), LEAVE], between={2: [LEAVE]}).learner

    run = Run(
        [Pause(), start(job, path), SkipJob(job_id="a"), LEAVE],
        learner=FakeLearner(stopped.progress),
    )

    [ended] = run.told(JobEnded)
    assert (ended.record.steps, ended.record.rows_trained, ended.durable) == (2, 4, False)
    assert run.learner.saved[-1].cursors == {}
    assert run.learner.saved[-1].finished == [ended.record]


def test_a_skip_that_names_another_job_does_not_touch_this_one(file):
    job, path = file("a")

    run = Run([start(job, path), LEAVE], between={2: [SkipJob(job_id="b")]})

    assert run.told(JobEnded)[0].record.outcome is Outcome.COMPLETED
    assert len(run.trained) == 5


# ---- shut down and go on


def test_shut_down_in_the_middle_of_a_file_saves_its_cursor_and_ends_no_job(file):
    job, path = file()

    run = Run([start(job, path)], between={2: [LEAVE]})

    assert len(run.trained) == 2
    assert run.told(JobEnded) == []
    [saved] = run.learner.saved
    assert (saved.global_step, saved.cursors["a"].step, saved.cursors["a"].rows_trained) == (2, 2, 4)
    assert run.told(CheckpointPublished)[0].finished == ()


def test_shut_down_while_paused_does_not_save_twice(file):
    job, path = file()

    run = Run([start(job, path), LEAVE], between={2: [Pause()]})

    assert run.learner.saved_steps == [2]
    assert run.told(JobEnded) == []


def test_shut_down_without_any_step_saves_nothing():
    run = Run([LEAVE])

    assert run.learner.saved == []


@pytest.mark.parametrize(
    "stop_after", [1, 2, 3, 4, 5]
)  # 3 steps are an epoch: its end is a place like any other
def test_a_stopped_file_goes_on_with_the_row_and_the_noise_that_were_next(file, stop_after):
    job, path = file("a", 5)
    settings = settings_with(training={"epochs": 2})
    whole = Run([start(job, path, settings), LEAVE])
    before = Run([start(job, path, settings)], between={stop_after: [LEAVE]})

    after = Run([start(job, path, settings), LEAVE], learner=FakeLearner(before.learner.saved[-1]))

    assert after.told(JobStarted)[0].first_step == stop_after
    assert before.token_ids + after.token_ids == whole.token_ids
    seeds = [bundle.noise_seed for bundle in before.trained + after.trained]
    assert seeds == [bundle.noise_seed for bundle in whole.trained]
    assert after.told(JobEnded)[0].record == whole.told(JobEnded)[0].record
    assert after.learner.progress == whole.learner.progress


def test_every_row_is_trained_exactly_once_an_epoch(file):
    job, path = file("a", 7)

    run = Run([start(job, path, settings_with(training={"epochs": 3, "batch_size": 3})), LEAVE])

    epochs = [run.token_ids[i : i + 3] for i in (0, 3, 6)]
    as_sets = [{tuple(ids) for step in epoch for ids in step} for epoch in epochs]
    assert [[len(step) for step in epoch] for epoch in epochs] == [[3, 3, 1]] * 3
    assert [len(epoch) for epoch in as_sets] == [7, 7, 7]
    assert as_sets[0] == as_sets[1] == as_sets[2]
    assert epochs[0] != epochs[1]


def test_a_job_goes_on_with_the_settings_it_began_with(file):
    job, path = file("a", 6)
    began_with = settings_with(training={"learning_rate": 0.5, "batch_size": 2})
    by_now = settings_with(training={"learning_rate": 0.1, "batch_size": 3})
    before = Run([start(job, path, began_with)], between={1: [LEAVE]})

    after = Run([start(job, path, by_now), LEAVE], learner=FakeLearner(before.learner.saved[-1]))

    assert after.learner.used == [began_with]
    assert [len(bundle.examples) for bundle in after.trained] == [2, 2]


def test_the_job_after_one_that_went_on_has_its_own_settings(file):
    job, path = file("a", 4)
    next_job, next_path = file("b", 3)
    began_with, by_now = settings_with(), settings_with(training={"batch_size": 3})
    before = Run([start(job, path, began_with)], between={1: [LEAVE]})

    after = Run(
        [start(job, path, by_now), start(next_job, next_path, by_now), LEAVE],
        learner=FakeLearner(before.learner.saved[-1]),
    )

    assert after.learner.used == [began_with, by_now]
    assert [len(bundle.examples) for bundle in after.trained] == [2, 3]


def test_a_cursor_of_another_plan_is_not_applied(file):
    job, path = file("a")
    cursor = Cursor(
        job_id="a",
        sha256=job.sha256,
        plan="another",
        step=2,
        rows_trained=4,
        settings=settings_with().model_dump(mode="json"),
    )

    run = Run([start(job, path), LEAVE], learner=FakeLearner(Progress(global_step=2, cursors={"a": cursor})))

    [ended] = run.told(JobEnded)
    assert ended.record.outcome is Outcome.FAILED
    assert "the checkpoint counts steps of plan another" in ended.record.message
    assert run.trained == []
    assert run.learner.saved[-1].cursors == {}


def test_forgotten_jobs_lose_their_cursors_in_the_next_checkpoint(file):
    job, path = file("a", 2)
    old = Cursor(job_id="x", sha256="", plan="", step=1, rows_trained=1, settings={})
    progress = Progress(cursors={"x": old, "y": old.model_copy(update={"job_id": "y"})})

    run = Run(
        [ForgetJobs(job_ids=("x", "unheard of")), start(job, path), LEAVE], learner=FakeLearner(progress)
    )

    assert list(run.learner.saved[-1].cursors) == ["y"]


# ---- saving


def test_files_that_finish_close_together_share_one_checkpoint(file):
    settings = settings_with(checkpoints={"group_commit_s": 5.0})
    orders = [start(*file(name, 2), settings) for name in "abc"]

    run = Run([*orders, Pass(5.0), LEAVE])

    [published] = run.told(CheckpointPublished)
    assert [record.job_id for record in published.finished] == ["a", "b", "c"]


@pytest.mark.parametrize("waited_s, num_saved", [(4.99, 0), (5.0, 1)])
def test_a_finished_file_waits_no_longer_than_the_group_commit(file, waited_s, num_saved):
    settings = settings_with(checkpoints={"group_commit_s": 5.0})
    learner = FakeLearner()
    saved_by_then = []

    Run(
        [
            start(*file("a", 2), settings),
            Pass(waited_s),
            lambda: saved_by_then.append(len(learner.saved)),
            LEAVE,
        ],
        learner=learner,
    )

    assert saved_by_then == [num_saved]
    assert learner.saved_steps == [1]


def test_the_group_commit_comes_while_the_next_file_trains(file):
    settings = settings_with(checkpoints={"group_commit_s": 5.0})
    short, long = file("a", 2), file("b", 10)

    run = Run([start(*short, settings), start(*long, settings), LEAVE], step_s=2.5)

    assert run.learner.saved_steps == [3, 6]  # a ends after step 1, and 5 s later two steps of b are done
    assert [record.job_id for record in run.learner.saved[0].finished] == ["a"]
    assert run.learner.saved[0].cursors["b"].step == 2


def test_an_empty_queue_makes_finished_files_durable_at_once(file):
    settings = settings_with(checkpoints={"group_commit_s": 1e9})
    learner = FakeLearner()
    saved_by_then = []

    Run(
        [
            start(*file("a", 2), settings),
            QueueEmpty(),
            lambda: saved_by_then.append(len(learner.saved)),
            LEAVE,
        ],
        learner=learner,
    )

    assert saved_by_then == [1]


def test_a_queue_known_to_be_empty_while_the_last_file_trains_needs_no_second_word(file):
    settings = settings_with(checkpoints={"group_commit_s": 1e9})
    learner = FakeLearner()
    saved_by_then = []

    Run(
        [start(*file("a", 4), settings), lambda: saved_by_then.append(len(learner.saved)), LEAVE],
        between={1: [QueueEmpty()]},
        learner=learner,
    )

    assert saved_by_then == [1]


def test_a_new_order_takes_the_word_of_the_empty_queue_back(file):
    settings = settings_with(checkpoints={"group_commit_s": 1e9})
    learner = FakeLearner()
    saved_by_then = []

    Run(
        [
            QueueEmpty(),
            start(*file("a", 4), settings),
            lambda: saved_by_then.append(len(learner.saved)),
            LEAVE,
        ],
        learner=learner,
    )

    assert saved_by_then == [0]


def test_checkpoints_are_saved_by_time_and_at_the_end(file):
    job, path = file("a", 12)
    settings = settings_with(checkpoints={"interval_s": 10.0})

    at_the_edge = Run([start(job, path, settings), LEAVE], step_s=5.0)
    beyond_it = Run([start(job, path, settings), LEAVE], step_s=4.0)

    assert at_the_edge.learner.saved_steps == [2, 4, 6]
    assert beyond_it.learner.saved_steps == [3, 6]
    assert beyond_it.learner.saved[0].cursors["a"].step == 3


def test_a_model_that_learned_nothing_since_is_not_saved_again(file):
    settings = settings_with(checkpoints={"interval_s": 10.0, "group_commit_s": 1.0})

    run = Run(
        [start(*file("a", 2), settings), QueueEmpty(), QueueEmpty(), LEAVE], settings=settings, step_s=50.0
    )

    assert run.learner.saved_steps == [1]


def test_so_many_finished_files_that_one_could_be_forgotten_are_saved_early(file, monkeypatch):
    monkeypatch.setattr(session_module, "COMMIT_AT_THE_LATEST", 2)
    settings = settings_with(checkpoints={"group_commit_s": 1e9})

    run = Run([*(start(*file(name, 2), settings) for name in "abc"), LEAVE])

    assert run.learner.saved_steps == [2, 3]


def test_a_checkpoint_remembers_only_the_latest_finished_files(file, monkeypatch):
    monkeypatch.setattr(session_module, "FINISHED_KEPT", 3)

    run = Run([*(start(*file(name, 2)) for name in "abcde"), LEAVE])

    assert [record.job_id for record in run.learner.saved[-1].finished] == ["c", "d", "e"]
    published = [record.job_id for event in run.told(CheckpointPublished) for record in event.finished]
    assert published == list("abcde")


@pytest.mark.parametrize(
    "between, step_s",
    [({2: [Pause()]}, 0.0), ({}, 1e9), ({2: [LEAVE]}, 0.0)],
    ids=["at a pause", "by time", "on leaving"],
)
def test_a_disk_that_is_full_when_saving_is_not_the_files_fault(file, between, step_s):
    learner = FakeLearner()
    learner.save_error = OSError(28, "No space left on device")
    events: list[Event] = []

    with pytest.raises(OSError, match="No space left"):
        Run([start(*file()), Resume(), LEAVE], between=between, learner=learner, step_s=step_s, events=events)

    assert [event for event in events if isinstance(event, JobEnded)] == []


# ---- files that cannot be trained


def test_a_bad_row_fails_its_file_keeps_the_steps_before_and_lets_the_next_file_train(file):
    bad_line = 4
    job, path = file("a", [*rows(bad_line - 1), {"messages": []}, *rows(16, start=bad_line)])
    settings = settings_with(training={"batch_size": 1}, checkpoints={"group_commit_s": 1e9})
    next_job, next_path = file("b", 2)

    run = Run([start(job, path, settings), start(next_job, next_path, settings), LEAVE])

    failed, completed = run.told(JobEnded)
    assert (failed.record.outcome, failed.fault) == (Outcome.FAILED, FaultKind.BAD_DATA)
    assert failed.record.message.startswith("line 4: messages is an empty list")
    assert 0 < failed.record.steps == failed.record.rows_trained < 20
    assert run.learner.saved[0].finished == [failed.record]
    assert completed.record.outcome is Outcome.COMPLETED


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda path: write_jsonl(path, rows(10, start=1)), "it was changed after it was accepted"),
        (lambda path: path.unlink(), "No such file"),
        (lambda path: path.rename(path.with_name("x")) and path.symlink_to("x"), "symbolic links"),
    ],
)
def test_a_file_that_is_not_the_one_checked_takes_no_step_and_the_session_goes_on(file, spoil, message):
    job, path = file("a")
    spoil(path)
    next_job, next_path = file("b", 2)

    run = Run([start(job, path), start(next_job, next_path), LEAVE])

    failed, completed = run.told(JobEnded)
    assert (failed.record.outcome, failed.fault, failed.record.steps) == (
        Outcome.FAILED,
        FaultKind.BAD_DATA,
        0,
    )
    assert message in failed.record.message
    assert failed.durable  # nothing was learned, so there is nothing to wait for
    assert run.learner.saved_steps == [1]
    assert run.learner.saved[0].finished == [completed.record]


def test_fewer_rows_than_were_checked_fail_the_file(file):
    job, path = file("a", 3)

    run = Run([start(job.model_copy(update={"rows": 4}), path), LEAVE])

    assert "3 rows can be read, but 4 were checked" in run.told(JobEnded)[0].record.message


def test_a_profile_nobody_knows_is_the_settings_fault_and_ends_no_job(file):
    learner = FakeLearner()

    with pytest.raises(UnknownProfile, match=r'profile\.name is "rot13"; expected one of plain'):
        Run([start(*file(), settings_with(profile={"name": "rot13"})), LEAVE], learner=learner)

    assert learner.progress == Progress()


# ---- the next file is made ready


def test_a_prepared_file_is_trained_although_it_was_moved_since(file):
    job, path = file("a")
    next_job, next_path = file("b", 2)
    settings = settings_with(
        data={"prefetch_steps": 1}
    )  # so that the hint is worked off within the first file

    run = Run(
        [
            start(job, path, settings),
            lambda: next_path.rename(next_path.with_name("moved")),
            start(next_job, next_path, settings),
            LEAVE,
        ],
        between={1: [PrepareJob(job=next_job, path=str(next_path))]},
    )

    assert [event.record.outcome for event in run.told(JobEnded)] == [Outcome.COMPLETED, Outcome.COMPLETED]


def test_a_hint_that_names_a_place_the_file_has_left_does_not_fail_it(file):
    job, path = file("a", 2)

    run = Run([PrepareJob(job=job, path=str(path.with_name("gone"))), start(job, path), LEAVE])

    assert run.told(JobEnded)[0].record.outcome is Outcome.COMPLETED


def test_a_prepared_file_that_was_overtaken_is_let_go_and_opened_again_later(file):
    prepared_job, prepared_path = file("a", 2)
    urgent_job, urgent_path = file("b", 2)
    hint = PrepareJob(job=prepared_job, path=str(prepared_path))

    run = Run([hint, start(urgent_job, urgent_path), start(prepared_job, prepared_path), LEAVE])

    assert [event.record.job_id for event in run.told(JobEnded)] == ["b", "a"]


def test_a_prepared_file_that_is_never_ordered_is_let_go(file):
    job, path = file("a", 2)

    Run([PrepareJob(job=job, path=str(path)), LEAVE])

    # the fixture looks for files left open


# ---- validation


def validated_every(interval_steps: int) -> Settings:
    return settings_with(validation={"file": "v.jsonl", "interval_steps": interval_steps})


@pytest.mark.parametrize("interval_steps, at", [(2, [2, 4, 5]), (5, [5]), (500, [5]), (1, [1, 2, 3, 4, 5])])
def test_validation_comes_every_few_steps_and_once_at_the_end_of_a_file(file, interval_steps, at):
    run = Run([start(*file(), validated_every(interval_steps)), LEAVE])

    assert run.learner.validated_at == at
    assert run.told(Validated) == [Validated(global_step=step, loss=0.5, rows=7) for step in at]


def test_validation_counts_steps_of_the_models_life(file):
    run = Run([start(*file(name, 6), validated_every(4)) for name in "ab"] + [LEAVE])

    assert run.learner.validated_at == [3, 4, 6]


def test_without_a_validation_file_nothing_is_validated(file):
    run = Run([start(*file()), LEAVE])

    assert run.learner.validated_at == []


def test_a_skipped_file_is_not_validated(file):
    run = Run([start(*file(), validated_every(500)), LEAVE], between={2: [SkipJob(job_id="a")]})

    assert run.learner.validated_at == []


# ---- what it says it is doing


def test_the_section_tells_what_is_being_done(file):
    seen: dict[str, str] = {}
    learner = FakeLearner()
    reporter = Reporter(lambda event: None, clock=FakeClock())
    learner.save = lambda keep_last: (  # type: ignore[method-assign]
        seen.update(save=reporter.section) or CheckpointRef(path="", step=0, at="")
    )
    learner.validation_loss = lambda settings: seen.update(validation=reporter.section)  # type: ignore[method-assign]
    waiting = deque(
        [
            lambda: seen.update(before=reporter.section),
            start(*file("a", 4), validated_every(500)),
            lambda: seen.update(held=reporter.section),
            Resume(),
            LEAVE,
        ]
    )
    script = Script(FakeClock(), learner, waiting, {1: [Pause()]})

    for _ in Session(learner, script, reporter, settings_with(), clock=FakeClock()).bundles():
        seen["step"] = reporter.section

    assert seen == {
        "before": "idle",
        "step": "training",
        "save": "saving",
        "held": "paused",
        "validation": "evaluating",
    }
