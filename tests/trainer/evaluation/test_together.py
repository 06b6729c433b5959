"""Many prompts at once: the texts are those that the model generates alone, for every kind of model."""

import math
from itertools import count

import pytest
import torch
from transformers import AutoModelForCausalLM
from transformers.models.auto.configuration_auto import AutoConfig

from trainer.evaluation import generation, together
from trainer.evaluation.generation import GenerationLimits, generating_alone
from trainer.evaluation.padded_batch import tolerance_of
from trainer.evaluation.together import Prompt, batches_of, places_without_gaps
from trainer.model.tiny import tokenizer as tiny_tokenizer
from trainer.profiles.base import Generation

SIZE = {"vocab_size": 99, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
DECODER = SIZE | {"intermediate_size": 64, "num_key_value_heads": 2, "pad_token_id": 0}
EXPERTS = {"moe_intermediate_size": 16, "num_experts": 4, "num_experts_per_tok": 2, "head_dim": 8}
GPT2 = {"vocab_size": 99, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
BLOOM = {"vocab_size": 99, "hidden_size": 32, "n_layer": 2, "n_head": 4}
DYNAMIC = {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 10000.0}
PROMPTS = [
    Prompt([(7 * number + 11 * place) % 96 + 3 for place in range(1 + 5 * number % 23)], 1 + number % 9)
    for number in range(16)
]


def build(kind, dtype=torch.float32, **settings):
    torch.manual_seed(1)
    config = AutoConfig.for_model(kind, bos_token_id=1, eos_token_id=2, **settings)
    return AutoModelForCausalLM.from_config(config, dtype=dtype).eval()


@pytest.fixture(scope="module")
def tokenizer():
    return tiny_tokenizer()


@pytest.fixture
def rounds(monkeypatch):
    """Count the rows of each batch, and those that are given up."""
    found = []

    def spy(model, rows, *arguments, **options):
        together.go_on_together(model, rows, *arguments, **options)
        found.append((len(rows), sum(row.is_doubtful for row in rows)))

    monkeypatch.setattr(generation, "go_on_together", spy)
    return found


def each(model, tokenizer, how=None, prompts=PROMPTS, **options):
    with generating_alone(model, tokenizer, how or Generation()) as generator:
        return generator.generate_each(prompts, **({"max_tokens": 120} | options))


def alone(model, tokenizer, how=None, prompts=PROMPTS):
    with generating_alone(model, tokenizer, how or Generation()) as generator:
        return [
            generator.generate(prompt.token_ids, GenerationLimits(prompt.max_new_tokens))
            for prompt in prompts
        ]


@pytest.mark.parametrize(
    "kind, settings, goes_together",
    [
        ("llama", DECODER, True),
        ("qwen3_moe", DECODER | EXPERTS, True),
        ("mistral", DECODER | {"sliding_window": 4}, True),
        ("gemma3_text", DECODER | {"head_dim": 8, "sliding_window": 4}, True),
        ("gpt2", GPT2, True),  # its positions are learned
        ("bloom", BLOOM, True),  # it has none: attention weighs distances
        ("mamba", {"vocab_size": 99, "hidden_size": 32, "num_hidden_layers": 2}, False),
        ("llama", DECODER | {"max_position_embeddings": 8, "rope_parameters": DYNAMIC}, False),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_each_model_says_together_what_it_says_alone(tokenizer, rounds, kind, settings, goes_together):
    model = build(kind, **settings)

    found = each(model, tokenizer)

    assert found == alone(model, tokenizer)
    assert len({text.text for text in found}) > len(PROMPTS) // 2, (
        "a model that says one thing proves nothing"
    )
    assert sum(rows for rows, _ in rounds) == (len(PROMPTS) if goes_together else 0)
    assert len(rounds) > 1 or not goes_together


def test_what_rounds_coarsely_goes_alone(tokenizer, rounds):
    model = build("llama", dtype=torch.bfloat16, **DECODER)

    assert each(model, tokenizer) == alone(model, tokenizer)
    assert rounds == []


def test_a_choice_that_rounding_could_turn_is_made_alone(tokenizer, rounds):
    model = build("llama", **DECODER)
    with torch.no_grad():  # each token has a twin that is as likely
        model.lm_head.weight[1::2] = model.lm_head.weight[:-1:2] + 1e-7

    found = each(model, tokenizer)

    assert found == alone(model, tokenizer)
    assert sum(given_up for _, given_up in rounds) > len(PROMPTS) // 2


def test_texts_do_not_depend_on_which_others_are_there(tokenizer):
    model = build("llama", **DECODER)

    whole = each(model, tokenizer, max_tokens=10_000)

    assert each(model, tokenizer, max_tokens=70) == whole
    assert each(model, tokenizer, prompts=PROMPTS[::-1])[::-1] == whole


def test_texts_end_with_the_end_token_and_with_stop_strings(tokenizer, rounds):
    model = build("llama", **DECODER)
    usual = [text.text for text in each(model, tokenizer, Generation())]
    often = next(text[1] for text in usual if len(text) > 3)
    with torch.no_grad():
        model.lm_head.weight[2] = model.lm_head.weight.mean(dim=0) + 0.2 * model.lm_head.weight[2]
        model.lm_head.weight[2] += 3 * model.lm_head.weight[40]
    how = Generation(stop_strings=(often,))

    found = each(model, tokenizer, how)

    assert found == alone(model, tokenizer, how)
    assert {text.ended_by for text in found} == {"end", "tokens"}
    assert any(often in text.text for text in found)
    assert any(often not in text.text and text.ended_by == "end" for text in found)


class Counting:
    """Lets a text count on from its last token: keeps what it has seen, and refuses other rows."""

    def __init__(self, tokenizer):
        self.last = None

    def __call__(self, token_ids, scores):
        assert token_ids.shape[0] == scores.shape[0] == 1
        assert self.last is None or self.last == int(token_ids[0, -1])
        self.last = 3 + (int(token_ids[0, -1]) + 1) % 90
        forced = torch.full_like(scores, -math.inf)
        forced[0, self.last] = 0.0
        return forced


def test_each_row_has_logits_processors_of_its_own_that_see_no_padding(tokenizer, rounds):
    model, how = build("llama", **DECODER), Generation(logits_processors=[Counting])

    assert each(model, tokenizer, how) == alone(model, tokenizer, how)
    assert all(given_up == 0 for _, given_up in rounds)


def test_all_end_when_they_may_not_go_on_and_nobody_is_asked_again(tokenizer):
    model = build("llama", **DECODER)
    answers = iter([True] * 5 + [False])

    found = each(model, tokenizer, max_tokens=10_000, may_go_on=lambda: next(answers))

    whole = alone(model, tokenizer)
    for prompt, text, expected in zip(PROMPTS, found, whole, strict=True):
        if prompt.max_new_tokens <= 5:
            assert text == expected
        else:
            assert text.ended_by == "time"
            assert expected.text.startswith(text.text)
            assert text.text
    assert next(answers, "none is left") == "none is left"


@pytest.mark.parametrize("model", ["llama", "bfloat16"])
def test_nothing_is_computed_when_nobody_wants_it(tokenizer, model):
    model = build("llama", dtype=torch.float32 if model == "llama" else torch.bfloat16, **DECODER)
    asked = count()

    found = each(model, tokenizer, may_go_on=lambda: next(asked) < 0)

    assert {(text.text, text.ended_by) for text in found} == {("", "time")}
    assert next(asked) == 1


def test_fewer_go_together_when_memory_is_too_small(tokenizer, rounds, monkeypatch):
    model = build("llama", **DECODER)
    tolerance_of(model)  # with rows that are small enough
    batch = together.PaddedBatch

    def small(model, prompts, **options):
        if len(prompts) > 5:
            raise MemoryError
        return batch(model, prompts, **options)

    monkeypatch.setattr(together, "PaddedBatch", small)

    assert each(model, tokenizer, max_tokens=10_000) == alone(model, tokenizer)
    assert [rows for rows, _ in rounds] == [4, 4, 4, 4]


def test_a_fault_that_is_not_about_memory_is_not_hidden(tokenizer, monkeypatch):
    model = build("llama", **DECODER)
    tolerance_of(model)

    def broken(*arguments, **options):
        raise RuntimeError("a shape is wrong")

    monkeypatch.setattr(together, "PaddedBatch", broken)

    with pytest.raises(RuntimeError, match="a shape is wrong"):
        each(model, tokenizer)


@pytest.mark.parametrize("max_tokens", [1, 40, 41, 150, 10_000])
def test_batches_have_no_more_tokens_than_they_may_and_those_of_similar_length(max_tokens):
    batches = list(batches_of(PROMPTS, max_tokens=max_tokens))

    assert sorted(place for batch in batches for place in batch) == list(range(len(PROMPTS)))
    lengths = [[len(PROMPTS[place].token_ids) for place in batch] for batch in batches]
    flat = [length for batch in lengths for length in batch]
    assert flat == sorted(flat, reverse=True)
    for batch in batches:
        longest = max(len(PROMPTS[place].token_ids) for place in batch)
        most_new = max(PROMPTS[place].max_new_tokens for place in batch)
        assert len(batch) == 1 or len(batch) * (longest + most_new) <= max_tokens


@pytest.mark.parametrize(
    "goes_on, expected",
    [("111", [0, 1, 2]), ("011", [2, 1]), ("0110", [2, 1]), ("10101", [0, 4, 2]), ("000", []), ("0001", [3])],
)
def test_the_last_rows_fill_the_gaps(goes_on, expected):
    assert places_without_gaps([mark == "1" for mark in goes_on]) == expected
