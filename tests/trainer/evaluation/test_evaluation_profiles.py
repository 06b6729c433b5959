"""A data profile decides how answers are generated and what is measured of them."""

import gc
import math
from dataclasses import replace
from typing import ClassVar

import pytest
import torch

from tests.support import row, write_jsonl
from tests.trainer.engine_rig import loaded, settings_with
from trainer.evaluation.questions import Question
from trainer.profiles.base import DataProfile, Generation
from trainer.profiles.registry import PROFILES

PROMPT = "Say 3."


class Only:
    """Lets the model say one text again and again; counts how often it was asked."""

    made: ClassVar[list["Only"]] = []

    def __init__(self, tokenizer):
        [self.token_ids] = tokenizer([" cat"], add_special_tokens=False)["input_ids"]
        self.calls = 0
        Only.made.append(self)

    def __call__(self, token_ids, scores):
        forced = torch.full_like(scores, -math.inf)
        forced[0, self.token_ids[self.calls % len(self.token_ids)]] = 0.0
        self.calls += 1
        return forced


class Cats(DataProfile):
    """Speaks of cats."""

    name = "cats"
    how = Generation(system_prompt="You are a cat.", logits_processors=[Only])

    def transform(self, conversation, *, line_number):
        first, *rest = conversation.messages
        first = replace(first, content=f"{first.content} (line {line_number})")
        learned = [replace(turn, content=f"<{turn.content}>") for turn in rest]
        return replace(conversation, messages=(first, *learned))

    def generation(self):
        return self.how

    def measure(self, generated, *, expected):
        measured = {"cats": float(generated.count("cat")), "broken": math.nan}
        return measured if expected is None else measured | {"exact_match": float(expected in generated)}


@pytest.fixture
def ask(base_dir, tiny_folder, monkeypatch):
    """Return a function that asks a model with that profile; it returns the engine and the answers."""
    monkeypatch.setitem(PROFILES, Cats.name, Cats)
    monkeypatch.setattr(Only, "made", [])

    def ask(how=Cats.how, **previews):
        monkeypatch.setattr(Cats, "how", how)
        settings = settings_with(
            tiny_folder,
            profile={"name": Cats.name},
            previews={"prompts": [PROMPT, "Say 4."], "max_new_tokens": 12, "max_seconds": 600} | previews,
        )
        engine = loaded(base_dir, settings)
        engine.use(settings)
        return engine, list(engine.evaluator.previews(settings, global_step=1, is_wanted=lambda: True))

    return ask


def test_logits_are_processed_by_ones_made_anew_for_each_answer(ask):
    _, made = ask()

    assert [one.text for one in made] == [" cat" * 12] * 2
    assert [processor.calls for processor in Only.made] == [12, 12]


def test_an_answer_ends_with_a_stop_string(ask):
    _, made = ask(Generation(stop_strings=("t c",), logits_processors=[Only]))

    assert [(one.text, one.ended_by) for one in made] == [(" cat cat", "end")] * 2


def test_numbers_that_are_none_are_not_told(ask):
    _, made = ask()

    assert [set(one.metrics) for one in made] == [{"cats"}, {"cats"}]
    assert made[0].metrics["cats"] > 1


def test_what_the_profile_calls_an_exact_match_counts(ask, base_dir):
    write_jsonl(base_dir / "p.jsonl", [row("Say 5.", "cat")])

    _, made = ask(prompts=[], file="p.jsonl")

    assert made[0].metrics["exact_match"] == 1.0


def test_the_prompt_is_what_the_profile_makes_of_it_below_its_system_prompt(ask, monkeypatch):
    engine, _ = ask()

    [first, _] = engine.evaluator._measures.prompts
    text = engine.trainer.processing_class.decode(first.token_ids)

    assert text == (
        "<|im_start|>system\nYou are a cat.<|im_end|>\n"
        f"<|im_start|>user\n{PROMPT} (line 1)<|im_end|>\n<|im_start|>assistant\n"
    )
    assert first.shown == PROMPT


@pytest.mark.parametrize(
    "text, is_right", [("Five", True), (" five\n", True), ("<five>", True), ("six", False), ("", False)]
)
def test_right_is_the_expected_answer_or_the_turn_that_is_learned_from_it(text, is_right):
    question = Question("?", [1], "five", ("five", "<five>"))

    assert question.is_answered_by(text) == is_right


def test_answers_leave_no_garbage_while_nobody_collects_it(ask):
    engine, _ = ask()
    gc.collect()
    gc.disable()  # as in training
    try:
        previews = {"prompts": [PROMPT], "max_new_tokens": 16}
        settings = settings_with(engine._base_dir, profile={"name": Cats.name}, previews=previews)
        list(engine.evaluator.previews(settings, global_step=1, is_wanted=lambda: True))
        held = sum(issubclass(type(one), torch.Tensor) for one in gc.get_objects())
        for _ in range(5):
            list(engine.evaluator.previews(settings, global_step=1, is_wanted=lambda: True))
        assert sum(issubclass(type(one), torch.Tensor) for one in gc.get_objects()) <= held + 5
    finally:
        gc.enable()
