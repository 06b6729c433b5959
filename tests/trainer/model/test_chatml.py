"""Which chat template a model is trained with."""

import sys
from typing import Any

import pytest
from pydantic import ValidationError

from trainer.config.lock import LockedSetting
from trainer.config.schema import CheckpointSettings, Settings
from trainer.model.chatml import CHATML, choose_template, with_defaults
from trainer.model.tiny import _tokenizer
from trainer.protocol import one_shot
from trainer.protocol.faults import UnusableModel
from trainer.session.engine import TrainerEngine


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


# ---- options, and templates that must not be run

THINKING = (
    "{% for m in messages %}{{ m['role'] + ':' + m['content'] }}<|im_end|>{% endfor %}"
    "{% if enable_thinking is defined and not enable_thinking %}quiet{% endif %}{{ tail }}"
)


def shown(template: str, **given: Any) -> str:
    tokenizer = _tokenizer()
    tokenizer.chat_template = template
    return tokenizer.apply_chat_template([{"role": "user", "content": "q"}], tokenize=False, **given)


@pytest.mark.parametrize(
    "value", [False, None, 3, -1.5e-9, 'it\'s 🎉 "x" %} {{ y }}\n', ["a", None], {"a": [True]}]
)
def test_options_are_what_the_template_is_told_unless_somebody_says_otherwise(value):
    template = with_defaults(THINKING, {"tail": value, "enable_thinking": False})

    assert shown(template) == shown(THINKING, tail=value, enable_thinking=False)
    assert shown(template, tail="x") == shown(THINKING, tail="x", enable_thinking=False)


@pytest.mark.parametrize(
    "begin", ["", "\n", "  ", "\n  {% if true %}\n", "{%- if true %}", "  {% if true %}"]
)
def test_options_change_nothing_else(begin):
    template = begin + THINKING + ("{% endif %}" if "if" in begin else "")

    assert shown(with_defaults(template, {"tail": "x"})) == shown(template, tail="x")


def test_a_template_from_a_checkpoint_has_its_options_already():
    template = with_defaults(THINKING, {"tail": "x"})

    assert with_defaults(template, {"tail": "x"}) == template
    assert shown(with_defaults(template, {"tail": "y"})) == shown(THINKING, tail="y")


def test_an_option_that_the_template_never_asks_for_is_refused():
    with pytest.raises(
        UnusableModel, match=r'"enable_thinkin", for which .* asks for enable_thinking, messages, tail'
    ):
        with_defaults(THINKING, {"enable_thinkin": False})


@pytest.mark.parametrize(
    "options, told",
    [
        ({"messages": []}, "names that a template may look for"),
        ({"a b": 1}, "names that a template may look for"),
        ({"bos_token": ""}, "names that a template may look for"),
    ],
)
def test_options_that_could_not_be_honoured_are_refused(options, told):
    with pytest.raises(ValidationError, match=told):
        Settings.model_validate({"model": {"template_options": options}})


def test_chatml_takes_no_options():
    with pytest.raises(ValidationError, match="no options where chat_template is"):
        Settings.model_validate({"model": {"chat_template": "chatml", "template_options": {"x": 1}}})


@pytest.mark.parametrize(
    "bomb",
    [
        "{{ 'a' * 200000000 }}",
        "{{ 'a' * 10**12 }}",
        "{% set ns = namespace(x='a') %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
    ],
)
def test_a_template_that_would_take_all_memory_is_refused_when_the_model_is_loaded(bomb):
    tokenizer = _tokenizer()
    tokenizer.chat_template = bomb

    with pytest.raises(UnusableModel, match=r'template of base model "a model" needs more than .*"chatml"'):
        choose_template(tokenizer, "own", "a model")


def test_a_template_that_never_ends_is_refused(monkeypatch):
    code = (
        "import runpy; from trainer.model import template_trial as trial; trial.CPU_S = 1;"
        "runpy.run_module(trial.MODULE, run_name='__main__')"
    )
    monkeypatch.setattr(one_shot, "command_of", lambda module: [sys.executable, "-P", "-c", code])
    tokenizer = _tokenizer()
    tokenizer.chat_template = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"

    with pytest.raises(UnusableModel, match="needs more than"):
        choose_template(tokenizer, "own", "a model")


@pytest.mark.parametrize(
    "template", [THINKING, "{% for i in range(10**9) %}x{% endfor %}", "{{ messages[7].x.y }}"]
)
def test_a_template_that_only_fails_is_left_to_the_rows(template):
    tokenizer = _tokenizer()
    tokenizer.chat_template = template

    choose_template(tokenizer, "own", "a model")

    assert tokenizer.chat_template == template
