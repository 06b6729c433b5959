"""When a checkpoint is due, what saving may cost, and that no ended job is forgotten."""

import os

import pytest

from tests.support import FakeClock
from tests.trainer.session_rig import FakeEngine, FakeSave
from trainer.config.schema import CheckpointSettings
from trainer.protocol.job import JobRecord, Outcome
from trainer.protocol.messages import CheckpointPublished
from trainer.reporting.reporter import Reporter
from trainer.session import saver as saver_module
from trainer.session.saver import MAX_SHARE, Saver

FULL = OSError(28, "No space left on device")


class SessionEngine(FakeEngine):
    """Saves take a while, and may be written beside training."""

    def __init__(self, clock):
        super().__init__()
        self.clock = clock
        self.save_s = 0.0
        self.beside = False
        self.saves: list[FakeSave] = []

    def save(self, settings):
        self.clock.now += self.save_s
        saving = super().save(settings)
        saving.is_there = not self.beside
        self.saves.append(saving)
        return saving


class Rig:
    def __init__(self):
        self.clock = FakeClock()
        self.engine = SessionEngine(self.clock)
        self.events = []
        self.saver = Saver(self.engine, Reporter(self.events.append, clock=self.clock), clock=self.clock)

    def train(self, *, steps=1, seconds=0.0):
        self.engine.progress.global_step += steps
        self.clock.now += seconds

    def end_job(self, id):
        record = JobRecord(job_id=id, sha256="", outcome=Outcome.COMPLETED, rows_trained=1, steps=1)
        self.saver.job_ended(record)

    @property
    def published(self):
        return [event for event in self.events if isinstance(event, CheckpointPublished)]

    def finished(self):
        return [[record.job_id for record in event.finished] for event in self.published]


@pytest.fixture
def rig():
    return Rig()


def settings_with(**values):
    return CheckpointSettings.model_validate({"interval_s": 600.0, "group_commit_s": 5.0} | values)


# ---- when


@pytest.mark.parametrize("steps, seconds, due", [(1, 599.9, False), (1, 600, True), (0, 1e6, False)])
def test_it_is_due_by_time_once_something_was_learned(rig, steps, seconds, due):
    rig.train(steps=steps, seconds=seconds)

    assert rig.saver.is_due(settings_with()) == due


@pytest.mark.parametrize("interval_steps, steps, due", [(None, 10**6, False), (3, 2, False), (3, 3, True)])
def test_it_is_due_by_steps_however_long_they_took(rig, interval_steps, steps, due):
    rig.train(steps=steps)

    assert rig.saver.is_due(settings_with(interval_steps=interval_steps)) == due


def test_steps_are_counted_from_the_last_save(rig):
    settings = settings_with(interval_steps=3)
    rig.train(steps=3)
    rig.saver.save(settings, wait=True)

    rig.train(steps=2)
    after_two = rig.saver.is_due(settings)
    rig.train()

    assert (after_two, rig.saver.is_due(settings)) == (False, True)


@pytest.mark.parametrize("save_s, wait_s", [(0.0, 600.0), (21.0, 600.0), (35.0, 1000.0)])
def test_time_between_saves_is_stretched_until_saving_costs_no_more_than_its_share(rig, save_s, wait_s):
    rig.engine.save_s = save_s
    rig.train()
    rig.saver.save(settings_with(), wait=True)

    rig.train(seconds=wait_s - 0.1)
    too_early = rig.saver.is_due(settings_with())
    rig.train(seconds=0.2)

    assert MAX_SHARE == 0.035
    assert (too_early, rig.saver.is_due(settings_with())) == (False, True)


@pytest.mark.parametrize("save_s, wait_s", [(0.0, 5.0), (0.7, 20.0)])
def test_the_group_commit_is_stretched_in_the_same_way(rig, save_s, wait_s):
    rig.engine.save_s = save_s
    rig.train()
    rig.saver.save(settings_with(), wait=True)

    rig.end_job("a")
    rig.clock.now += wait_s - 0.1
    too_early = rig.saver.is_due(settings_with())
    left_s = rig.saver.seconds_to_commit(settings_with())
    rig.clock.now += 0.2

    assert (too_early, rig.saver.is_due(settings_with())) == (False, True)
    assert left_s == pytest.approx(0.1)
    assert rig.saver.seconds_to_commit(settings_with()) == 0.0


def test_the_group_commit_counts_from_the_first_job_that_waits(rig):
    rig.end_job("a")
    rig.clock.now += 4.0
    rig.end_job("b")
    rig.clock.now += 1.0

    assert rig.saver.is_due(settings_with())


def test_nothing_is_waited_for_when_no_job_has_ended(rig):
    rig.train(seconds=1e6)

    assert rig.saver.seconds_to_commit(settings_with()) is None


