"""A loss that jumps is noticed once; noise, a slow rise and a new level are not taken for it."""

import random

import pytest

from trainer.reporting.loss_spikes import WARM_UP_STEPS, LossSpikeDetector


def learned(level: float = 2.0, noise: float = 0.1, steps: int = 200) -> LossSpikeDetector:
    guard, chance = LossSpikeDetector(), random.Random(7)
    for _ in range(steps):
        assert not guard.is_new_spike(chance.gauss(level, noise))
    return guard


@pytest.mark.parametrize(
    "loss, is_spike", [(2.0, False), (2.5, False), (3.9, False), (4.1, True), (50.0, True)]
)
def test_only_a_loss_far_above_the_usual_is_a_spike(loss, is_spike):
    guard = learned()

    assert guard.is_new_spike(loss) == is_spike


def test_a_spike_of_several_steps_is_told_once():
    guard = learned()

    assert [guard.is_new_spike(loss) for loss in (9.0, 9.5, 8.0)] == [True, False, False]


def test_a_second_spike_after_a_return_to_normal_is_told_again():
    guard = learned()

    assert [guard.is_new_spike(loss) for loss in (9.0, 2.0, 9.0)] == [True, False, True]


def test_the_first_steps_are_never_spikes():
    guard = LossSpikeDetector()

    assert not any(guard.is_new_spike(loss) for loss in [1.0] * (WARM_UP_STEPS - 1) + [100.0])


@pytest.mark.parametrize("loss, is_spike", [(3.9, False), (4.1, True)])
def test_a_very_steady_loss_may_ripple(loss, is_spike):
    guard = learned(noise=0.0)

    assert guard.is_new_spike(loss) == is_spike


def test_a_new_level_that_lasts_becomes_the_usual_one():
    guard = learned()

    for _ in range(300):
        guard.is_new_spike(6.0)

    assert guard.usual_loss == pytest.approx(6.0, abs=0.1)
