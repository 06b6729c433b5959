"""Which chat template a model is trained with."""

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tests.support import every_case
from tests.trainer.templates import jinja
from tests.trainer.templates.originals import with_real_words
from tests.trainer.templates.test_masks import said
from tests.trainer.templates.test_training_templates import ALL_SHAPES, MORE_SHAPES
from trainer.config.lock import LockedSetting
from trainer.config.schema import CheckpointSettings, Settings
from trainer.data.conversation import Conversation, Message
from trainer.data.rendering.chat_template import IN_USE, OTHER_TEMPLATES, ShownTurns
from trainer.data.rendering.template_analysis import only_shows_content
from trainer.model import tiny
from trainer.model.template_choice import (
    CHATML,
    MOST_BYTES,
    PLAIN_CHATML,
    RESULTS_BEGIN_WITHIN,
    choose_template,
    locate_template,
    with_defaults,
)
from trainer.model.training_templates import BY_NAME, TemplateInUse, sha256_of
from trainer.model.vocabulary import name_tokens
from trainer.protocol import one_shot
from trainer.protocol.faults import UnusableModel
from trainer.session.engine import TrainerEngine


def test_the_models_own_template_is_kept_unless_asked():
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = "{{ messages }}"

    choose_template(tokenizer, "own", "a model")

    assert tokenizer.chat_template == "{{ messages }}"


def test_chatml_takes_the_place_of_any_template_and_ends_turns_with_its_marker():
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template, tokenizer.eos_token = None, "<|endoftext|>"

    choose_template(tokenizer, "chatml", "a model")

    assert tokenizer.chat_template == CHATML
    assert tokenizer.eos_token == "<|im_end|>"


def test_rows_without_tools_look_as_they_did_before_chatml_knew_tools():
    rows = [conversation for name, conversation in ALL_SHAPES.items() if not conversation.tools]
    rows = [row for row in rows if not any(message.tool_calls for message in row.messages)]
    rows.append(said(("user", "q"), ("assistant", "<tool_call>"), ("tool", "42"), ("assistant", "a")))

    for row in rows:
        for asks in (False, True):
            assert shown_by(CHATML, row, asks=asks) == shown_by(PLAIN_CHATML, row, asks=asks)
    assert len(rows) > 20
    assert only_shows_content(CHATML)


def test_tools_look_as_in_qwen_2_5():
    own = with_real_words(jinja.QWEN_2_5)
    rows = [row for row in ALL_SHAPES.values() if row.tools]

    for row in rows:
        system = () if row.messages[0].role == "system" else (Message("system", "You are Qwen."),)
        spoken = replace(row, messages=(*system, *row.messages))
        assert shown_by(CHATML, spoken, asks=True) == shown_by(own, spoken, asks=True)
    assert len(rows) > 5


def test_results_of_calls_are_shown_as_such_even_if_the_row_does_not_list_its_tools():
    row = MORE_SHAPES["calls"]

    without = shown_by(CHATML, replace(row, tools=()), asks=False)

    assert shown_by(CHATML, row, asks=False).endswith(without)
    assert (
        without.count("<|im_start|>user\n<tool_response>\n42\n</tool_response>\n<tool_response>\nnone\n") == 1
    )


@pytest.mark.parametrize("lists_tools", [False, True])
def test_all_results_of_one_turn_share_a_turn_however_many_there_are(lists_tools):
    call = {"type": "function", "function": {"name": "f", "arguments": {}}}
    with every_case() as cases:
        for num_results in range(1, 21):
            with cases.case(f"{num_results} results"):
                results = [Message("tool", f"r{i}") for i in range(num_results)]
                asked = (Message("user", "q"), Message("assistant", "", tool_calls=(call,) * num_results))
                row = Conversation((*asked, *results, Message("assistant", "a")))
                row = replace(row, tools=MORE_SHAPES["calls"].tools if lists_tools else ())

                text = shown_by(CHATML, row, asks=False)

                shared = "".join(f"\n<tool_response>\nr{i}\n</tool_response>" for i in range(num_results))
                end = f"</tool_call><|im_end|>\n<|im_start|>user{shared}<|im_end|>\n<|im_start|>assistant\na"
                assert text.endswith(f"{end}<|im_end|>\n")
                assert text.count("<|im_start|>") == text.count("<|im_end|>") == 4 + lists_tools


