"""A step's rows are dealt to the processes, the same way every time, and none is lost on the way."""

import os

import pytest

from tests.trainer.step_rig import bundle, example
from trainer.config.schema import TrainingSettings
from trainer.distributed.sharding import ORDERS, TakeStep, shard_step, threads_of_each


@pytest.mark.parametrize(
    "lengths, num_ranks, dealt",
    [
        ([5, 9, 3, 4], 2, [[9, 3], [5, 4]]),
        ([5, 5, 5], 2, [[5, 5], [5]]),
        ([9, 2, 2, 2], 2, [[9], [2, 2, 2]]),
        ([7], 3, [[7], [], []]),
        ([], 2, [[], []]),
    ],
)
def test_the_longest_row_left_goes_to_who_has_the_fewest_tokens(lengths, num_ranks, dealt):
    step = bundle(example(5))
    step.examples = [example(length) for length in lengths]

    shards = shard_step(step, num_ranks)

    assert [[len(one.token_ids) for one in shard.examples] for shard in shards] == dealt


def test_every_shard_counts_the_supervised_tokens_of_the_whole_step():
    step = bundle(example(5), example(9))

    assert [shard.num_items for shard in shard_step(step, 2)] == [12, 12]


def test_every_process_has_noise_of_its_own_that_depends_on_the_steps_seed_alone():
    first, again, other = (shard_step(bundle(step_seed=seed), 3) for seed in (7, 7, 8))

    seeds = [shard.step_seed for shard in first]

    assert seeds == [shard.step_seed for shard in again]
    assert len({*seeds, *(shard.step_seed for shard in other)}) == 6
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_a_shard_is_the_same_after_its_way_to_another_process():
    shard = shard_step(bundle(example(5), example(9), example(4), step_seed=3, micro_batch_tokens=12), 2)[1]

    as_json = TakeStep.of(shard).model_dump(mode="json")
    received = ORDERS.validate_python(as_json)

    assert received.shard() == shard


@pytest.mark.parametrize(
    "cores, settings, threads",
    [
        (8, {"processes": 2}, 4),
        (2, {"processes": 3}, 1),
        (8, {"processes": 2, "cpu_threads": 3}, 3),
        (8, {"processes": 1}, None),
        (8, {"processes": 1, "cpu_threads": 3}, 3),
    ],
)
def test_processes_divide_the_cores_unless_told_otherwise(monkeypatch, cores, settings, threads):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cores)))

    assert threads_of_each(TrainingSettings.model_validate(settings)) == threads
