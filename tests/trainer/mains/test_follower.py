"""A process that shares the worker's steps takes them as they come."""

from types import SimpleNamespace

from tests.trainer.engine_rig import settings_with
from tests.trainer.step_rig import bundle, example
from trainer.config.schema import TrainingSettings
from trainer.distributed.sharding import ORDERS, LoadReplica, TakeStep, UseSettings
from trainer.mains.follower import load, shards
from trainer.session.batch_size_store import FILE_NAME


class UsedSettings:
    """As much of a trainer as takes settings."""

    def __init__(self):
        self.used = []

    def use(self, settings):
        self.used.append(settings)


def step(**fields):
    """Return the order to take a step, as it comes out of the socket."""
    return ORDERS.validate_python(TakeStep.of(bundle(example(5), **fields)).model_dump(mode="json"))


def test_a_shard_is_taken_by_the_settings_that_came_before_it():
    trainer = UsedSettings()
    settings = [TrainingSettings(learning_rate=rate) for rate in (1e-3, 1e-4)]
    first, second = (UseSettings(training=one.model_dump(mode="json")) for one in settings)

    taken = [len(trainer.used) for _ in shards(iter([first, step(), second, step()]), trainer)]

    assert taken == [1, 2]
    assert trainer.used == settings


def test_a_follower_neither_measures_nor_looks_at_what_the_worker_remembers(base_dir, tiny_folder):
    settings = settings_with(tiny_folder, training={"micro_batch_tokens": "auto"})
    remembered = base_dir / "models" / FILE_NAME
    remembered.parent.mkdir(parents=True)
    remembered.write_text("damaged, so whoever looks at it moves it aside")
    answers = []
    order = LoadReplica(settings=settings.model_dump(mode="json"), checkpoint=None)

    load(order, base_dir, SimpleNamespace(send=answers.append))

    assert len(answers) == 1
    assert [path.name for path in remembered.parent.glob("fit*")] == [FILE_NAME]
    assert remembered.read_text().startswith("damaged")
