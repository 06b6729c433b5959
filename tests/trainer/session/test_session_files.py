"""No file can stop a session, and the next one is made ready meanwhile."""

import gzip
import threading

import pytest
import zstandard

from tests.support import PATIENCE_S, FakeClock, job_for, rows, write_jsonl
from tests.trainer.session_rig import LEAVE, FakeEngine, Run, settings_with, start
from trainer.config.schema import Settings
from trainer.profiles.base import UnknownProfile
from trainer.protocol.job import FaultKind, Outcome
from trainer.protocol.manifest import Progress
from trainer.protocol.messages import (
    JobEnded,
    Pause,
    PrepareJob,
    Resume,
    SkipJob,
    Validated,
)
from trainer.session import next_files
from trainer.session.open_job import OpenJob

# ---- packed files


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_a_packed_file_is_trained_like_its_text_and_leaves_nothing_behind(tmp_path, job_file, pack):
    plain_job, plain_path = job_file("a", 6)
    path = tmp_path / "packed"
    path.write_bytes(pack(plain_path.read_bytes()))
    job = job_for(path, rows=6)

    run = Run([start(job, path), LEAVE], scratch=tmp_path / "cache")

    trained = [text for step in run.token_ids for text in step]
    plain = [text for step in Run([start(plain_job, plain_path), LEAVE]).token_ids for text in step]
    assert sorted(trained) == sorted(plain)
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_job_reads_its_rows_by_the_names_it_began_with(job_file):
    named = [{"frage": f"Say {i}.", "antwort": f"{i} it is."} for i in range(4)]
    job, path = job_file("a", named)
    settings = settings_with(data={"fields": {"prompt": "frage", "completion": "antwort"}})
    engine = FakeEngine()
    begun = Run([start(job, path, settings), LEAVE], between={1: [LEAVE]}, engine=engine)

    gone_on = Run([start(job, path), LEAVE], engine=engine)

    expected = Run([start(*job_file("b", rows(4))), LEAVE])
    trained = [text for step in begun.token_ids + gone_on.token_ids for text in step]
    assert sorted(trained) == sorted(text for step in expected.token_ids for text in step)


# ---- files that cannot be trained


def test_a_bad_row_fails_its_file_keeps_the_steps_before_and_lets_the_next_file_train(job_file):
    bad_line = 4
    job, path = job_file("a", [*rows(bad_line - 1), {"messages": []}, *rows(16, start=bad_line)])
    settings = settings_with(training={"batch_size": 1}, checkpoints={"group_commit_s": 1e9})
    next_job, next_path = job_file("b", 2)

    run = Run([start(job, path, settings), start(next_job, next_path, settings), LEAVE])

    failed, completed = run.told(JobEnded)
    assert (failed.record.outcome, failed.fault) == (Outcome.FAILED, FaultKind.BAD_DATA)
    assert failed.record.message.startswith("line 4: messages is an empty list")
    assert 0 < failed.record.steps == failed.record.rows_trained < 20
    assert run.engine.saved[0].finished == [failed.record]
    assert completed.record.outcome is Outcome.COMPLETED


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda path: write_jsonl(path, rows(10, start=1)), "it was changed after it was accepted"),
        (lambda path: path.unlink(), "No such file"),
        (lambda path: path.rename(path.with_name("x")) and path.symlink_to("x"), "symbolic link"),
    ],
)
def test_a_file_that_is_not_the_one_checked_takes_no_step_and_the_session_goes_on(job_file, spoil, message):
    job, path = job_file("a")
    spoil(path)
    next_job, next_path = job_file("b", 2)

    run = Run([start(job, path), start(next_job, next_path), LEAVE])

    failed, completed = run.told(JobEnded)
    assert (failed.record.outcome, failed.fault, failed.record.steps) == (
        Outcome.FAILED,
        FaultKind.BAD_DATA,
        0,
    )
    assert message in failed.record.message
    assert failed.durable  # nothing was learned, so there is nothing to wait for
    assert run.engine.saved_steps == [1]
    assert run.engine.saved[0].finished == [completed.record]


def test_fewer_rows_than_were_checked_fail_the_file(job_file):
    job, path = job_file("a", 3)

    run = Run([start(job.model_copy(update={"rows": 4}), path), LEAVE])

    assert "3 rows can be read, but 4 were checked" in run.told(JobEnded)[0].record.message


