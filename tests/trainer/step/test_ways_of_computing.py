"""Noise on embeddings, activations computed again, compiled layers: each does what it says, and no more."""

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM

from tests.support import job_for
from tests.trainer.engine_rig import (
    PEFT_IS_BEHIND,
    current,
    loaded,
    settings_with,
    train,
    weights_sha256,
)
from tests.trainer.step_rig import bundle, example
from trainer.config.loader import BadConfig
from trainer.config.schema import TrainingSettings
from trainer.model.compilation import compile_layers
from trainer.step.neftune import add_neftune_noise

TORCH_IS_BEHIND = "ignore:`torch.jit.script_method` is deprecated:DeprecationWarning"  # its compiler uses it
UNMOVED = 1e-30  # a learning rate under which float32 weights stay what they are


def first_loss(trainer, step_seed=1):
    step = bundle(step_seed=step_seed)
    trainer.feed(iter([step]))
    return float(step.loss)


# ---- NEFTune


def test_noise_changes_the_loss_by_the_steps_seed_alone(make_trainer):
    plain, noisy, again = (
        first_loss(make_trainer(neftune_noise_alpha=alpha, learning_rate=UNMOVED))
        for alpha in (None, 5.0, 5.0)
    )

    assert plain != noisy == again


def test_validation_is_without_noise(make_trainer):
    noisy, plain = make_trainer(neftune_noise_alpha=50.0), make_trainer()

    losses = [trainer.mean_loss([example()], max_tokens=100) for trainer in (noisy, plain)]

    assert losses[0] == losses[1]


def test_noise_can_begin_and_end_with_a_file(make_trainer):
    trainer = make_trainer(learning_rate=UNMOVED)
    settings = trainer._settings
    losses = []

    for alpha in (None, 5.0, None):
        trainer.use(settings.model_copy(update={"neftune_noise_alpha": alpha}))
        losses.append(first_loss(trainer))

    assert losses[0] == losses[2] != losses[1]


@pytest.mark.filterwarnings(PEFT_IS_BEHIND)
@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_stop_in_the_middle_of_a_file_changes_no_bit_of_the_noise(
    tmp_path, seven_rows, noisy_folder, method
):
    training = {"neftune_noise_alpha": 5.0, "epochs": 2, "method": method}
    settings = settings_with(noisy_folder, training=training)
    jobs = [(job_for(seven_rows), seven_rows)]

    train(tmp_path / "whole", settings, jobs)
    train(tmp_path / "stopped", settings, jobs, stop_at=4)
    train(tmp_path / "stopped", settings, jobs)

    assert weights_sha256(tmp_path / "stopped") == weights_sha256(tmp_path / "whole")


def test_a_rows_noise_is_that_of_its_own_length_however_it_is_laid_out():
    nothing = torch.zeros(1, 1_000_000, 1)
    torch.manual_seed(1)

    joined = add_neftune_noise(nothing, (250_000, 750_000), alpha=3.0)[0]
    padded = add_neftune_noise(nothing.view(2, -1, 1), (250_000, 500_000), alpha=3.0)

    for noise, length in [
        (joined[:250_000], 250_000),
        (joined[250_000:], 750_000),
        (padded[0], 250_000),
        (padded[1], 500_000),
    ]:
        assert noise.abs().max().item() == pytest.approx(3.0 / length**0.5, rel=1e-3)


# ---- activation checkpointing


def test_activations_are_computed_again_once_a_single_row_does_not_fit(make_trainer, monkeypatch):
    told = []
    trainer = make_trainer(tell=told.append)
    summed_loss = trainer.forward.summed_loss

    def limited(rows):
        if not trainer.model.is_activation_checkpointing:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return summed_loss(rows)

    monkeypatch.setattr(trainer.forward, "summed_loss", limited)
    taken = bundle(example(8), example(9))

    trainer.feed(iter([taken]))

    assert told[-1] == "memory was too small for a single row; from now on activations are recomputed"
    assert taken.micro_batch_tokens == 8
    assert float(taken.loss) > 0


