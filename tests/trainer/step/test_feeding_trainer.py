"""One `train()` call after another takes the steps it is fed, as one uninterrupted run would."""

from typing import Any

import pytest
import torch
from transformers import Trainer, TrainerCallback

from tests.trainer.step_rig import bundle, example
from trainer.config.schema import TrainingSettings
from trainer.step.feeding_trainer import FeedingTrainer
from trainer.step.schedules import warmup_factor

UNMOVED = 1e-30  # a learning rate under which float32 weights stay what they are


class Watch(TrainerCallback):
    """Notes what the optimizer is about to do at every step."""

    def __init__(self) -> None:
        self.rates: list[float] = []
        self.norms: list[float] = []
        self.global_steps: list[int] = []
        self.begun = 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.begun += 1

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        [rate] = {group["lr"] for group in kwargs["optimizer"].param_groups}
        self.rates.append(rate)
        self.norms.append(norm_of(kwargs["model"]))

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.global_steps.append(state.global_step)


def norm_of(model: torch.nn.Module) -> float:
    return float(torch.cat([parameter.grad.flatten() for parameter in model.parameters()]).double().norm())


# ---- learning rate


@pytest.mark.parametrize(
    "global_step, warmup_steps, factor",
    [(0, 0, 1.0), (7, 0, 1.0), (0, 4, 0.2), (3, 4, 0.8), (4, 4, 1.0), (10**12, 4, 1.0)],
)
def test_warm_up_is_a_pure_function_of_the_models_age(global_step, warmup_steps, factor):
    assert warmup_factor(global_step, warmup_steps) == pytest.approx(factor)


@pytest.mark.parametrize(
    "files", [[6], [2, 4], [1, 1, 1, 1, 1, 1], [3, 0, 3]], ids=lambda files: "+".join(map(str, files))
)
def test_the_learning_rate_does_not_restart_with_a_train_call(make_trainer, files):
    trainer, watch = make_trainer(learning_rate=1e-3, warmup_steps=4), Watch()
    trainer.add_callback(watch)
    bundles = [[bundle() for _ in range(num_steps)] for num_steps in files]

    for of_one_file in bundles:
        trainer.feed(iter(of_one_file))

    expected = pytest.approx([1e-3 * share for share in (0.2, 0.4, 0.6, 0.8, 1.0, 1.0)])
    assert watch.rates == expected
    assert [one.learning_rate for of_one_file in bundles for one in of_one_file] == expected


@pytest.mark.parametrize("global_step", [1, 3, 4, 100])
def test_a_restart_goes_on_with_the_rate_of_the_models_age(make_trainer, global_step):
    trainer, watch = make_trainer(learning_rate=1e-3, warmup_steps=4, global_step=global_step), Watch()
    trainer.add_callback(watch)

    trainer.feed(iter([bundle(), bundle()]))

    shares = [min(1.0, (step + 1) / 5) for step in (global_step, global_step + 1)]
    assert watch.rates == pytest.approx([1e-3 * share for share in shares])


def test_settings_of_the_next_file_apply_from_its_first_step_on(make_trainer):
    trainer, watch = make_trainer(learning_rate=1e-3, warmup_steps=0), Watch()
    trainer.add_callback(watch)

    def bundles():
        yield bundle()
        trainer.use(
            TrainingSettings(learning_rate=1e-4, warmup_steps=3, weight_decay=0.25, max_grad_norm=0.5)
        )
        yield bundle()
        yield bundle()

    trainer.feed(bundles())

    assert watch.rates == pytest.approx([1e-3, 0.5e-4, 0.75e-4])
    assert trainer.args.max_grad_norm == 0.5
    assert [group["weight_decay"] for group in trainer.optimizer.param_groups] == [0.25, 0.0]
    with_decay, without = trainer.optimizer.param_groups
    assert all(parameter.dim() == 2 for parameter in with_decay["params"])
    assert all(parameter.dim() == 1 for parameter in without["params"])


# ---- steps


def test_feeding_again_goes_on_counting(make_trainer):
    trainer, watch = make_trainer(global_step=10), Watch()
    trainer.add_callback(watch)

    trainer.feed(iter([bundle(), bundle()]))
    trainer.feed(iter([bundle()]))

    assert watch.global_steps == [11, 12, 13]
    assert trainer.state.global_step == 13
    assert watch.begun == 2


