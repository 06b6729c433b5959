"""The embedded model is the same to the byte every time, and appears whole or not at all."""

import hashlib
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from trainer.model import tiny
from trainer.model.tiny import build_tiny


@pytest.fixture(scope="module")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny(tmp_path_factory.mktemp("base") / "tiny")


def content_of(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_building_twice_gives_the_same_bytes(tiny_folder, tmp_path):
    torch.manual_seed(7)  # whatever ran before

    again = build_tiny(tmp_path / "tiny")

    assert content_of(again) == content_of(tiny_folder)
    assert {"model.safetensors", "tokenizer.json", "chat_template.jinja"} <= content_of(again).keys()


def test_it_has_a_few_million_parameters_and_ends_its_turns(tiny_folder):
    model = AutoModelForCausalLM.from_pretrained(tiny_folder)
    tokenizer = AutoTokenizer.from_pretrained(tiny_folder)

    assert 1_000_000 <= model.num_parameters() <= 6_000_000
    assert model.generation_config.eos_token_id == tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert len(tokenizer) <= model.config.vocab_size


@pytest.mark.parametrize(
    "text", ["plain words", "naïve Ω 漢字 \U0001f600", "tab\tand\r\nline", "<|im_ end|>"]
)
def test_its_tokenizer_gives_every_text_back(tiny_folder, text):
    tokenizer = AutoTokenizer.from_pretrained(tiny_folder)

    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_its_template_marks_what_the_assistant_has_to_produce(tiny_folder):
    tokenizer = AutoTokenizer.from_pretrained(tiny_folder)
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "One?"},
        {"role": "assistant", "content": "Yes."},
        {"role": "user", "content": "Two?"},
        {"role": "assistant", "content": "No."},
    ]

    rendered = tokenizer.apply_chat_template(messages, return_dict=True, return_assistant_tokens_mask=True)

    marked = [
        token
        for token, is_his in zip(rendered["input_ids"], rendered["assistant_masks"], strict=True)
        if is_his
    ]
    assert tokenizer.decode(marked) == "Yes.<|im_end|>No.<|im_end|>"


def test_a_folder_that_is_there_is_left_alone(tmp_path):
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "mine.txt").write_text("kept")

    build_tiny(folder)

    assert [path.name for path in folder.iterdir()] == ["mine.txt"]


def test_an_interrupted_build_leaves_no_model_and_does_not_disturb_the_next(
    tiny_folder, tmp_path, monkeypatch
):
    def fail(tokenizer: object) -> None:
        raise KeyboardInterrupt

    folder = tmp_path / "tiny"
    with monkeypatch.context() as patch:
        patch.setattr(tiny, "_model", fail)
        with pytest.raises(KeyboardInterrupt):
            build_tiny(folder)

    assert not folder.exists()
    assert content_of(build_tiny(folder)) == content_of(tiny_folder)
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


def test_building_does_not_disturb_the_random_numbers_of_others(tmp_path):
    before = torch.get_rng_state()

    build_tiny(tmp_path / "tiny")

    assert torch.equal(torch.get_rng_state(), before)
