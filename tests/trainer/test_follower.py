"""A process that shares the worker's steps takes them as they come."""

from tests.trainer.step_rig import bundle, example
from trainer.config.schema import TrainingSettings
from trainer.core.shares import ORDERS, TakeStep, UseSettings
from trainer.follower import shares


class UsedSettings:
    """As much of a trainer as takes settings."""

    def __init__(self):
        self.used = []

    def use(self, settings):
        self.used.append(settings)


def step(**fields):
    """Return the order to take a step, as it comes out of the socket."""
    return ORDERS.validate_python(TakeStep.of(bundle(example(5), **fields)).model_dump(mode="json"))


def test_a_share_is_taken_by_the_settings_that_came_before_it():
    trainer = UsedSettings()
    settings = [TrainingSettings(learning_rate=rate) for rate in (1e-3, 1e-4)]
    first, second = (UseSettings(training=one.model_dump(mode="json")) for one in settings)

    taken = [len(trainer.used) for _ in shares(iter([first, step(), second, step()]), trainer)]

    assert taken == [1, 2]
    assert trainer.used == settings