def test_what_a_tool_says_long_after_the_last_calls_is_a_turn_of_its_own():
    call = {"type": "function", "function": {"name": "f", "arguments": {}}}
    calls = (Message("user", "q"), Message("assistant", "", tool_calls=(call,)), Message("tool", "r"))

    def last_turn(turns_between: int) -> str:
        between = said(("assistant", "a"), *[("user", "q")] * (turns_between - 2)).messages
        row = Conversation((*calls, *between, Message("tool", "s"), Message("tool", "t")))
        return shown_by(CHATML, row, asks=False).split("q<|im_end|>\n")[-1]

    share = "<|im_start|>user\n<tool_response>\ns\n</tool_response>\n<tool_response>\nt\n</tool_response>"
    assert last_turn(RESULTS_BEGIN_WITHIN - 1) == f"{share}<|im_end|>\n"
    alone = "<|im_start|>tool\ns<|im_end|>\n<|im_start|>tool\nt<|im_end|>\n"
    assert last_turn(RESULTS_BEGIN_WITHIN) == alone


def shown_by(template: str, row: Conversation, *, asks: bool) -> str:
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = template
    turns = ShownTurns(row, tokenizer)
    return turns.prompt_after(len(row.messages)) if asks else turns.first(len(row.messages))


def test_a_vocabulary_without_the_markers_is_refused_naming_them():
    class Bare:
        chat_template = unk_token = unk_token_id = None
        convert_tokens_to_ids = {"a": 0, "<|im_start|>": 1}.get

    with pytest.raises(UnusableModel, match=r"has no <\|im_end\|>; use \"own\""):
        choose_template(Bare(), "chatml", "a model")


@pytest.mark.parametrize("wanted", ["own", "chatml"])
def test_a_template_is_chosen_without_listing_a_vocabulary_that_may_be_large(monkeypatch, wanted):
    tokenizer = tiny.tokenizer()
    monkeypatch.setattr(type(tokenizer), "get_vocab", lambda self: pytest.fail("listed"))

    choose_template(tokenizer, wanted, "a model")

    assert name_tokens(tokenizer, []) == []


def test_no_template_at_all_is_refused_with_the_way_out():
    tokenizer = tiny.tokenizer()
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


# ---- the template of a file, and training templates


def test_a_template_can_be_a_file_beside_the_settings_with_options(tmp_path):
    (tmp_path / "mine.jinja").write_text(THINKING, encoding="utf-8")
    tokenizer = tiny.tokenizer()

    choose_template(tokenizer, locate_template("mine.jinja", tmp_path), "a model", {"tail": "é"})

    assert tokenizer.chat_template == with_defaults(THINKING, {"tail": "é"})
    assert getattr(tokenizer, IN_USE) == TemplateInUse(sha256_of(THINKING))


@pytest.mark.parametrize(
    "make, told",
    [
        (lambda path: None, "No such file"),
        (Path.mkdir, "not a regular file"),
        (os.mkfifo, "not a regular file"),
        (lambda path: path.write_bytes(b"\xff"), "can't decode"),
        (lambda path: path.write_text("x" * (MOST_BYTES + 1)), "1,000,001 bytes; expected at most 1,000,000"),
        (lambda path: path.write_text("{{ 'a' * 10**12 }}"), "needs more than .*; use another template"),
    ],
)
def test_a_file_that_is_no_harmless_template_is_refused(tmp_path, make, told):
    make(tmp_path / "mine.jinja")

    with pytest.raises(UnusableModel, match=rf"mine\.jinja.*{told}"):
        choose_template(tiny.tokenizer(), str(tmp_path / "mine.jinja"), "a model")


@pytest.mark.parametrize("wanted", ["", "qwen-3", "template.txt", "a\0.jinja"])
def test_a_setting_that_names_no_template_is_refused(wanted):
    with pytest.raises(ValidationError, match=r"path of a \.jinja file|without NUL"):
        Settings.model_validate({"model": {"chat_template": wanted}})


def thinking_tokenizer():
    tokenizer = tiny.tokenizer()
    tokenizer.add_tokens(["<think>", "</think>"])
    return tokenizer


def test_a_training_template_is_trained_with_and_the_own_one_kept_for_others():
    tokenizer = thinking_tokenizer()
    tokenizer.chat_template = THINKING

    choose_template(tokenizer, "qwen3", "a model", {"enable_thinking": False})

    trained = BY_NAME["qwen3"].text
    assert tokenizer.chat_template == with_defaults(trained, {"enable_thinking": False})
    assert getattr(tokenizer, IN_USE) == TemplateInUse(
        sha256_of(trained),
        may_begin_with_marks=True,
        for_inference=with_defaults(THINKING, {"enable_thinking": False}),
    )


