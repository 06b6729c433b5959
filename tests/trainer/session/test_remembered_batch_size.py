"""What was learned about memory is part of a checkpoint: split otherwise, steps differ in their last bits."""

from pathlib import Path
from typing import Any

import pytest

from tests.support import PowerCut, job_for
from tests.trainer.engine_rig import (
    LEAVE,
    Commands,
    SmallMemory,
    Told,
    assert_same_state,
    optimizer_state,
    settings_with,
    weights_sha256,
)
from trainer.config.schema import Settings
from trainer.protocol.messages import StartJob
from trainer.session.engine import TrainerEngine

STEPS = 6  # of 3, 3 and 1 rows, twice
FULL_AT = 3  # the model's steps before the one in which memory is too small
ROW_TOKENS = 40  # one row fits, two do not


class Run:
    """One file in one working directory, trained by one process after another."""

    def __init__(self, base_dir: Path, settings: Settings, path: Path, full_at: int | None) -> None:
        base_dir.mkdir()
        self.base_dir = base_dir
        self.told = Told()
        self._settings = settings
        self._full_at = full_at
        self._order = StartJob(job=job_for(path), path=str(path), settings=settings.model_dump(mode="json"))
        self.engine = self._new_engine()

    def _new_engine(self) -> TrainerEngine:
        return TrainerEngine(self._settings, base_dir=self.base_dir, on_event=self.told.append)

    def process(self, *, kill_at: int | None = None, **order: Any) -> int:
        """Train until the end or the kill; return the step of the model's life it went on from."""
        self.engine = self._new_engine()
        began_at = self.engine.load().global_step
        SmallMemory(self.engine.trainer, fits=ROW_TOKENS, is_short=self._is_at_full_step)
        commands = Commands(self.engine, [self._order.model_copy(update=order), LEAVE], kill_at=kill_at)
        if kill_at is None:
            self.engine.run(commands)
        else:
            with pytest.raises(PowerCut):
                self.engine.run(commands)
        return began_at

    def _is_at_full_step(self) -> bool:
        return self.engine.progress.global_step == self._full_at


@pytest.fixture
def make_run(tmp_path, seven_rows, noisy_folder):
    settings = settings_with(
        noisy_folder,
        training={"epochs": 2},
        checkpoints={"interval_steps": 2, "background": "never"},
        data={"prefetch_steps": 3},
    )
    return lambda name, full_at=None: Run(tmp_path / name, settings, seven_rows, full_at)


def assert_same_result(found: Run, expected: Run) -> None:
    assert found.engine.progress.global_step == expected.engine.progress.global_step == STEPS
    assert weights_sha256(found.base_dir) == weights_sha256(expected.base_dir)
    assert_same_state(optimizer_state(found.base_dir), optimizer_state(expected.base_dir))


@pytest.fixture
def whole(make_run):
    """Return a run that was never interrupted."""
    run = make_run("whole", FULL_AT)
    run.process()
    return run


@pytest.mark.parametrize("kill_at", [FULL_AT, FULL_AT + 1, FULL_AT + 2])
def test_a_kill_before_or_after_memory_was_too_small_changes_no_bit_of_the_result(make_run, whole, kill_at):
    run = make_run("killed", FULL_AT)

    run.process(kill_at=kill_at)
    went_on_from = run.process()

    assert went_on_from == (4 if kill_at > 4 else 2), "from before or after the step in question"
    assert_same_result(run, whole)


def test_steps_that_are_split_otherwise_are_not_the_same_to_the_bit(make_run, whole):
    """Otherwise the other tests here would show nothing."""
    roomy = make_run("roomy")

    roomy.process()

    assert weights_sha256(roomy.base_dir) != weights_sha256(whole.base_dir)


@pytest.mark.parametrize("kill_at, is_told_again", [(4, True), (5, True), (5, False)])
def test_a_budget_that_the_daemon_has_learned_holds_from_the_checkpoint_on_after_any_further_kill(
    make_run, kill_at, is_told_again
):
    once, twice = make_run("once"), make_run("twice")
    for run in (once, twice):
        run.process(kill_at=3)  # by the system, for its memory
    once.process(micro_batch_tokens=ROW_TOKENS)

    twice.process(kill_at=kill_at, micro_batch_tokens=ROW_TOKENS)
    # A ledger that was lost meanwhile does no harm once a checkpoint has the lesson
    twice.process(micro_batch_tokens=ROW_TOKENS if is_told_again else None)

    assert_same_result(twice, once)
