"""Penalties at generation: what they hit, when they begin, and that no text minds another."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, LogitsProcessorList, PreTrainedTokenizerFast

from trainer.model import tiny
from trainer.profiles.emoji_think import STOP_COUNTS, STOP_EMOJIS, THINK_TAGS, EmojiThinkProfile
from trainer.profiles.logits import PostStopPenalty, ThinkTagPenalty

PROMPT = "Say 3. When finished, emit 🛑 /twice/ to signal completion. 🛑🛑 So:"


def with_tags() -> Any:
    tokenizer = tiny.tokenizer()
    tokenizer.add_tokens(list(THINK_TAGS))
    return tokenizer


def characters() -> Any:
    """Return a tokenizer of one token a character, so that some emojis are two tokens."""
    alphabet = sorted({*"".join(STOP_EMOJIS), *PROMPT, "x", "\n"})
    vocabulary = {char: number for number, char in enumerate(["<end>", *alphabet])}
    one_each = Tokenizer(models.WordLevel(vocabulary, unk_token="x"))
    one_each.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    one_each.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=one_each, eos_token="<end>", clean_up_tokenization_spaces=False
    )


def stop_penalty(tokenizer: Any) -> PostStopPenalty:
    return PostStopPenalty(tokenizer, emojis=STOP_EMOJIS, counts=tuple(STOP_COUNTS))


def penalties(tokenizer: Any, *generated: str) -> list[list[float]]:
    """Feed texts of equal length to a fresh penalty, token by token.

    Returns:
        For each text, what an ordinary token has lost before each of its tokens and after the last.
    """
    processor = stop_penalty(tokenizer)
    prompt = tokenizer.encode(PROMPT, add_special_tokens=False)
    rows = [prompt + tokenizer.encode(text, add_special_tokens=False) for text in generated]
    ordinary = tokenizer.encode("x", add_special_tokens=False)[0]
    lost: list[list[float]] = [[] for _ in rows]
    for length in range(len(prompt), len(rows[0]) + 1):
        ids = torch.tensor([row[:length] for row in rows])
        scores = processor(ids, torch.zeros(len(rows), len(tokenizer)))
        for row, column in zip(lost, scores[:, ordinary].tolist(), strict=True):
            row.append(-column)
    return lost


def test_thinking_tags_are_penalised_most_at_the_start_and_nothing_else_is():
    tokenizer = with_tags()
    processor = ThinkTagPenalty(tokenizer, tags=THINK_TAGS)
    scores, ids = torch.randn(2, len(tokenizer)), torch.zeros(2, 5, dtype=torch.long)
    tags = tokenizer.convert_tokens_to_ids(list(THINK_TAGS))

    lost = [scores - processor(ids, scores) for _ in range(14)]

    assert [round(step[0, tags[0]].item()) for step in lost] == [640] * 4 + [160] * 4 + [120] * 4 + [80] * 2
    for step in lost:
        assert torch.equal(step[:, tags[:1]], step[:, tags[1:]])
        step[:, tags] = 0
        assert not step.any()


def test_tags_that_are_no_tokens_are_left_alone():
    tokenizer = tiny.tokenizer()
    scores = torch.randn(1, len(tokenizer))

    found = ThinkTagPenalty(tokenizer, tags=THINK_TAGS)(torch.zeros(1, 5, dtype=torch.long), scores)

    assert torch.equal(found, scores)


@pytest.mark.parametrize("emoji", STOP_EMOJIS)
@pytest.mark.parametrize("make_tokenizer", [tiny.tokenizer, characters])
def test_every_count_of_every_stop_emoji_can_be_reached(make_tokenizer, emoji):
    tokenizer = make_tokenizer()

    [lost] = penalties(tokenizer, f"3\n{emoji * 4}")

    assert not any(lost[:-1])
    assert lost[-1] == 1000  # four are the most there are


@pytest.mark.parametrize("make_tokenizer", [tiny.tokenizer, characters])
@pytest.mark.parametrize("count, is_end", [(1, False), (2, True), (3, True)])
@pytest.mark.parametrize("emoji", ["🛑", "🛡️"])
def test_a_count_is_final_once_something_else_follows(make_tokenizer, emoji, count, is_end):
    [lost] = penalties(make_tokenizer(), f"{emoji * count}xxx")

    assert lost[-3:] == ([1e3, 1e4, 1e5] if is_end else [0, 0, 0])
    assert not any(lost[:-3])


def test_the_penalty_stops_growing_before_it_is_infinite():
    [lost] = penalties(characters(), "🛑🛑" + "x" * 400)

    assert lost[-1] == pytest.approx(1e9)


def test_each_text_of_a_batch_ends_by_itself():
    tokenizer = characters()

    batch = penalties(tokenizer, "🛑🛑xxxx", "xx⛔⛔⛔x", "xxxxxx")

    assert batch == [penalties(tokenizer, text)[0] for text in ("🛑🛑xxxx", "xx⛔⛔⛔x", "xxxxxx")]
    assert [max(lost) for lost in batch] == [1e5 * 10, 1e3, 0]


def test_what_ends_the_turn_is_rewarded_and_keeps_its_score_otherwise():
    tokenizer = characters()
    processor = stop_penalty(tokenizer)
    ids = torch.tensor([tokenizer.encode("3", add_special_tokens=False)])
    processor(ids, torch.zeros(1, len(tokenizer)))
    ids = torch.tensor([tokenizer.encode("3🛑🛑x", add_special_tokens=False)])
    scores = torch.randn(1, len(tokenizer))

    found = processor(ids, scores)

    assert found[0, tokenizer.eos_token_id] == scores[0, tokenizer.eos_token_id] + 50
    assert found.argmax() == tokenizer.eos_token_id


def test_a_model_that_generates_with_the_penalties_ends_after_its_stop_emojis(tiny_folder: Path):
    tokenizer = tiny.tokenizer()
    model = AutoModelForCausalLM.from_pretrained(tiny_folder)
    prompt = torch.tensor([tokenizer.encode(PROMPT)])
    script = tokenizer.encode("3\n🛑🛑🛑 and so on and on", add_special_tokens=False)

    def follow_script(ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        scores = scores.clone()
        position = ids.shape[1] - prompt.shape[1]
        scores[:, script[min(position, len(script) - 1)]] += 200
        return scores

    made = [make(tokenizer) for make in EmojiThinkProfile({}).generation().logits_processors]
    processors = LogitsProcessorList([follow_script, *made])
    output = model.generate(prompt, max_new_tokens=60, do_sample=False, logits_processor=processors)

    text = tokenizer.decode(output[0, prompt.shape[1] :], skip_special_tokens=True)
    assert text.startswith("3\n🛑🛑🛑")
    assert output[0, -1] == tokenizer.eos_token_id
    assert len(text) <= len("3\n🛑🛑🛑 and")
