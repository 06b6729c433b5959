"""Each model gets the fastest strategy that computes the same, and no other."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM
from transformers.models.auto.configuration_auto import AutoConfig

from tests.trainer.engine_rig import PEFT_IS_BEHIND
from trainer.data.rendering.render import Example
from trainer.step import attention, forward
from trainer.step.attention import RowBounds, UnsupportedAttention, attend
from trainer.step.forward import Forward, ForwardStrategy, choose_forward_strategy

SIZE = {"vocab_size": 99, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
DECODER = SIZE | {"intermediate_size": 64, "num_key_value_heads": 2, "pad_token_id": 0}
EXPERTS = {"moe_intermediate_size": 16, "num_experts": 4, "num_experts_per_tok": 2, "head_dim": 8}


def build(kind: str, **settings):
    torch.manual_seed(1)
    ends = {"bos_token_id": 1, "eos_token_id": 2}
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **ends, **settings))


@pytest.mark.parametrize(
    "kind, settings, lays_end_to_end, calls_head_apart",
    [
        ("llama", DECODER, True, True),
        ("qwen3", DECODER | {"head_dim": 8}, True, True),
        ("qwen3_moe", DECODER | EXPERTS, True, True),
        ("mistral", DECODER | {"sliding_window": 4}, True, True),
        ("granite", DECODER | {"logits_scaling": 3.0}, True, False),
        ("phi", DECODER | {"num_key_value_heads": 4}, True, False),  # its head has a bias
        ("gemma2", DECODER | {"head_dim": 8}, False, False),  # scores and logits are cut off softly
        ("mamba", {"vocab_size": 99, "hidden_size": 32, "num_hidden_layers": 2}, False, True),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_a_way_is_taken_if_the_model_computes_the_same_on_it(
    kind, settings, lays_end_to_end, calls_head_apart
):
    model = build(kind, **settings).eval()
    before = model.config._attn_implementation

    strategy = choose_forward_strategy(model)

    assert (strategy.lays_end_to_end, strategy.calls_head_apart) == (lays_end_to_end, calls_head_apart)
    assert model.config._attn_implementation == before
    assert model.training is False  # as it was


@pytest.mark.filterwarnings(PEFT_IS_BEHIND)
def test_a_model_with_an_adapter_takes_the_same_ways(tiny_folder):
    base = AutoModelForCausalLM.from_pretrained(tiny_folder)
    model = get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear")).train()

    strategy = choose_forward_strategy(model)

    assert strategy.lays_end_to_end
    assert strategy.calls_head_apart
    assert model.training


def test_rows_that_see_each_other_are_found_out(monkeypatch, tiny_folder):
    def leak(module, query, key, value, mask, *, rows=None, **features):
        return attend(module, query, key, value, mask, **features)

    monkeypatch.setitem(attention.AttentionInterface._global_mapping, attention.NAME, leak)

    strategy = choose_forward_strategy(AutoModelForCausalLM.from_pretrained(tiny_folder))

    assert not strategy.lays_end_to_end


def test_the_name_of_the_attention_stays_out_of_what_is_saved(tiny_folder, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(tiny_folder)
    Forward(model, ForwardStrategy(lays_end_to_end=True))

    model.save_pretrained(tmp_path)

    assert model.config._attn_implementation == attention.NAME
    assert attention.NAME not in (tmp_path / "config.json").read_text()


def test_a_token_sees_its_window_in_its_row_and_nothing_else():
    torch.manual_seed(2)
    query, key, value = (torch.randn(1, 2, 9, 4) for _ in range(3))
    rows = RowBounds((6, 3), torch.tensor([0, 6, 9]))

    found, _ = attend(torch.nn.Module(), query, key, value, None, rows=rows, sliding_window=3)

    scores = query @ key.transpose(-1, -2) / 2  # sqrt(4)
    row = torch.tensor([0] * 6 + [1] * 3)
    distance = torch.arange(9)[:, None] - torch.arange(9)
    sees = (row[:, None] == row) & (distance >= 0) & (distance < 3)
    expected = scores.masked_fill(~sees, float("-inf")).softmax(-1) @ value
    torch.testing.assert_close(found, expected.transpose(1, 2))


def test_under_autocast_attention_is_in_half_precision_whatever_a_norm_has_made_of_the_queries():
    query = torch.zeros(1)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = attention.half_precision(query)

    assert (found, attention.half_precision(query)) == (torch.bfloat16, None)
    assert attention.half_precision(query.to(torch.float16)) == torch.float16


@pytest.mark.parametrize("feature", ["softcap", "s_aux", "position_bias"])
def test_a_feature_that_is_not_known_is_refused(feature):
    nothing = torch.zeros(1, 1, 2, 4)

    with pytest.raises(UnsupportedAttention, match=feature):
        attend(torch.nn.Module(), nothing, nothing, nothing, None, **{feature: 1.0})


def test_the_probe_has_rows_of_equal_and_of_different_length():
    assert 1 < len(set(forward.PROBE_LENGTHS)) < len(forward.PROBE_LENGTHS)


@pytest.mark.filterwarnings("ignore")
def test_what_long_rows_did_to_a_model_is_forgotten_with_them():
    rope = {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 10000.0}
    model = build("llama", **DECODER, max_position_embeddings=8, rope_parameters=rope).eval()
    forward = Forward(model, choose_forward_strategy(model))
    long, longer = ([Example([5] * length, [5] * length, length - 1, False)] for length in (20, 40))
    before = forward.summed_loss(long)

    forward.summed_loss(longer)

    assert torch.equal(forward.summed_loss(long), before)


def test_a_row_that_would_change_the_positions_of_others_goes_alone():
    rope = {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 10000.0}
    model = build("llama", **DECODER, max_position_embeddings=8, rope_parameters=rope)
    rows = [Example([5] * length, [5] * length, length - 1, False) for length in (20, 3, 8, 9)]

    groups = Forward(model, ForwardStrategy(lays_end_to_end=True)).split(rows, max_tokens=1000)

    assert [[len(row.token_ids) for row in group] for group in groups] == [[3, 8], [20], [9]]


@pytest.mark.filterwarnings("ignore")
def test_a_model_without_a_decoder_of_its_own_is_called_as_a_whole():
    model = build("llama4_text", **DECODER, head_dim=8, intermediate_size_mlp=64, num_local_experts=2).eval()

    assert not choose_forward_strategy(model).calls_head_apart
