"""A tokenizer is loaded alone as a worker would load it beside its model."""

import pytest

from trainer.config.schema import Settings
from trainer.model import tokenizer_only as lone_tokenizer
from trainer.model.tokenizer_only import load_tokenizer_only
from trainer.profiles.registry import make_profile
from trainer.protocol.faults import ModelUnavailable, UnusableModel

MARKER = "<<ANS_START>>"


def load(base_dir, **model):
    settings = Settings.model_validate({"model": model, "profile": {"name": "regime3"}})
    return load_tokenizer_only(settings, make_profile("regime3", {}, base_dir=base_dir), base_dir=base_dir)


def test_tiny_is_built_elsewhere(base_dir):
    tokenizer = load(base_dir, base_model="tiny")

    assert tokenizer("hello")["input_ids"]
    assert list(base_dir.iterdir()) == []


def test_the_newest_checkpoint_has_the_tokenizer(base_dir, tiny_folder):
    (base_dir / "models").mkdir()
    (base_dir / "models" / "current_model").symlink_to(tiny_folder)

    tokenizer = load(base_dir, base_model="gone", grow_vocabulary=True)

    assert MARKER not in tokenizer.get_vocab(), "a vocabulary grows before the first checkpoint or never"


@pytest.mark.parametrize("grows", [False, True])
def test_the_tokens_of_the_profile_are_there_where_the_vocabulary_grows(base_dir, tiny_folder, grows):
    tokenizer = load(base_dir, base_model=str(tiny_folder), grow_vocabulary=grows)

    assert (len(tokenizer.tokenize(MARKER)) == 1) == grows


def test_options_of_the_template_are_honoured(base_dir, tiny_folder):
    with pytest.raises(UnusableModel, match='has "enable_thinkin"'):
        load(base_dir, base_model=str(tiny_folder), template_options={"enable_thinkin": False})


def test_a_folder_that_is_not_there_is_told(base_dir):
    with pytest.raises(ModelUnavailable, match=r"\./gone"):
        load(base_dir, base_model="./gone")


def test_of_a_model_of_the_hub_only_the_tokenizer_is_fetched(base_dir, monkeypatch):
    asked = []
    monkeypatch.setattr(lone_tokenizer, "load_tokenizer", lambda source, **template: asked.append(source))

    load(base_dir, base_model="Qwen/Qwen3-0.6B")

    assert asked == ["Qwen/Qwen3-0.6B"]
