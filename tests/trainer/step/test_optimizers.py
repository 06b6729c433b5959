"""Every optimizer learns, keeps its state, and goes on exactly as if it had never stopped."""

from copy import deepcopy

import pytest
import torch

from tests.support import job_for
from tests.trainer.engine_rig import (
    PEFT_IS_BEHIND,
    assert_same_state,
    loaded,
    optimizer_state,
    settings_with,
    train,
    weights_sha256,
)
from tests.trainer.step_rig import bundle
from trainer.config.lock import LockedSetting
from trainer.step.optimizers import MuonWithAdamW, muon_with_adamw

pytestmark = pytest.mark.filterwarnings(PEFT_IS_BEHIND)

LORA = {"method": "lora", "lora_rank": 4, "lora_dropout": 0.2, "learning_rate": 1e-2}
RUNNING_HERE = ["adamw", "adamw_8bit", "adafactor", "muon"]


@pytest.fixture(params=RUNNING_HERE)
def optimizer(request):
    """Return the name of each optimizer that needs no GPU."""
    if request.param == "adamw_8bit":
        pytest.importorskip("bitsandbytes")
    return request.param


@pytest.mark.parametrize("method", [{}, LORA], ids=["full", "lora"])
def test_a_stop_in_the_middle_of_a_file_changes_no_bit_of_the_result(
    tmp_path, seven_rows, noisy_folder, optimizer, method
):
    training = {"epochs": 2, "optimizer": optimizer, "weight_decay": 0.1} | method
    settings = settings_with(noisy_folder, training=training)
    jobs = [(job_for(seven_rows), seven_rows)]
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"

    train(whole, settings, jobs)
    train(stopped, settings, jobs, stop_at=3)
    weights_at_stop = weights_sha256(stopped)
    train(stopped, settings, jobs)

    assert weights_sha256(stopped) == weights_sha256(whole) != weights_at_stop
    assert_same_state(optimizer_state(stopped), optimizer_state(whole))


def test_steps_of_any_of_them_lower_the_loss(make_trainer, optimizer):
    trainer = make_trainer(optimizer=optimizer, learning_rate=1e-2, warmup_steps=0)
    steps = [bundle() for _ in range(8)]

    trainer.feed(iter(steps))

    assert float(steps[-1].loss) < 0.8 * float(steps[0].loss)


def test_a_step_that_is_not_finite_leaves_weights_and_state_alone(make_trainer, optimizer):
    trainer = make_trainer(optimizer=optimizer, weight_decay=0.1, learning_rate=1e-2, warmup_steps=0)
    seen, broken = [], bundle()

    def steps():
        yield bundle()
        seen.append(deepcopy((trainer.model.state_dict(), trainer.optimizer.state_dict()["state"])))
        with torch.no_grad():
            kept = trainer.model.model.norm.weight[0].item()
            trainer.model.model.norm.weight[0] = float("nan")
        yield broken
        with torch.no_grad():
            trainer.model.model.norm.weight[0] = kept
        seen.append(deepcopy((trainer.model.state_dict(), trainer.optimizer.state_dict()["state"])))

    trainer.feed(steps())

    assert broken.not_applied == "the loss is nan"
    for found, expected in zip(seen[1], seen[0], strict=True):
        assert_same_state(dict(found), dict(expected))


def test_weight_decay_leaves_norms_alone(make_trainer, optimizer):
    trainer = make_trainer(optimizer=optimizer, weight_decay=0.25)

    *decaying, alone = trainer.optimizer.param_groups

    assert {group["weight_decay"] for group in decaying} == {0.25}
    assert alone["weight_decay"] == 0.0
    assert {weight.dim() for group in decaying for weight in group["params"]} == {2}
    assert {weight.dim() for weight in alone["params"]} == {1}


@pytest.mark.parametrize("max_grad_norm, is_clipped", [(1e-3, True), (0.0, False)])
def test_gradients_are_clipped_before_any_of_them_sees_these(
    make_trainer, optimizer, max_grad_norm, is_clipped
):
    trainer = make_trainer(optimizer=optimizer, max_grad_norm=max_grad_norm)
    seen = []
    trainer.optimizer.register_step_pre_hook(
        lambda optimizer, args, kwargs: seen.append(torch.cat([w.grad.flatten() for w in weights(optimizer)]))
    )

    trainer.feed(iter([bundle()]))

    [gradient] = seen
    assert (float(gradient.norm()) < 1.1e-3) == is_clipped


def weights(optimizer):
    return [weight for group in optimizer.param_groups for weight in group["params"]]


def test_muon_gets_the_matrices_inside_the_model_and_adamw_the_rest(make_trainer):
    trainer = make_trainer(optimizer="muon")

    matrices, others, undecayed = trainer.optimizer.param_groups

    layers = [
        module for module in trainer.model.model.layers.modules() if isinstance(module, torch.nn.Linear)
    ]
    assert {id(weight) for weight in matrices["params"]} == {id(layer.weight) for layer in layers}
    assert [weight is trainer.model.lm_head.weight for weight in others["params"]] == [True]
    assert {weight.dim() for weight in undecayed["params"]} == {1}


def test_muon_turns_a_matrix_by_the_rate_whatever_the_size_of_its_gradient():
    matrix, bias = torch.nn.Parameter(torch.zeros(8, 8)), torch.nn.Parameter(torch.zeros(8))
    optimizer = MuonWithAdamW([matrix], [], [bias], weight_decay=0.0)
    for group in optimizer.param_groups:
        group["lr"] = 0.1
    matrix.grad, bias.grad = 1e3 * torch.eye(8), 1e3 * torch.ones(8)

    optimizer.step()

    singular = torch.linalg.svdvals(matrix.detach())
    assert singular.max() < 0.1 * 0.2 * 8**0.5 * 1.25  # the rate, brought to the size of AdamW's steps
    assert torch.allclose(bias, torch.full((8,), -0.1), atol=1e-4)


def test_muon_with_a_loaded_state_still_saves_what_it_does_after(make_trainer):
    trainer = make_trainer(optimizer="muon")
    trainer.feed(iter([bundle()]))
    fresh = muon_with_adamw(trainer.model, trainer.get_decay_parameter_names(trainer.model), weight_decay=0.0)
    fresh.load_state_dict(trainer.optimizer.state_dict())
    before = fresh.state_dict()["state"][0]["momentum_buffer"].clone()
    for weight in weights(fresh):
        weight.grad = torch.ones_like(weight)

    fresh.step()

    assert not torch.equal(fresh.state_dict()["state"][0]["momentum_buffer"], before)


def test_another_optimizer_cannot_go_on_with_the_state_of_this_one(base_dir, seven_rows, tiny_folder):
    loaded(base_dir, settings_with(tiny_folder)).run_job(seven_rows)

    with pytest.raises(LockedSetting, match=r'training\.optimizer is "muon", .* trained with "adamw"'):
        loaded(base_dir, settings_with(tiny_folder, training={"optimizer": "muon"}))
