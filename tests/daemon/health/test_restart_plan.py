"""What a restart would do with the files, compared with what the plan of each file says."""

import os
from dataclasses import replace

import pytest

from daemon.files.identity import identity_of
from daemon.health.restart_plan import CannotGoOn, GoesOn, plan_restart, processed_inodes
from daemon.ledger.ledger import Ledger
from daemon.ledger.reader import read_completed, read_jobs
from tests.health import cursor_of, note_jobs, plan_of
from tests.support import FakeClock, job_for, rows, write_jsonl
from trainer.config.schema import DaemonSettings, Settings, TrainingSettings
from trainer.data.plan import Replay
from trainer.protocol.job import EarlierFile, JobRecord, Outcome, Priority, Window
from trainer.protocol.manifest import Progress

SMALL_STEPS = Settings(training=TrainingSettings(batch_size=2, gradient_accumulation=1))


def planned(layout, progress=None, settings=SMALL_STEPS):
    jobs = read_jobs(layout.ledger_file, inodes=processed_inodes(layout))
    completed = read_completed(layout.ledger_file)
    return plan_restart(layout, jobs, progress or Progress(), settings, completed=completed)


def at(job, step, settings=SMALL_STEPS):
    """Return the progress of a model that has trained `step` steps of a job."""
    return Progress(global_step=step, cursors={job.id: cursor_of(job, settings, step=step)})


def test_a_begun_file_goes_on_at_the_lines_of_its_next_step(layout):
    path = write_jsonl(layout.processing / "chat.jsonl", rows(10))
    [job] = note_jobs(layout, (path, Priority.NORMAL))

    first = planned(layout, at(job, 3)).first

    positions = plan_of(job, SMALL_STEPS).positions(3)
    assert first == GoesOn(
        file="queue/processing/chat.jsonl",
        job_id=job.id,
        step=4,
        total_steps=5,
        lines=tuple(position + 1 for position in positions),
    )


def test_blank_lines_count_in_the_numbers_of_lines(layout):
    path = write_jsonl(layout.processing / "chat.jsonl", ["", "", *rows(1)])
    [job] = note_jobs(layout, (path, Priority.NORMAL))

    assert planned(layout).first.lines == (3,)
    assert planned(layout).first.job_id == job.id


def test_a_begun_file_keeps_the_settings_that_it_started_with(layout):
    path = write_jsonl(layout.processing / "chat.jsonl", rows(12))
    [job] = note_jobs(layout, (path, Priority.NORMAL))
    now = Settings(training=TrainingSettings(batch_size=4, gradient_accumulation=1))

    first = planned(layout, at(job, 1), settings=now).first

    assert first.total_steps == 6
    assert len(first.lines) == 2


def test_steps_that_are_left_out_are_passed_over(layout):
    path = write_jsonl(layout.processing / "chat.jsonl", rows(10))
    [job] = note_jobs(layout, (path, Priority.NORMAL))
    ledger = Ledger(layout.ledger_file, clock=FakeClock())
    ledger.leave_out(job.id, Window(first=1, last=2))
    ledger.close()

    assert planned(layout, at(job, 1)).first.step == 4


@pytest.mark.parametrize("preempt, overtaken_by", [(True, "queue/high/urgent.jsonl"), (False, None)])
def test_a_begun_file_comes_before_a_more_urgent_one_which_then_may_take_over(layout, preempt, overtaken_by):
    urgent = write_jsonl(layout.waiting(Priority.HIGH) / "urgent.jsonl", rows(2))
    begun = write_jsonl(layout.processing / "begun.jsonl", rows(3))
    note_jobs(layout, (urgent, Priority.HIGH), (begun, Priority.LOW))
    settings = Settings(daemon=DaemonSettings(preempt=preempt))

    plan = planned(layout, settings=settings)

    assert plan.first.file == "queue/processing/begun.jsonl"
    assert plan.overtaken_by == overtaken_by
    assert plan.others == 1


def test_waiting_files_come_by_priority_and_then_by_arrival(layout):
    paths = [
        write_jsonl(layout.waiting(priority) / name, rows(number))
        for number, (name, priority) in enumerate(
            [("a.jsonl", Priority.LOW), ("z.jsonl", Priority.NORMAL), ("b.jsonl", Priority.NORMAL)], start=1
        )
    ]
    note_jobs(layout, *[(path, Priority(path.parent.name)) for path in paths])

    assert planned(layout).first.file == "queue/normal/z.jsonl"


def test_a_file_that_was_moved_and_renamed_by_hand_is_recognised(layout):
    path = write_jsonl(layout.waiting(Priority.LOW) / "chat.jsonl", rows(4))
    [job] = note_jobs(layout, (path, Priority.LOW))
    os.rename(path, layout.waiting(Priority.HIGH) / "urgent.jsonl")

    plan = planned(layout, at(job, 1))

    assert (plan.first.file, plan.first.step) == ("queue/high/urgent.jsonl", 2)
    assert plan.checked == ()