def test_a_row_that_does_not_fit_although_activations_are_computed_again_is_a_fault(
    make_trainer, monkeypatch
):
    trainer = make_trainer()

    def fail(rows):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(trainer.forward, "summed_loss", fail)

    with pytest.raises(torch.OutOfMemoryError):
        trainer.feed(iter([bundle(example(8))]))


@pytest.fixture
def forward_counts(monkeypatch):
    """Return a function that has the passes through a model's first layer counted."""

    def count(trainer):
        counts = []
        norm = trainer.model.get_decoder().layers[0].input_layernorm
        norm.register_forward_hook(lambda *_: counts.append(1))
        return counts

    return count


@pytest.mark.parametrize("setting, passes", [("off", 1), ("on", 2), ("auto", 1)])
def test_activations_are_computed_again_when_asked_for(make_trainer, forward_counts, setting, passes):
    trainer = make_trainer(activation_checkpointing=setting)
    counts = forward_counts(trainer)

    trainer.feed(iter([bundle()]))

    assert len(counts) == passes


def test_activations_computed_again_make_the_same_weights(make_trainer):
    kept, again = (
        make_trainer(activation_checkpointing=setting, learning_rate=1e-3, warmup_steps=0)
        for setting in ("off", "on")
    )

    for trainer in (kept, again):
        trainer.feed(iter([bundle(step_seed=seed) for seed in range(3)]))

    assert all(map(torch.equal, kept.model.parameters(), again.model.parameters()))


@pytest.mark.filterwarnings(PEFT_IS_BEHIND)
def test_the_matrices_of_lora_learn_when_activations_are_computed_again(
    tmp_path, seven_rows, noisy_folder, forward_counts
):
    digests = []
    for setting in ("off", "on"):
        training = {"method": "lora", "activation_checkpointing": setting}
        train(
            tmp_path / setting,
            settings_with(noisy_folder, training=training),
            [(job_for(seven_rows), seven_rows)],
        )
        digests.append(weights_sha256(tmp_path / setting))

    assert digests[0] == digests[1]


def test_a_model_that_cannot_compute_activations_again_is_the_settings_fault(make_trainer, monkeypatch):
    trainer = make_trainer()
    monkeypatch.setattr(type(trainer.model), "supports_gradient_checkpointing", False)

    with pytest.raises(BadConfig, match=r'activation_checkpointing is "on", .* "qwen3" cannot .* use "off"'):
        trainer.use(TrainingSettings(activation_checkpointing="on"))


# ---- compile


def test_a_model_without_layers_to_compile_says_so():
    assert compile_layers(nn.Sequential(nn.Linear(2, 2), nn.ReLU())) == 0


@pytest.mark.filterwarnings(TORCH_IS_BEHIND)
def test_compiled_layers_leave_the_names_of_weights_alone(make_trainer):
    model = make_trainer().model
    names = list(model.state_dict())

    compile_layers(model)

    assert list(model.state_dict()) == names
    assert all(layer._compiled_call_impl for layer in model.model.layers)
    assert model.model._compiled_call_impl is None


@pytest.mark.filterwarnings(TORCH_IS_BEHIND)
def test_a_model_with_compiled_layers_is_saved_like_any_other(base_dir, seven_rows, tiny_folder):
    engine = loaded(base_dir, settings_with(tiny_folder, training={"compile": True}))

    with torch.compiler.set_stance("force_eager"):  # to compile takes half a minute
        engine.run_job(seven_rows)

    saved = AutoModelForCausalLM.from_pretrained(current(base_dir))
    assert all(layer._compiled_call_impl for layer in engine.trainer.model.model.layers)
    assert all(map(torch.equal, saved.parameters(), engine.trainer.model.parameters()))