def test_a_profile_nobody_knows_is_the_settings_fault_and_ends_no_job(job_file):
    engine = FakeEngine()

    with pytest.raises(UnknownProfile, match=r'profile\.name is "rot13"; expected one of plain'):
        Run([start(*job_file(), settings_with(profile={"name": "rot13"})), LEAVE], engine=engine)

    assert engine.progress == Progress()


# ---- the next file is made ready


def test_a_prepared_file_is_trained_although_it_was_moved_since(job_file, monkeypatch):
    job, path = job_file("a")
    next_job, next_path = job_file("b", 2)
    settings = settings_with(
        data={"prefetch_steps": 1}
    )  # so that the hint is worked off within the first file
    is_open = threading.Event()

    def noting(opened_job, *arguments):
        opened = open_rows(opened_job, *arguments)
        if opened_job.id == next_job.id:
            is_open.set()
        return opened

    open_rows = next_files.open_rows
    monkeypatch.setattr(next_files, "open_rows", noting)

    def move():
        assert is_open.wait(PATIENCE_S)
        next_path.rename(next_path.with_name("moved"))

    run = Run(
        [
            start(job, path, settings),
            move,
            start(next_job, next_path, settings),
            LEAVE,
        ],
        between={1: [PrepareJob(job=next_job, path=str(next_path))]},
    )

    assert [event.record.outcome for event in run.told(JobEnded)] == [Outcome.COMPLETED, Outcome.COMPLETED]


def test_a_hint_that_names_a_place_the_file_has_left_does_not_fail_it(job_file):
    job, path = job_file("a", 2)

    run = Run([PrepareJob(job=job, path=str(path.with_name("gone"))), start(job, path), LEAVE])

    assert run.told(JobEnded)[0].record.outcome is Outcome.COMPLETED


def test_a_prepared_file_that_was_overtaken_is_let_go_and_opened_again_later(job_file):
    prepared_job, prepared_path = job_file("a", 2)
    urgent_job, urgent_path = job_file("b", 2)
    hint = PrepareJob(job=prepared_job, path=str(prepared_path))

    run = Run([hint, start(urgent_job, urgent_path), start(prepared_job, prepared_path), LEAVE])

    assert [event.record.job_id for event in run.told(JobEnded)] == ["b", "a"]


def test_a_prepared_file_that_is_never_ordered_is_let_go(job_file):
    job, path = job_file("a", 2)

    Run([PrepareJob(job=job, path=str(path)), LEAVE])

    # the fixture looks for files left open


# ---- validation


def validated_every(interval_steps: int) -> Settings:
    return settings_with(validation={"file": "v.jsonl", "interval_steps": interval_steps})


@pytest.mark.parametrize(
    "interval_steps, at", [(2, [0, 2, 4, 5]), (5, [0, 5]), (500, [0, 5]), (1, [0, 1, 2, 3, 4, 5])]
)
def test_validation_comes_first_every_few_steps_and_once_at_the_end_of_a_file(job_file, interval_steps, at):
    run = Run([start(*job_file(), validated_every(interval_steps)), LEAVE])

    assert run.engine.validated_at == at
    assert run.told(Validated) == [Validated(global_step=step, loss=0.5, rows=7) for step in at]


def test_validation_counts_steps_of_the_models_life(job_file):
    run = Run([start(*job_file(name, 6), validated_every(4)) for name in "ab"] + [LEAVE])

    assert run.engine.validated_at == [0, 3, 4, 6]


def test_without_a_validation_file_nothing_is_validated(job_file):
    run = Run([start(*job_file()), LEAVE])

    assert run.engine.validated_at == []


def test_a_skipped_file_is_not_validated_at_its_end(job_file):
    run = Run([start(*job_file(), validated_every(500)), LEAVE], between={2: [SkipJob(job_id="a")]})

    assert run.engine.validated_at == [0]


def test_nothing_is_validated_before_a_pause_ends_and_then_once(job_file):
    settings = validated_every(500)

    run = Run([Pause(), start(*job_file(), settings), Resume(), Pause(), Resume(), LEAVE])

    assert run.engine.validated_at == [0, 5]


def test_a_step_says_how_long_it_waited_for_its_rows(job_file, monkeypatch):
    job, path = job_file("a", 6)
    clock = FakeClock()
    whole = OpenJob.bundles

    def slowly(opened):
        for bundle in whole(opened):
            clock.now += 3.0
            yield bundle

    monkeypatch.setattr(OpenJob, "bundles", slowly)

    run = Run([start(job, path), LEAVE], clock=clock, step_s=0.5)

    assert [(step.waited_s, step.seconds) for step in run.steps] == [(3.0, 0.5)] * 3
