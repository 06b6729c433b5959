"""A session saves when it should, and waits when it cannot."""

from collections.abc import Callable

import pytest

from tests.trainer.session_rig import LEAVE, After, FakeEngine, Pass, Run, settings_with, start
from trainer.protocol.job import Outcome
from trainer.protocol.messages import (
    Blocked,
    ChangeCheckpoints,
    CheckpointPublished,
    Continued,
    Event,
    Held,
    JobEnded,
    Pause,
    PrepareJob,
    QueueEmpty,
    Resume,
    SkipJob,
    Unblocked,
)
from trainer.session import saver as saver_module
from trainer.session import session as session_module
from trainer.session.saver import why_not_saved

# ---- saving


def test_files_that_finish_close_together_share_one_checkpoint(job_file):
    settings = settings_with(checkpoints={"group_commit_s": 5.0})
    orders = [start(*job_file(name, 2), settings) for name in "abc"]

    run = Run([*orders, Pass(5.0), LEAVE])

    [published] = run.told(CheckpointPublished)
    assert [record.job_id for record in published.finished] == ["a", "b", "c"]


def test_a_finished_file_waits_no_longer_than_the_group_commit(job_file):
    settings = settings_with(checkpoints={"group_commit_s": 5.0})

    run = Run([start(*job_file("a", 2), settings), After(2.0, Resume()), Pass(3.0), LEAVE])

    assert run.script.waits == [None, 5.0, 3.0, None]
    assert run.engine.saved_steps == [1]


def test_the_group_commit_comes_while_the_next_file_trains(job_file):
    settings = settings_with(checkpoints={"group_commit_s": 5.0})
    short, long = job_file("a", 2), job_file("b", 10)

    run = Run([start(*short, settings), start(*long, settings), LEAVE], step_s=2.5)

    assert run.engine.saved_steps == [3, 6]  # a ends after step 1, and 5 s later two steps of b are done
    assert [record.job_id for record in run.engine.saved[0].finished] == ["a"]
    assert run.engine.saved[0].cursors["b"].step == 2


def test_an_empty_queue_makes_finished_files_durable_at_once(job_file):
    settings = settings_with(checkpoints={"group_commit_s": 1e9})
    engine = FakeEngine()
    saved_by_then = []

    Run(
        [
            start(*job_file("a", 2), settings),
            QueueEmpty(),
            lambda: saved_by_then.append(len(engine.saved)),
            LEAVE,
        ],
        engine=engine,
    )

    assert saved_by_then == [1]


def test_a_queue_known_to_be_empty_while_the_last_file_trains_needs_no_second_word(job_file):
    settings = settings_with(checkpoints={"group_commit_s": 1e9})
    engine = FakeEngine()
    saved_by_then = []

    Run(
        [start(*job_file("a", 4), settings), lambda: saved_by_then.append(len(engine.saved)), LEAVE],
        between={1: [QueueEmpty()]},
        engine=engine,
    )

    assert saved_by_then == [1]


def test_a_new_order_takes_the_word_of_the_empty_queue_back(job_file):
    settings = settings_with(checkpoints={"group_commit_s": 1e9})
    engine = FakeEngine()
    saved_by_then = []

    Run(
        [
            QueueEmpty(),
            start(*job_file("a", 4), settings),
            lambda: saved_by_then.append(len(engine.saved)),
            LEAVE,
        ],
        engine=engine,
    )

    assert saved_by_then == [0]


def test_checkpoints_are_saved_by_time_and_at_the_end(job_file):
    job, path = job_file("a", 12)
    settings = settings_with(checkpoints={"interval_s": 10.0})

    at_the_edge = Run([start(job, path, settings), LEAVE], step_s=5.0)
    beyond_it = Run([start(job, path, settings), LEAVE], step_s=4.0)

    assert at_the_edge.engine.saved_steps == [2, 4, 6]
    assert beyond_it.engine.saved_steps == [3, 6]
    assert beyond_it.engine.saved[0].cursors["a"].step == 3