def test_a_file_that_the_ledger_does_not_know_is_checked_first(layout):
    write_jsonl(layout.processing / "lost.jsonl", rows(4))

    plan = planned(layout)

    assert plan.checked == ("queue/processing/lost.jsonl",)
    assert plan.first is None


def test_a_file_that_the_checkpoint_contains_whole_is_only_put_away(layout):
    path = write_jsonl(layout.processing / "done.jsonl", rows(4))
    [job] = note_jobs(layout, (path, Priority.NORMAL))
    record = JobRecord(job_id=job.id, sha256=job.sha256, outcome=Outcome.COMPLETED, rows_trained=4, steps=2)

    plan = planned(layout, Progress(finished=[record]))

    assert plan.put_away == ("queue/processing/done.jsonl",)
    assert plan.first is None


def test_a_file_that_ended_but_was_not_moved_is_only_put_away(layout):
    path = write_jsonl(layout.processing / "done.jsonl", rows(4))
    [job] = note_jobs(layout, (path, Priority.NORMAL))
    ledger = Ledger(layout.ledger_file, clock=FakeClock())
    ledger.finish_job(job, Outcome.COMPLETED.value, None, None)
    ledger.close()

    assert planned(layout).put_away == ("queue/processing/done.jsonl",)


def test_a_file_that_was_changed_cannot_go_on(layout):
    path = write_jsonl(layout.processing / "chat.jsonl", rows(4))
    before = path.stat()
    note_jobs(layout, (path, Priority.NORMAL))
    path.write_bytes(path.read_bytes().replace(b"Say 1.", b"Say 9."))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    first = planned(layout).first

    assert isinstance(first, CannotGoOn)
    assert "SHA-256" in first.reason


def test_a_cursor_of_another_plan_cannot_go_on(layout):
    path = write_jsonl(layout.processing / "chat.jsonl", rows(4))
    [job] = note_jobs(layout, (path, Priority.NORMAL))
    progress = at(job, 1)
    progress.cursors[job.id].plan = "another"

    first = planned(layout, progress).first

    assert "plan another" in first.reason


def test_without_a_ledger_nothing_is_known(layout):
    assert read_jobs(layout.ledger_file, inodes=[1]) == []


# ---- rows of earlier files

MIXED = Settings(training=TrainingSettings(batch_size=4, gradient_accumulation=1, replay_fraction=0.5))


def mixed_plan(job, *earlier):
    """Return the plan of a job that replays half of each step from earlier jobs."""
    files = tuple((one.sha256, one.rows) for one in earlier)
    return replace(plan_of(job, MIXED), replay=Replay(files=files, rows_per_step=2))


@pytest.fixture
def completed(layout):
    """Return a completed job, and the id of the next one that is begun."""
    path = write_jsonl(layout.finished(Outcome.COMPLETED) / "old.jsonl", rows(3, start=100))
    job = job_for(path, id="20250101-000000-000000")
    ledger = Ledger(layout.ledger_file, clock=FakeClock())
    ledger.add_job(job, identity_of(path.stat()), "completed")
    ledger.close()
    return job


def test_a_waiting_file_will_start_with_the_rows_that_leave_room_for_replayed_ones(layout, completed):
    path = write_jsonl(layout.waiting(Priority.NORMAL) / "chat.jsonl", rows(10))
    [job] = note_jobs(layout, (path, Priority.NORMAL))

    first = planned(layout, settings=MIXED).first

    plan = mixed_plan(job, completed)
    assert (first.step, first.total_steps) == (1, plan.num_steps) == (1, 5)
    assert first.lines == tuple(position + 1 for position in plan.positions(0))


@pytest.mark.parametrize("has_ledger", [True, False])
def test_a_begun_file_goes_on_beside_the_rows_that_were_chosen_then(layout, completed, has_ledger):
    path = write_jsonl(layout.processing / "chat.jsonl", rows(10))
    [job] = note_jobs(layout, (path, Priority.NORMAL))
    plan = mixed_plan(job, completed)
    known = EarlierFile(job_id=completed.id, name="old.jsonl", sha256=completed.sha256, rows=completed.rows)
    cursor = cursor_of(job, MIXED, step=2).model_copy(update={"plan": plan.fingerprint, "replayed": (known,)})
    ledger = Ledger(layout.ledger_file, clock=FakeClock())
    ledger.freeze_settings(job.id, MIXED.model_dump(mode="json"), (known,) if has_ledger else ())
    ledger.close()
    (layout.finished(Outcome.COMPLETED) / "old.jsonl").unlink()

    with_checkpoint = planned(layout, Progress(global_step=2, cursors={job.id: cursor})).first
    without = planned(layout).first

    assert (with_checkpoint.step, with_checkpoint.total_steps) == (3, 5)
    assert with_checkpoint.lines == tuple(position + 1 for position in plan.positions(2))
    assert (without.step, without.total_steps) == (1, 5 if has_ledger else 3)
