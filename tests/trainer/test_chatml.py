"""Which chat template a model is trained with."""

import pytest

from trainer.config.lock import LockedSetting
from trainer.config.schema import CheckpointSettings, Settings
from trainer.core.chatml import CHATML, choose_template
from trainer.core.engine import TrainerEngine
from trainer.core.faults import UnusableModel
from trainer.core.tiny import _tokenizer


def test_the_models_own_template_is_kept_unless_asked():
    tokenizer = _tokenizer()
    tokenizer.chat_template = "{{ messages }}"

    choose_template(tokenizer, "own", "a model")

    assert tokenizer.chat_template == "{{ messages }}"


def test_chatml_takes_the_place_of_any_template_and_ends_turns_with_its_marker():
    tokenizer = _tokenizer()
    tokenizer.chat_template, tokenizer.eos_token = None, "<|endoftext|>"

    choose_template(tokenizer, "chatml", "a model")

    assert tokenizer.chat_template == CHATML
    assert tokenizer.eos_token == "<|im_end|>"


def test_a_vocabulary_without_the_markers_is_refused_naming_them():
    class Bare:
        chat_template = None

        def get_vocab(self):
            return {"a": 0, "<|im_start|>": 1}

    with pytest.raises(UnusableModel, match=r"has no <\|im_end\|>; use \"own\""):
        choose_template(Bare(), "chatml", "a model")


def test_no_template_at_all_is_refused_with_the_way_out():
    tokenizer = _tokenizer()
    tokenizer.chat_template = None

    with pytest.raises(UnusableModel, match=r'set model\.chat_template to "chatml"'):
        choose_template(tokenizer, "own", "a model")


def test_a_model_keeps_the_template_it_was_trained_with(tmp_path):
    engine = TrainerEngine(Settings(), base_dir=tmp_path)
    engine.load()
    engine.save(CheckpointSettings())
    other = Settings.model_validate({"model": {"chat_template": "chatml"}})

    with pytest.raises(
        LockedSetting, match=r'model\.chat_template is "chatml", but the checkpoints .* "own"'
    ):
        TrainerEngine(other, base_dir=tmp_path).load()