def test_a_model_that_learned_nothing_since_is_not_saved_again(job_file):
    settings = settings_with(checkpoints={"interval_s": 10.0, "group_commit_s": 1.0})

    run = Run(
        [start(*job_file("a", 2), settings), QueueEmpty(), QueueEmpty(), LEAVE],
        settings=settings,
        step_s=50.0,
    )

    assert run.engine.saved_steps == [1]


def test_so_many_finished_files_that_one_could_be_forgotten_are_saved_early(job_file, monkeypatch):
    monkeypatch.setattr(saver_module, "COMMIT_AT_THE_LATEST", 2)
    settings = settings_with(checkpoints={"group_commit_s": 1e9})

    run = Run([*(start(*job_file(name, 2), settings) for name in "abc"), LEAVE])

    assert run.engine.saved_steps == [2, 3]


def test_a_checkpoint_remembers_only_the_latest_finished_files(job_file, monkeypatch):
    monkeypatch.setattr(session_module, "FINISHED_KEPT", 3)

    run = Run([*(start(*job_file(name, 2)) for name in "abcde"), LEAVE])

    assert [record.job_id for record in run.engine.saved[-1].finished] == ["c", "d", "e"]
    published = [record.job_id for event in run.told(CheckpointPublished) for record in event.finished]
    assert published == list("abcde")


# ---- when it cannot


FULL = OSError(28, "No space left on device")


def spoil(engine: FakeEngine, error: OSError | None = FULL) -> Callable[[], None]:
    """Return what lets saving fail from now on, or work again."""
    return lambda: setattr(engine, "save_error", error)


def kinds(run: Run, *of_interest: type[Event]) -> list[type[Event]]:
    return [type(event) for event in run.told(*of_interest)]


def test_a_disk_that_is_full_blocks_until_there_is_room_and_loses_nothing(job_file):
    engine = FakeEngine()
    engine.save_error = FULL
    settings = settings_with(checkpoints={"group_commit_s": 1e9})

    run = Run(
        [
            start(*job_file("a", 4), settings),
            QueueEmpty(),
            Pass(5.0),
            Pass(5.0),
            spoil(engine, None),
            Pass(5.0),
            start(*job_file("b", 2), settings),
            LEAVE,
        ],
        engine=engine,
    )

    assert kinds(run, Blocked, Unblocked, CheckpointPublished)[:3] == [
        Blocked,
        CheckpointPublished,
        Unblocked,
    ]
    assert run.told(Blocked)[0].reason == why_not_saved(FULL)
    assert [record.job_id for record in run.told(CheckpointPublished)[0].finished] == ["a"]
    assert engine.saved_steps == [2, 3]
    assert run.script.waits[2:5] == [5.0] * 3


@pytest.mark.parametrize(
    "between, step_s, blocked_at",
    [({2: [Pause()]}, 0.0, 2), ({}, 1e9, 1)],
    ids=["at a pause", "by time"],
)
def test_a_job_goes_on_where_it_was_once_there_is_room(job_file, between, step_s, blocked_at):
    engine = FakeEngine()
    engine.save_error = FULL

    run = Run(
        [start(*job_file()), Pass(5.0), spoil(engine, None), Pass(5.0), Resume(), LEAVE],
        between=between,
        engine=engine,
        step_s=step_s,
    )

    assert engine.saved[0].global_step == blocked_at
    assert kinds(run, Blocked, Unblocked) == [Blocked, Unblocked]
    assert [step.file_step for step in run.steps] == [1, 2, 3, 4, 5]
    assert run.told(JobEnded)[0].record.outcome is Outcome.COMPLETED


