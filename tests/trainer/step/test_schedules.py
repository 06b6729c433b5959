"""The learning rate is a function of where a step stands, whatever was trained before."""

import pytest

from tests.support import job_for, rows, write_jsonl
from tests.trainer.engine_rig import settings_with, train
from trainer.config.schema import TrainingSettings
from trainer.step.schedules import learning_rate

PEAK = 0.5


def rates(num_steps, *, first_global_step=0, **training):
    settings = TrainingSettings.model_validate({"learning_rate": PEAK, "warmup_steps": 0} | training)
    return [
        learning_rate(settings, global_step=first_global_step + step, step=step, num_steps=num_steps) / PEAK
        for step in range(num_steps)
    ]


def test_it_stays_after_the_warm_up_unless_told_otherwise():
    assert rates(5, warmup_steps=3) == [0.25, 0.5, 0.75, 1.0, 1.0]


@pytest.mark.parametrize(
    "final, expected",
    [(0.0, [1, 0.853553, 0.5, 0.146447]), (0.2, [1, 0.882843, 0.6, 0.317157]), (1.0, [1, 1, 1, 1])],
)
def test_cosine_falls_over_the_file(final, expected):
    found = rates(4, schedule="cosine", final_learning_rate_fraction=final)

    assert found == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    "fraction, final, expected",
    [
        (0.5, 0.0, [1, 1, 1, 1, 1, 1, 0.8, 0.6, 0.4, 0.2]),
        (0.2, 0.5, [1] * 8 + [1, 0.75]),
        (1.0, 0.0, [1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1]),
        (0.01, 0.0, [1] * 10),
    ],
)
def test_wsd_stays_and_then_falls_in_a_straight_line(fraction, final, expected):
    found = rates(10, schedule="wsd", decay_fraction=fraction, final_learning_rate_fraction=final)

    assert found == pytest.approx(expected)


@pytest.mark.parametrize("schedule", ["constant_with_warmup", "cosine", "wsd"])
def test_a_file_of_one_step_is_trained_with_the_full_rate(schedule):
    assert rates(1, schedule=schedule, decay_fraction=1.0) == [1.0]


def test_the_warm_up_belongs_to_the_model_and_the_decay_to_the_file():
    first, second = (
        rates(4, schedule="wsd", decay_fraction=1.0, warmup_steps=3, first_global_step=age) for age in (0, 4)
    )

    assert first == pytest.approx([0.25 * 1, 0.5 * 0.75, 0.75 * 0.5, 1 * 0.25])
    assert second == pytest.approx([1, 0.75, 0.5, 0.25])


@pytest.mark.parametrize("schedule", ["cosine", "wsd"])
def test_each_file_has_a_decay_of_its_own_and_a_stop_in_between_changes_nothing(
    tmp_path, seven_rows, noisy_folder, schedule
):
    training = {"schedule": schedule, "decay_fraction": 0.5, "epochs": 2, "warmup_steps": 0}
    settings = settings_with(noisy_folder, training=training)
    next_file = write_jsonl(tmp_path / "b.jsonl", rows(4, start=7))
    jobs = [(job_for(seven_rows, id="1"), seven_rows), (job_for(next_file, id="2"), next_file)]

    _, before = train(tmp_path / "base", settings, jobs, stop_at=4)
    _, after = train(tmp_path / "base", settings, jobs)

    found = [step.learning_rate / 1e-3 for told in (before, after) for step in told.steps]
    shape = {"schedule": schedule, "decay_fraction": 0.5}
    assert found == pytest.approx(rates(6, **shape) + rates(4, **shape))
    assert len(set(found)) > 3
