"""Steps in bf16 on a processor: weights stay exact, sums are in full, and the loss is that of fp32."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from tests.trainer.engine_rig import CPU_IS_FULL, SmallMemory
from tests.trainer.step_rig import bundle, example
from trainer.config.schema import TrainingSettings
from trainer.model.adapter import add_adapter
from trainer.step.forward import ForwardStrategy
from trainer.step.precision import (
    RoundedWeights,
    change_of_precision,
    choose_precision,
    strategy_with_precision,
)

CPU = torch.device("cpu")
SIZES = {"vocab_size": 99, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
DECODER = SIZES | {"intermediate_size": 64, "num_key_value_heads": 2}
BF16 = TrainingSettings(precision="bf16", device="cpu")
FP32 = TrainingSettings(precision="fp32", device="cpu")


def build(kind, **settings):
    torch.manual_seed(3)
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **settings))


@pytest.mark.parametrize(
    "wanted, has_gpu, has_bf16, chosen",
    [
        ("auto", False, False, "fp32"),
        ("auto", True, False, "fp32"),
        ("auto", True, True, "bf16"),
        ("bf16", False, False, "bf16"),
        ("fp32", True, True, "fp32"),
    ],
)
def test_precision_follows_the_machine_only_when_it_is_auto(monkeypatch, wanted, has_gpu, has_bf16, chosen):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: has_bf16)

    assert choose_precision(TrainingSettings(precision=wanted)) == chosen


def test_a_processor_computes_in_bf16_without_being_named(make_trainer, monkeypatch):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)

    trainer = make_trainer(precision="bf16", device="auto")

    assert trainer.forward.strategy.rounds_weights
    assert trainer.args.device.type == "cpu"


@pytest.mark.parametrize(
    "kind, settings, rounds",
    [
        ("llama", DECODER, True),
        ("qwen3", DECODER | {"head_dim": 8, "tie_word_embeddings": True}, True),
        ("gpt2", {"vocab_size": 99, "n_embd": 32, "n_layer": 2, "n_head": 4}, True),
        ("gemma2", DECODER | {"head_dim": 8}, False),  # its embedding is scaled, and no plain one
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_weights_are_rounded_for_models_that_can_compute_with_them(kind, settings, rounds):
    model = build(kind, **settings)
    exact = [weight.clone() for weight in model.parameters()]

    strategy = strategy_with_precision(model, BF16, CPU, None)

    assert (strategy.precision, strategy.rounds_weights) == ("bf16", rounds)
    assert all(torch.equal(*pair) for pair in zip(exact, model.parameters(), strict=True))


@pytest.mark.parametrize("other", [{"compile": True}, {"lora_dora": True}, {"method": "qlora"}])
def test_what_cannot_be_rounded_well_is_left_to_autocast(other):
    settings = BF16.model_copy(update=other)

    assert not strategy_with_precision(build("llama", **DECODER), settings, CPU, None).rounds_weights


def test_a_model_that_fails_with_rounded_weights_is_left_to_autocast(monkeypatch):
    model = build("llama", **DECODER)
    scale = torch.eye(32)  # of its own, and in fp32
    [layer, _] = model.model.layers
    inner = layer.mlp.forward
    monkeypatch.setattr(layer.mlp, "forward", lambda inputs: inner(inputs @ scale))

    assert not strategy_with_precision(model, BF16, CPU, None).rounds_weights


def test_a_checkpoints_strategy_stays_until_the_precision_changes():
    model = build("llama", **DECODER)
    rounding = ForwardStrategy(lays_end_to_end=True, precision="bf16", rounds_weights=True)

    assert strategy_with_precision(model, BF16, CPU, rounding) is rounding
    full = strategy_with_precision(model, FP32, CPU, rounding)
    assert full == ForwardStrategy(lays_end_to_end=True, precision="fp32")
    assert strategy_with_precision(model, BF16, CPU, full) == rounding
    compiled = BF16.model_copy(update={"compile": True})
    assert strategy_with_precision(model, compiled, CPU, rounding) == replace(rounding, rounds_weights=False)


@pytest.mark.parametrize("has_instructions, chosen", [(True, "bf16"), (False, "fp32")])
def test_a_model_stays_in_bf16_where_the_processor_has_instructions(monkeypatch, has_instructions, chosen):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": has_instructions})
    rounding = ForwardStrategy(lays_end_to_end=True, precision="bf16", rounds_weights=True)

    now = strategy_with_precision(build("llama", **DECODER), TrainingSettings(device="cpu"), CPU, rounding)

    assert now.precision == chosen


@pytest.mark.parametrize(
    "earlier, now, said",
    [
        (ForwardStrategy(), ForwardStrategy(precision="fp32"), None),
        (ForwardStrategy(precision="fp32"), ForwardStrategy(precision="fp32"), None),
        (ForwardStrategy(precision="fp32"), ForwardStrategy(precision="bf16"), "trained in fp32 so far"),
        (ForwardStrategy(), ForwardStrategy(precision="bf16", rounds_weights=True), "once for each step"),
        (
            ForwardStrategy(precision="bf16", rounds_weights=True),
            ForwardStrategy(precision="bf16"),
            "by autocast",
        ),
    ],
)
def test_a_change_of_what_is_computed_with_is_reported(earlier, now, said):
    found = change_of_precision(earlier, now)

    assert (found is None) if said is None else (said in found)


def test_a_model_that_computes_no_numbers_with_rounded_weights_is_left_to_autocast(monkeypatch):
    model = build("llama", **DECODER)
    [layer, _] = model.model.layers
    inner = layer.mlp.forward

    def overflow(inputs):
        return inner(inputs) * (float("nan") if inputs.dtype == torch.bfloat16 else 1.0)

    monkeypatch.setattr(layer.mlp, "forward", overflow)

    assert not strategy_with_precision(model, BF16, CPU, None).rounds_weights


def test_no_memory_for_the_trial_is_no_reason_for_autocast(monkeypatch):
    model = build("llama", **DECODER)
    [layer, _] = model.model.layers
    inner = layer.mlp.forward

    def is_full(inputs):
        if inputs.dtype == torch.bfloat16:
            raise RuntimeError(CPU_IS_FULL)
        return inner(inputs)

    monkeypatch.setattr(layer.mlp, "forward", is_full)

    with pytest.raises(RuntimeError, match="can't allocate"):
        strategy_with_precision(model, BF16, CPU, None)


def test_gradients_and_weights_stay_in_full(make_trainer):
    trainer = make_trainer(precision="bf16", device="cpu")
    before = [weight.clone() for weight in trainer.model.parameters()]

    trainer.gradient(trainer.model, bundle(example(12), example(5, 40), micro_batch_tokens=12))

    assert all(torch.equal(*pair) for pair in zip(trainer.model.parameters(), before, strict=True))
    for name, weight in trainer.model.named_parameters():
        assert weight.grad.dtype == torch.float32
        assert not torch.equal(weight.grad, weight.grad.bfloat16().float()), name  # that of two micro-batches


def test_the_gradient_points_where_that_of_fp32_does(make_trainer):
    found = {}
    for precision in ("fp32", "bf16"):
        trainer = make_trainer(precision=precision, device="cpu")
        trainer.model.eval()  # without dropout
        loss = trainer.gradient(trainer.model, bundle(example(12), example(30, 40)))
        gradients = torch.cat([weight.grad.flatten() for weight in trainer.model.parameters()])
        found[precision] = (float(loss), gradients)

    assert found["bf16"][0] == pytest.approx(found["fp32"][0], rel=0.005)
    assert float(torch.cosine_similarity(found["bf16"][1], found["fp32"][1], dim=0)) > 0.999


def test_a_token_that_occurs_often_gets_its_whole_gradient():
    table = build("llama", **DECODER)
    rounded = RoundedWeights(table)
    often = torch.full((1, 4000), 7)

    with rounded.in_place():
        table.get_input_embeddings()(often).sum().backward()

    # In bf16 a sum of ones stays at 256
    assert torch.equal(table.get_input_embeddings().weight.grad[7], torch.full((32,), 4000.0))


def test_weights_are_exact_again_after_an_error():
    model = build("llama", **DECODER)
    exact = [weight.clone() for weight in model.parameters()]

    with pytest.raises(ZeroDivisionError), RoundedWeights(model).in_place():
        raise ZeroDivisionError

    assert all(torch.equal(*pair) for pair in zip(exact, model.parameters(), strict=True))


def test_an_embedding_of_an_unknown_kind_is_refused_if_it_is_trained():
    class Scaled(nn.Embedding):
        pass

    model = build("llama", **DECODER)
    model.set_input_embeddings(table := Scaled(99, 32))

    with pytest.raises(TypeError, match="Scaled adds up its gradients in bf16"):
        RoundedWeights(model)
    table.requires_grad_(False)
    RoundedWeights(model)


@pytest.mark.filterwarnings("ignore")
def test_a_model_whose_embedding_has_become_an_unusual_one_continues_with_autocast():
    model = build("llama", **DECODER)
    rounding = ForwardStrategy(lays_end_to_end=True, precision="bf16", rounds_weights=True)
    with_tokens = add_adapter(model, TrainingSettings(method="lora"), trained_rows={"embed_tokens": [7]})

    strategy = strategy_with_precision(with_tokens, BF16, CPU, rounding)

    assert strategy == replace(rounding, rounds_weights=False)
    assert "by autocast" in change_of_precision(rounding, strategy)


def test_a_step_with_noise_on_the_embeddings_is_taken(make_trainer):
    trainer = make_trainer(precision="bf16", device="cpu", neftune_noise_alpha=5.0)

    assert torch.isfinite(trainer.gradient(trainer.model, bundle(example(12), example(30, 40))))


def test_a_step_that_ran_out_of_memory_is_repeated_with_exact_weights(make_trainer):
    trainer = make_trainer(precision="bf16", device="cpu", learning_rate=1e-3, warmup_steps=0)
    other = make_trainer(precision="bf16", device="cpu", learning_rate=1e-3, warmup_steps=0)
    rows = [example(64), example(64, 340)]

    SmallMemory(trainer, fits=64)

    trainer.feed(iter([bundle(*rows)]))
    other.feed(iter([bundle(*rows, micro_batch_tokens=64)]))

    pairs = zip(trainer.model.parameters(), other.model.parameters(), strict=True)
    assert all(torch.equal(*pair) for pair in pairs)


def test_the_average_of_exact_weights_is_evaluated_rounded(make_trainer):
    training = {"precision": "bf16", "device": "cpu", "learning_rate": 1e-2, "warmup_steps": 0}
    trainer = make_trainer(**training, average="ema", average_steps=2)
    trainer.use_average(trainer._settings)
    trainer.feed(iter([bundle(), bundle(example(9, 40))]))
    exact = [weight.clone() for weight in trainer.model.parameters()]

    with trainer.with_preferred_weights():
        averaged = trainer.mean_loss([example(12)], max_tokens=100)

    assert averaged != trainer.mean_loss([example(12)], max_tokens=100)
    assert all(torch.equal(*pair) for pair in zip(exact, trainer.model.parameters(), strict=True))


def test_losses_of_rows_are_computed_as_in_training(make_trainer):
    trainer = make_trainer(precision="bf16", device="cpu")
    examples = [example(12), example(30, 40)]

    [first, second] = trainer.row_losses(examples, max_tokens=100)

    items = first.tokens + second.tokens
    assert trainer.mean_loss(examples, max_tokens=100) == pytest.approx((first.total + second.total) / items)
    in_full = make_trainer(precision="fp32", device="cpu").mean_loss(examples, max_tokens=100)
    assert trainer.mean_loss(examples, max_tokens=100) != in_full