def test_another_reason_is_told_and_the_same_one_is_not(job_file):
    engine = FakeEngine()
    engine.save_error = FULL
    read_only = OSError(30, "Read-only file system")

    run = Run(
        [
            start(*job_file("a", 2)),
            QueueEmpty(),
            Pass(5.0),
            spoil(engine, read_only),
            Pass(5.0),
            Pass(5.0),
            spoil(engine, None),
            Pass(5.0),
            LEAVE,
        ],
        engine=engine,
    )

    assert [event.reason for event in run.told(Blocked)] == [why_not_saved(FULL), why_not_saved(read_only)]
    assert len(run.told(Unblocked)) == 1


def test_commands_are_obeyed_while_blocked(job_file):
    engine = FakeEngine()
    engine.save_error = FULL
    order, prepared = start(*job_file("b", 2)), job_file("c", 2)

    run = Run(
        [
            start(*job_file("a", 2)),
            QueueEmpty(),
            order,
            PrepareJob(job=prepared[0], path=str(prepared[1])),
            Pause(),
            spoil(engine, None),
            SkipJob(job_id="b"),
            LEAVE,
        ],
        engine=engine,
    )

    assert [(event.record.job_id, event.record.outcome) for event in run.told(JobEnded)] == [
        ("a", Outcome.COMPLETED),
        ("b", Outcome.SKIPPED),
    ]
    assert len(run.told(Held)) == 1


def test_a_blocked_session_that_is_told_to_leave_tries_once_more_and_gives_up(job_file):
    engine = FakeEngine()
    engine.save_error = FULL
    events: list[Event] = []

    with pytest.raises(OSError, match="No space left"):
        Run([start(*job_file("a", 2)), QueueEmpty(), Pass(5.0), LEAVE], engine=engine, events=events)

    assert [type(event) for event in events if isinstance(event, Blocked | Unblocked)] == [Blocked]


def test_a_blocked_session_that_is_told_to_leave_saves_if_it_can(job_file):
    engine = FakeEngine()
    engine.save_error = FULL

    run = Run([start(*job_file("a", 2)), QueueEmpty(), Pass(5.0), spoil(engine, None), LEAVE], engine=engine)

    assert engine.saved_steps == [1]
    assert kinds(run, Blocked, Unblocked) == [Blocked, Unblocked]


def test_a_disk_that_is_full_when_leaving_is_not_the_files_fault(job_file):
    engine = FakeEngine()
    engine.save_error = FULL
    events: list[Event] = []

    with pytest.raises(OSError, match="No space left"):
        Run([start(*job_file())], between={2: [LEAVE]}, engine=engine, events=events)

    assert [event for event in events if isinstance(event, JobEnded)] == []


def test_a_file_that_was_ordered_while_blocked_is_begun_without_another_command(job_file):
    engine = FakeEngine()
    engine.save_error = FULL

    run = Run(
        [
            start(*job_file("a", 2)),
            QueueEmpty(),
            start(*job_file("b", 2)),
            spoil(engine, None),
            Pass(5.0),
            LEAVE,
        ],
        engine=engine,
    )

    assert [event.record.job_id for event in run.told(JobEnded)] == ["a", "b"]


def test_a_pause_taken_back_while_blocked_lets_the_job_go_on_without_another_command(job_file):
    engine = FakeEngine()
    engine.save_error = FULL

    run = Run(
        [start(*job_file()), Resume(), spoil(engine, None), Pass(5.0), LEAVE],
        between={2: [Pause()]},
        engine=engine,
    )

    assert kinds(run, Held, Continued, JobEnded) == [Held, Continued, JobEnded]
    assert len(run.steps) == 5


def test_new_settings_of_checkpoints_count_at_once_also_while_blocked(job_file):
    engine = FakeEngine()
    engine.save_error = FULL
    changed = settings_with(checkpoints={"keep_last": 7}).checkpoints

    Run(
        [
            start(*job_file("a", 2)),
            QueueEmpty(),
            spoil(engine, None),
            ChangeCheckpoints(settings=changed.model_dump(mode="json")),
            LEAVE,
        ],
        engine=engine,
    )

    assert engine.saved_with[-1].keep_last == 7
    assert [settings.keep_last for settings in engine.tidied_with] == [7]
