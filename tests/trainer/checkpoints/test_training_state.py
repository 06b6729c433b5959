"""What a checkpoint holds beside the weights comes back as it was, and is read without executing anything."""

import random

import numpy
import pytest
import torch

from tests.support import rows, write_jsonl
from tests.trainer.engine_rig import assert_same_state, current, loaded, settings_with
from trainer.checkpoints.tensor_tree import load_tree
from trainer.checkpoints.training_state import random_state, restore_random
from trainer.config.schema import CheckpointSettings
from trainer.mains.fault_kind import classify
from trainer.protocol.faults import BrokenModel


@pytest.fixture
def engine(base_dir, tmp_path, tiny_folder):
    engine = loaded(base_dir, settings_with(tiny_folder))
    engine.run_job(write_jsonl(tmp_path / "a.jsonl", rows(4)))
    return engine


def test_every_generator_goes_on_where_it_was():
    state = random_state()
    first = (random.random(), numpy.random.rand(), torch.rand(1), random.gauss(0, 1), numpy.random.randn())
    restore_random(state)

    again = (random.random(), numpy.random.rand(), torch.rand(1), random.gauss(0, 1), numpy.random.randn())

    assert again == first


def test_generators_of_gpus_that_are_gone_are_left_out():
    restore_random(random_state() | {"cuda": [torch.get_rng_state()] * 8})  # would raise if it were tried


def test_a_checkpoint_tells_step_scaler_and_random_numbers(engine, base_dir):
    state = load_tree(current(base_dir), "state")

    assert state["scheduler"] == {"last_epoch": 2}
    assert state["scaler"] is None
    assert set(state["random"]) == {"python", "numpy", "torch", "cuda"}


def test_a_restart_brings_the_random_numbers_back(engine, base_dir, tiny_folder):
    saved = load_tree(current(base_dir), "state")["random"]
    torch.manual_seed(1)
    random.seed(1)

    loaded(base_dir, settings_with(tiny_folder))

    assert_same_state(random_state(), saved)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("place", ["weight", "exp_avg", "exp_avg_sq"])
def test_what_is_not_finite_is_never_saved(engine, base_dir, place, number):
    before = current(base_dir).resolve()
    weight = engine.trainer.model.model.norm.weight
    tensor = weight if place == "weight" else engine.trainer.optimizer.state[weight][place]
    with torch.no_grad():
        tensor[-1] = number

    with pytest.raises(BrokenModel, match=r"norm\.weight holds numbers that are not finite") as refused:
        engine.save(CheckpointSettings())

    assert str(refused.value).startswith("model.norm" if place == "weight" else f"{place} of model.norm")
    assert current(base_dir).resolve() == before
    assert classify(refused.value) == "nan"
