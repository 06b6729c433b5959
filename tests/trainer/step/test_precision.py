"""Steps in bf16 on a processor: weights stay exact, sums are in full, and the loss is that of fp32."""

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from tests.trainer.step_rig import bundle, example
from trainer.config.schema import TrainingSettings
from trainer.step.forward import ForwardStrategy
from trainer.step.precision import RoundedWeights, choose_precision, strategy_with_precision

CPU = torch.device("cpu")
SIZES = {"vocab_size": 99, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
DECODER = SIZES | {"intermediate_size": 64, "num_key_value_heads": 2}
BF16 = TrainingSettings(precision="bf16", device="cpu")


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
    cast = ForwardStrategy(lays_end_to_end=True, precision="bf16")

    assert strategy_with_precision(model, BF16, CPU, cast) is cast
    other = strategy_with_precision(model, TrainingSettings(device="cpu"), CPU, cast)
    assert other == ForwardStrategy(lays_end_to_end=True, precision="fp32")
    back = strategy_with_precision(model, BF16, CPU, other)
    assert back == ForwardStrategy(lays_end_to_end=True, precision="bf16", rounds_weights=True)


def test_gradients_and_weights_stay_in_full(make_trainer):
    trainer = make_trainer(precision="bf16", device="cpu")
    before = [weight.clone() for weight in trainer.model.parameters()]

    trainer.gradient(trainer.model, bundle(example(12), example(5, 40), micro_batch_tokens=12))

    weights = list(trainer.model.parameters())
    assert all(torch.equal(*pair) for pair in zip(weights, before, strict=True))
    gradient = torch.cat([weight.grad.flatten() for weight in weights])
    assert gradient.dtype == torch.float32
    assert not torch.equal(gradient, gradient.bfloat16().float())  # that of two micro-batches


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


def test_an_embedding_of_an_unknown_kind_is_refused():
    class Scaled(nn.Embedding):
        pass

    model = build("llama", **DECODER)
    model.set_input_embeddings(Scaled(99, 32))

    with pytest.raises(TypeError, match="not a plain one"):
        RoundedWeights(model)


def test_losses_of_rows_are_computed_as_in_training(make_trainer):
    trainer = make_trainer(precision="bf16", device="cpu")
    examples = [example(12), example(30, 40)]

    [first, second] = trainer.row_losses(examples, max_tokens=100)

    items = first.tokens + second.tokens
    assert trainer.mean_loss(examples, max_tokens=100) == pytest.approx((first.total + second.total) / items)
    in_full = make_trainer(precision="fp32", device="cpu").mean_loss(examples, max_tokens=100)
    assert trainer.mean_loss(examples, max_tokens=100) != in_full