def test_a_training_template_for_other_models_is_refused_naming_the_one_that_fits():
    tokenizer = thinking_tokenizer()
    tokenizer.chat_template = None

    with pytest.raises(UnusableModel, match=r'has no \[INST\] and .*; use "own", or "qwen3", which fits'):
        choose_template(tokenizer, "mistral", "a model")


def test_a_model_without_a_template_is_told_which_one_fits():
    tokenizer = thinking_tokenizer()
    tokenizer.chat_template = None

    with pytest.raises(UnusableModel, match=r'set model\.chat_template to "qwen3"'):
        choose_template(tokenizer, "own", "a model")


def test_whoever_refuses_a_template_can_try_those_that_fit_the_model():
    tokenizer = thinking_tokenizer()

    def others() -> list[str]:
        return [other.setting for other in getattr(tokenizer, OTHER_TEMPLATES)()]

    choose_template(tokenizer, "own", "a model")
    assert others() == ['set model.chat_template to "chatml"']
    tokenizer.chat_template = "{{ '<|im_start|>' }}{# </think> <tool_call> #}{{ messages }}"
    choose_template(tokenizer, "own", "a model")
    assert others() == [
        'set model.chat_template to "qwen3"',
        'set model.chat_template to "qwen3" and set model.template_options to {"enable_thinking": false}',
        'set model.chat_template to "qwen3" and set model.template_options to {"enable_thinking": true}',
        'set model.chat_template to "chatml"',
    ]
    choose_template(tokenizer, "qwen3", "a model", {"enable_thinking": False})
    assert others() == [
        "set model.template_options to {}",
        'set model.template_options to {"enable_thinking": true}',
        'set model.chat_template to "chatml" and set model.template_options to {}',
    ]


def test_advice_keeps_the_options_that_are_given():
    tokenizer = thinking_tokenizer()
    asks = "{{ date_string }}{{ tone }}{{ enable_thinking }}{{ messages }}"
    tokenizer.chat_template = asks
    given = {"date_string": "1 May", "tone": "dry"}

    choose_template(tokenizer, "own", "a model", given)

    settings = [other.setting for other in getattr(tokenizer, OTHER_TEMPLATES)()]
    dry = '"date_string": "1 May", "tone": "dry"'
    assert settings == [
        f'set model.template_options to {{{dry}, "enable_thinking": false}}',
        f'set model.template_options to {{{dry}, "enable_thinking": true}}',
        'set model.template_options to {"tone": "dry"}',
        'set model.template_options to {"date_string": "1 May"}',
        'set model.chat_template to "chatml" and set model.template_options to {}',
    ]


def test_advice_needs_the_templates_file_no_more(tmp_path):
    tokenizer = thinking_tokenizer()
    path = tmp_path / "mine.jinja"
    path.write_text("{{ enable_thinking }}{{ messages }}")
    choose_template(tokenizer, str(path), "a model")
    path.unlink()

    first, *_ = getattr(tokenizer, OTHER_TEMPLATES)()

    assert first.setting == 'set model.template_options to {"enable_thinking": false}'
    assert first.text.endswith("{{ enable_thinking }}{{ messages }}")


# ---- options, and templates that must not be run

THINKING = (
    "{% for m in messages %}{{ m['role'] + ':' + m['content'] }}<|im_end|>{% endfor %}"
    "{% if enable_thinking is defined and not enable_thinking %}quiet{% endif %}{{ tail }}"
)


def shown(template: str, **given: Any) -> str:
    tokenizer = tiny.tokenizer()
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
        UnusableModel, match=r'"enable_thinkin", which .* reads enable_thinking, messages, tail'
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
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = bomb

    with pytest.raises(UnusableModel, match=r'template of base model "a model" needs more than .*"chatml"'):
        choose_template(tokenizer, "own", "a model")


def test_a_template_that_never_ends_is_refused(monkeypatch):
    code = (
        "import runpy; from trainer.model import template_trial as trial; trial.CPU_S = 1;"
        "runpy.run_module(trial.MODULE, run_name='__main__')"
    )
    monkeypatch.setattr(one_shot, "command_of", lambda module: [sys.executable, "-P", "-c", code])
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"

    with pytest.raises(UnusableModel, match="needs more than"):
        choose_template(tokenizer, "own", "a model")


@pytest.mark.parametrize(
    "template", [THINKING, "{% for i in range(10**9) %}x{% endfor %}", "{{ messages[7].x.y }}"]
)
def test_a_template_that_only_fails_is_left_to_the_rows(template):
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = template

    choose_template(tokenizer, "own", "a model")

    assert tokenizer.chat_template == template