def test_so_many_ended_jobs_that_one_could_be_forgotten_make_it_due(rig, monkeypatch):
    monkeypatch.setattr(saver_module, "COMMIT_AT_THE_LATEST", 2)
    settings = settings_with(group_commit_s=1e9)
    rig.end_job("a")
    one = rig.saver.is_due(settings)
    rig.end_job("b")

    assert (one, rig.saver.is_due(settings)) == (False, True)


# ---- how


def test_without_news_nothing_is_saved(rig):
    rig.saver.save(settings_with(), wait=True)

    assert rig.engine.saved == []
    assert not rig.saver.has_unsaved


def test_a_job_that_ended_without_a_step_is_news_too(rig):
    rig.end_job("a")

    rig.saver.save(settings_with(), wait=True)

    assert rig.finished() == [["a"]]
    assert not rig.saver.has_uncommitted


def test_training_goes_on_while_a_checkpoint_is_written_and_it_is_told_when_it_is_there(rig):
    rig.engine.beside, rig.engine.save_s = True, 2.0
    rig.train()
    rig.end_job("a")

    rig.saver.save(settings_with(), wait=False)
    rig.saver.finish_if_done()
    told_early = list(rig.published)
    rig.train(seconds=8.0)
    rig.engine.saves[0].is_there = True
    rig.saver.finish_if_done()

    assert told_early == []
    assert rig.finished() == [["a"]]
    [event] = rig.published
    assert (event.checkpoint.step, event.seconds, event.stall_seconds) == (1, 10.0, 2.0)
    assert rig.saver.has_unsaved  # the step that was trained meanwhile is in no checkpoint yet


def test_what_is_written_beside_training_costs_its_share_of_the_cores(rig, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    rig.engine.beside, rig.engine.save_s = True, 7.0
    rig.train()
    rig.saver.save(settings_with(), wait=False)
    rig.train(seconds=56.0)
    rig.engine.saves[0].is_there = True
    rig.saver.finish_if_done()

    rig.train(seconds=(7.0 + 56.0 / 4) / 0.035 - 0.1)
    too_early = rig.saver.is_due(settings_with(interval_s=1.0))
    rig.train(seconds=0.2)

    assert (too_early, rig.saver.is_due(settings_with(interval_s=1.0))) == (False, True)


def test_a_job_that_ends_while_a_checkpoint_is_written_waits_for_the_next(rig):
    rig.engine.beside = True
    rig.end_job("a")
    rig.saver.save(settings_with(), wait=False)
    rig.end_job("b")

    rig.saver.save(settings_with(), wait=True)

    assert rig.finished() == [["a"], ["b"]]


def test_an_idle_session_does_not_wait_while_a_checkpoint_is_on_its_way(rig):
    rig.engine.beside = True
    rig.train()
    rig.saver.save(settings_with(), wait=False)

    assert rig.saver.seconds_to_commit(settings_with()) == 0.0
    assert rig.saver.has_unsaved


def test_who_waits_gets_one_that_is_on_its_way_first(rig):
    rig.engine.beside = True
    rig.train()
    rig.saver.save(settings_with(), wait=False)

    rig.saver.save(settings_with(), wait=True)

    assert [event.checkpoint.step for event in rig.published] == [1]
    assert len(rig.engine.saved) == 1


# ---- when it fails


def test_a_save_that_cannot_begin_loses_no_ended_job(rig):
    rig.train()
    rig.end_job("a")
    rig.engine.save_error = FULL

    with pytest.raises(OSError, match="No space left"):
        rig.saver.save(settings_with(), wait=True)
    rig.engine.save_error = None
    rig.end_job("b")
    rig.saver.save(settings_with(), wait=True)

    assert rig.finished() == [["a", "b"]]


@pytest.mark.parametrize("trained_meanwhile", [0, 3])
def test_a_save_that_fails_on_its_way_gives_its_jobs_back_to_the_next(rig, trained_meanwhile):
    rig.engine.beside = True
    rig.train()
    rig.end_job("a")
    rig.saver.save(settings_with(), wait=False)
    rig.end_job("b")
    rig.train(steps=trained_meanwhile)
    rig.engine.saves[0].error, rig.engine.saves[0].is_there = FULL, True

    with pytest.raises(OSError, match="No space left"):
        rig.saver.finish_if_done()
    has_uncommitted = rig.saver.has_uncommitted
    rig.saver.save(settings_with(), wait=True)

    assert has_uncommitted
    assert rig.finished() == [["a", "b"]]
    assert [event.checkpoint.step for event in rig.published] == [1 + trained_meanwhile]


def test_a_save_that_failed_on_its_way_without_a_job_is_made_up_for(rig):
    rig.engine.beside = True
    rig.train()
    rig.saver.save(settings_with(), wait=False)
    rig.engine.saves[0].error = FULL

    with pytest.raises(OSError, match="No space left"):
        rig.saver.save(settings_with(), wait=True)
    rig.saver.save(settings_with(), wait=True)

    assert [event.checkpoint.step for event in rig.published] == [1]