def test_feeding_nothing_ends_at_once_and_changes_nothing(make_trainer):
    trainer = make_trainer(global_step=10)
    before = [parameter.clone() for parameter in trainer.model.parameters()]

    trainer.feed(iter([]))

    assert all(map(torch.equal, before, trainer.model.parameters()))
    assert trainer.learning_rate == pytest.approx(2e-5 * 11 / 101)


def test_a_bundle_is_one_optimizer_step_however_many_micro_batches_it_takes(make_trainer):
    trainer, watch = make_trainer(), Watch()
    trainer.add_callback(watch)
    parts = [example(8), example(9), example(10)]

    trainer.feed(iter([bundle(*parts, micro_batch_tokens=1), bundle(*parts, micro_batch_tokens=1)]))

    assert trainer.args.gradient_accumulation_steps == 1
    assert watch.global_steps == [1, 2]


def test_what_came_of_a_step_is_known_when_the_next_is_asked_for(make_trainer):
    trainer = make_trainer()
    first = bundle()
    seen = []

    def bundles():
        yield first
        seen.append((float(first.loss), float(first.grad_norm), first.learning_rate))

    trainer.feed(bundles())

    [(loss, grad_norm, learning_rate)] = seen
    assert loss == pytest.approx(6.9, abs=0.5)  # ln(1024) of an untrained model
    assert grad_norm > 0
    assert learning_rate == pytest.approx(2e-5 / 101)


def test_the_weights_at_a_step_boundary_contain_the_whole_step(make_trainer):
    trainer = make_trainer(learning_rate=1e-3, warmup_steps=0)
    weights = []

    def bundles():
        for _ in range(2):
            weights.append(trainer.model.lm_head.weight.detach().clone())
            yield bundle()
        weights.append(trainer.model.lm_head.weight.detach().clone())

    trainer.feed(bundles())

    assert not torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[1], weights[2])
    assert torch.equal(weights[2], trainer.model.lm_head.weight)


# ---- gradients


@pytest.mark.parametrize("max_grad_norm, is_clipped", [(1e-3, True), (1e3, False), (0.0, False)])
def test_the_norm_before_clipping_is_reported(make_trainer, max_grad_norm, is_clipped):
    trainer, watch = make_trainer(learning_rate=UNMOVED, max_grad_norm=max_grad_norm), Watch()
    trainer.add_callback(watch)
    taken = bundle(step_seed=5)

    trainer.feed(iter([taken]))

    torch.manual_seed(5)
    (trainer.forward.summed_loss(taken.examples) / taken.num_items).backward()
    expected = norm_of(trainer.model)
    assert float(taken.grad_norm) == pytest.approx(expected, rel=1e-4)
    assert watch.norms == [pytest.approx(1e-3 if is_clipped else expected, rel=1e-2)]


def test_dropout_noise_depends_on_the_steps_seed_alone(make_trainer):
    same, other = bundle(step_seed=7), bundle(step_seed=8)
    make_trainer(learning_rate=UNMOVED).feed(iter([bundle(step_seed=1), bundle(step_seed=2), same, other]))
    alone = bundle(step_seed=7)

    torch.manual_seed(12345)  # whatever ran before
    make_trainer(learning_rate=UNMOVED).feed(iter([alone]))

    assert float(alone.loss) == float(same.loss)
    assert float(other.loss) != float(same.loss)


# ---- what we rely on in the stock class


@pytest.mark.parametrize(
    "hook, num_calls", [("get_batch_samples", 4), ("training_step", 3), ("_get_grad_norm", 3)]
)
def test_the_stock_class_calls_the_hooks_that_we_override(make_trainer, monkeypatch, hook, num_calls):
    trainer = make_trainer()
    ours = getattr(trainer, hook)
    calls = []

    def spy(*arguments: Any, **named: Any) -> Any:
        calls.append(hook)
        return ours(*arguments, **named)

    assert hook in vars(FeedingTrainer), "overridden no longer"
    assert hook in vars(Trainer), "gone from the stock class"
    monkeypatch.setattr(trainer, hook, spy)

    trainer.feed(iter([bundle(), bundle(), bundle()]))

    assert len(calls) == num_calls


def test_the_stock_class_neither_writes_nor_prints(make_trainer, tmp_path, capfd):
    trainer = make_trainer()

    trainer.feed(iter([bundle(), bundle()]))

    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert capfd.readouterr().out == ""


def test_steps_are_taken_with_the_optimizer_itself_after_every_train_call(make_trainer):
    trainer = make_trainer(learning_rate=1e-3)
    optimizer = trainer.optimizer

    for _ in range(2):
        trainer.feed(iter([bundle()]))

        assert trainer.optimizer is optimizer
