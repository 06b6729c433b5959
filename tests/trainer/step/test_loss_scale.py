"""In fp16 a step that overflows is repeated with a lower scale, and counts as one step."""

import pytest
import torch

from tests.trainer.step_rig import bundle
from trainer.checkpoints.tensor_tree import load_tree
from trainer.checkpoints.training_state import load_state, write_state
from trainer.step.loss_scale import LossScale

FIRST_SCALE = 65536.0  # GradScaler's


def a_weight(gradient):
    weight = torch.nn.Parameter(torch.zeros(2))
    weight.grad = torch.tensor(gradient)
    return torch.optim.SGD([weight], lr=1.0), weight


def scale_of(loss_scale):
    return loss_scale.state_dict()["scale"]


def test_a_gradient_comes_back_at_its_own_size():
    loss_scale = LossScale("cpu")
    scaled = loss_scale.scale(torch.tensor(3.0))
    optimizer, weight = a_weight([float(scaled), 0.0])

    must_repeat = loss_scale.unscale(optimizer)

    assert not must_repeat
    assert weight.grad.tolist() == [3.0, 0.0]


def test_an_overflow_asks_for_the_step_again_with_half_the_scale():
    loss_scale = LossScale("cpu")
    loss_scale.scale(torch.tensor(1.0))
    optimizer, _ = a_weight([float("inf"), 1.0])

    must_repeat = loss_scale.unscale(optimizer)

    assert must_repeat
    assert scale_of(loss_scale) == FIRST_SCALE / 2


def test_a_gradient_too_large_for_every_scale_is_not_tried_for_ever():
    loss_scale = LossScale("cpu")
    loss_scale.scale(torch.tensor(1.0))
    tries = 1

    while loss_scale.unscale(a_weight([float("inf"), 1.0])[0]):
        tries += 1

    assert tries == 17  # 2^16 … 2^0
    assert scale_of(loss_scale) == 1.0


# ---- in the trainer, which computes in fp16 on the CPU, too


@pytest.fixture
def trainer(make_trainer):
    return make_trainer(precision="fp16", device="cpu", learning_rate=1e-3, warmup_steps=0)


def overflow_above(trainer, limit, monkeypatch):
    """Have every gradient overflow while the scale is above `limit`; return how often one was computed."""
    gradient, scales = trainer.gradient, []

    def overflowing(model, bundle):
        loss = gradient(model, bundle)
        scales.append(scale_of(trainer.loss_scale))
        if scales[-1] > limit:
            trainer.model.lm_head.weight.grad[0, 0] = float("inf")
        return loss

    monkeypatch.setattr(trainer, "gradient", overflowing)
    return scales


def test_a_step_that_overflows_is_repeated_and_applied(trainer, monkeypatch):
    scales = overflow_above(trainer, FIRST_SCALE / 4, monkeypatch)
    steps = [bundle(), bundle()]

    trainer.feed(iter(steps))

    assert scales == [FIRST_SCALE, FIRST_SCALE / 2, FIRST_SCALE / 4, FIRST_SCALE / 4]
    assert [step.not_applied for step in steps] == [None, None]
    assert 0 < float(steps[0].grad_norm) < 100
    assert trainer.lr_scheduler.last_epoch == 2


def test_a_loss_that_is_not_finite_is_no_overflow(trainer, monkeypatch):
    def broken(model, bundle):
        trainer.loss_scale.scale(torch.tensor(1.0))
        for weight in trainer.model.parameters():
            weight.grad = torch.full_like(weight, float("nan"))
        return torch.tensor(float("nan"))

    monkeypatch.setattr(trainer, "gradient", broken)
    step = bundle()

    trainer.feed(iter([step]))

    assert step.not_applied == "the loss is nan"
    assert trainer.lr_scheduler.last_epoch == 1


def test_arithmetic_is_in_fp16_and_the_weights_are_not(trainer):
    seen = []
    layer = trainer.model.model.layers[0].mlp.up_proj
    layer.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))

    trainer.feed(iter([bundle()]))

    assert seen == [torch.float16]
    assert layer.weight.dtype == torch.float32


def test_the_scale_is_in_the_checkpoint(trainer, make_trainer, monkeypatch, tmp_path):
    overflow_above(trainer, FIRST_SCALE / 4, monkeypatch)
    trainer.feed(iter([bundle()]))
    write_state(trainer, [], tmp_path)

    fresh = make_trainer(precision="fp16", device="cpu")
    load_state(fresh, tmp_path)

    assert load_tree(tmp_path, "state")["scaler"]["scale"] == FIRST_SCALE / 4
    assert fresh.loss_scale.state_dict() == trainer.loss_scale.state_dict()
