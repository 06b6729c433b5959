"""What is remembered of templates and words changes nothing: every row comes out as if rendered by itself."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from tests.trainer.data.rendering.small_templates import (
    BARE,
    DEFAULT_SYSTEM,
    FORGETFUL,
    NO_LINE_END,
    REFUSING,
    TRICKY,
    conversation,
)
from trainer.data.conversation import REASONING_KEYS, Conversation
from trainer.data.rendering.render import (
    ExampleRenderer,
    UnrenderableConversation,
    UnusableTemplate,
    render_examples,
)
from trainer.data.rendering.render import Tokenizer as RowTokenizer
from trainer.data.rendering.template_analysis import only_shows_content
from trainer.data.rendering.word_memo import GPT_2, KNOWN_EXPRESSIONS, WordMemo, describe, find_expression
from trainer.model import tiny
from trainer.model.template_choice import CHATML

QWEN_2_5 = """\
{%- if tools %}{{- messages[0]['content'] | trim }}{%- else %}
    {%- if messages[0]['role'] == 'system' %}
        {{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}
    {%- else %}
        {{- '<|im_start|>system\\nYou are helpful.<|im_end|>\\n' }}
    {%- endif %}
{%- endif %}
{%- for message in messages %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) or \
(message.role == "assistant" and not message.tool_calls) %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {%- for tool_call in message.tool_calls %}{{- tool_call.name | tojson }}{%- endfor %}
    {%- elif message.role == "tool" %}
        {%- if (loop.index0 == 0) or (messages[loop.index0 - 1].role != "tool") %}
            {{- '<|im_start|>user' }}
        {%- endif %}
        {{- '\\n<tool_response>\\n' }}{{- message.content }}{{- '\\n</tool_response>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}{{- '<|im_end|>\\n' }}{%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"""
TRIMMING = NO_LINE_END.replace("m['content']", "m['content'] | trim")
INSPECTING = NO_LINE_END.replace("m['content']", "('!' if 'a' in m['content'] else '?') + m['content']")
LATE_LOOK = NO_LINE_END + "{%- if add_generation_prompt and messages[0].content == 'a' -%}x{%- endif -%}"
SHOWING = [CHATML, QWEN_2_5, NO_LINE_END, BARE, DEFAULT_SYSTEM]
LOOKING = [TRIMMING, INSPECTING, LATE_LOOK, REFUSING]
SPLIT = {"type": "Split", "behavior": "Isolated", "invert": False}
BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
EXPRESSIONS = [GPT_2, *KNOWN_EXPRESSIONS]

TURN_LISTS = st.lists(
    st.tuples(
        st.sampled_from(["system", "user", "assistant", "assistant", "tool"]),
        st.sampled_from(
            [*TRICKY, "'S it\u2019s", "\u017f's\u212a", "x\x1c y", "caf\u00e9 1\u00bd", "\u0130 \uff11"]
        )
        | st.text(max_size=12),
    ),
    min_size=1,
    max_size=5,
)


def make_tokenizer(template: str, expression: str = GPT_2, normalizer: Any = None) -> PreTrainedTokenizerFast:
    """Return the tokenizer of `tiny`, cutting words in the way of another family."""
    described = json.loads(tiny.tokenizer().backend_tokenizer.to_str())
    if expression != GPT_2:
        split = SPLIT | {"pattern": {"Regex": expression}}
        described["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [split, BYTES]}
    described["normalizer"] = normalizer
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(described)),
        chat_template=template,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        clean_up_tokenization_spaces=False,
    )


TOKENIZERS = {
    (template, expression): make_tokenizer(
        template, expression, {"type": "NFC"} if "{1,3}" not in expression else None
    )
    for template in [*SHOWING, *LOOKING, FORGETFUL]
    for expression in EXPRESSIONS
}
RENDERERS = {key: ExampleRenderer(tokenizer) for key, tokenizer in TOKENIZERS.items()}


def outcome(render: Any, row: Any) -> Any:
    try:
        return render([row])
    except (UnrenderableConversation, UnusableTemplate) as error:
        return type(error)


@pytest.mark.parametrize("expression", EXPRESSIONS)
@pytest.mark.parametrize("template", [*SHOWING, *LOOKING, FORGETFUL])
@settings(max_examples=40)
@given(
    turns=TURN_LISTS,
    untrained=st.sets(st.integers(0, 4), max_size=2),
    overlong=st.sampled_from(["truncate_left_turns", "truncate_right", "split", "drop"]),
    train_on=st.sampled_from(["assistant", "assistant", "last_assistant", "all"]),
)
def test_a_row_is_rendered_as_if_nothing_were_remembered(
    template, expression, turns, untrained, overlong, train_on
):
    tokenizer: RowTokenizer = TOKENIZERS[template, expression]
    messages = conversation(*turns).messages
    row = Conversation(
        tuple(replace(message, is_trained=i not in untrained) for i, message in enumerate(messages))
    )
    way: Any = {"max_length": 60, "overlong": overlong, "train_on": train_on}

    fast = outcome(lambda rows: RENDERERS[template, expression].render(rows, **way), row)

    assert fast == outcome(lambda rows: render_examples(rows, tokenizer, **way), row)


@pytest.mark.parametrize("expression", EXPRESSIONS)
@given(text=st.text(max_size=40), alphabet=st.text(max_size=3))
def test_words_are_cut_as_the_tokenizer_cuts_them(expression, text, alphabet):
    tokenizer = TOKENIZERS[CHATML, expression]
    text += alphabet * 3 + " I'll  DON'T\n\n 123 4567 " + alphabet
    memo = WordMemo.of(tokenizer)
    assert memo is not None
    encoding = tokenizer.backend_tokenizer.encode(text, add_special_tokens=False)

    found = memo.encode(text, range(len(text) + 1))

    if found is not None:
        assert found[0] == encoding.ids
        assert found[1] == [
            sum(start < border for start, _ in encoding.offsets) for border in range(len(text) + 1)
        ]


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_every_character_that_is_dealt_with_is_cut_as_the_tokenizer_does(expression):
    tokenizer = TOKENIZERS[CHATML, expression]
    memo = WordMemo.of(tokenizer)
    assert memo is not None
    characters = [chr(code) for code in (*range(0xD800), *range(0xE000, 0x1FB00))]
    texts = [f"a{char}b 1{char}2 .{char}. '{char} {char}  {char}\n" for char in characters]

    found = [memo.encode(text, []) for text in texts]

    known = [(text, each[0]) for text, each in zip(texts, found, strict=True) if each]
    expected = tokenizer([text for text, _ in known], add_special_tokens=False).input_ids
    assert [ids for _, ids in known] == expected
    assert len(known) > 40_000


# ---- what is understood

# Remembers something of one turn for the next
NOTING = (
    "{% set ns = namespace(asked=FIRST) %}{% for m in messages %}"
    "{{ m.role + ': ' + m.content + (' asked' if ns.asked else '') + '<|im_end|>' }}"
    "{% set ns.asked = LATER %}{% endfor %}{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
)
LOOKING_NOTES = [
    ("messages[0].content", "true"),
    ("false", "m.content"),
    ("false", "m.content == 'a'"),
    ("'a'", "ns.asked + ns.asked"),  # grows without end
    ("false", "ns.asked ~ 'a'"),
]


@pytest.mark.parametrize(
    "template",
    [*SHOWING, NOTING.replace("FIRST", "false").replace("LATER", "m.name or m.role == 'assistant'")],
)
def test_a_template_that_only_shows_content_is_run_once_for_the_same_roles(template):
    tokenizer = make_tokenizer(template)
    renderer = ExampleRenderer(tokenizer)
    renderer.render([conversation(("user", "q"), ("assistant", "a"))], max_length=60)
    again = conversation(("user", "r"), ("assistant", "b"))
    [expected] = render_examples([again], tokenizer, max_length=60)
    tokenizer.chat_template = "{{ raise_exception('not again') }}"

    assert outcome(lambda rows: renderer.render(rows, max_length=60), again) == [expected]


@pytest.mark.parametrize(
    "template",
    [
        *LOOKING,
        "{{ messages }}",
        "{{ messages[0].content | length }}",
        "{% set x = messages[0].content %}{{ x }}",
        "{% for m in messages %}{{ m }}{% endfor %}",
        "{% for m in messages %}{{ m['con' + 'tent'] }}{% endfor %}",
        "{% for m in messages %}{{ m.content[0] }}{% endfor %}",
        "{% for m in messages %}{{ m.content == m.role }}{% endfor %}",
        "{% for m in messages %}{% if m.content in 'ab' %}x{% endif %}{% endfor %}",
        "{% for m in messages if m.content == 'a' %}x{% endfor %}",
        "{% for loop in messages %}{{ loop }}{% endfor %}",
        "{% for m in messages | reverse %}{{ m.content }}{% endfor %}",
        "{% for m in messages %}{{ m.content * 2 }}{% endfor %}",
        "{% for m in messages %}{{ m.items() }}{% endfor %}",
        "{{ strftime_now('%d') }}",
        "{% macro f(m) %}{{ m.content }}{% endmacro %}{{ f(messages[0]) }}",
        "{% include 'x' %}",
        "{% if",
        *[NOTING.replace("FIRST", first).replace("LATER", later) for first, later in LOOKING_NOTES],
        "{% for m in messages %}{% set m = namespace(a=1) %}{{ m.content }}{% endfor %}",
        "{% set m = namespace(a=1) %}{% for m in messages %}{{ m.content == 'a' }}{% endfor %}",
        "{% set namespace = namespace(a=1) %}{{ namespace(a=messages[0].content) }}",
        "{% for m in messages %}{% set m.content = 'a' %}{{ m.content }}{% endfor %}",
    ],
)
def test_a_template_that_does_more_than_show_is_not_taken_for_one_that_shows(template):
    assert not only_shows_content(template)


@pytest.mark.parametrize("key", REASONING_KEYS)
def test_a_template_that_would_show_thoughts_is_run_once_for_rows_without(key):
    thoughts = f"{{% if m.{key} %}}{{{{ '<think>' + m.{key} }}}}{{% endif %}}"
    template = f"{{% for m in messages %}}{thoughts}{{{{ m.content + '<|im_end|>' }}}}{{% endfor %}}"

    assert only_shows_content(template)
    assert not only_shows_content(template.replace(key, "mood"))


@pytest.mark.parametrize(
    "change",
    [
        {"normalizer": {"type": "Lowercase"}},
        {"pre_tokenizer": {"type": "Whitespace"}},
        {"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True, "use_regex": True}},
        {
            "pre_tokenizer": {
                "type": "Sequence",
                "pretokenizers": [SPLIT | {"pattern": {"Regex": "a"}}, BYTES],
            }
        },
        {"post_processor": {"type": "ByteLevel", "trim_offsets": True}},
        {"model": {"type": "Unigram"}},
        {"model": {"type": "BPE", "dropout": 0.1}},
        {"truncation": {"max_length": 4}},
        {
            "added_tokens": [
                {"content": "x", "single_word": True, "lstrip": False, "rstrip": False, "normalized": False}
            ]
        },
    ],
)
def test_a_tokenizer_that_does_anything_else_is_asked_itself(change):
    described = json.loads(tiny.tokenizer().backend_tokenizer.to_str())
    assert find_expression(described) == GPT_2

    assert find_expression(described | change) is None


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"normalizer": {"type": "NFC"}},
        {"truncation": {"max_length": 4, "strategy": "LongestFirst", "direction": "Right", "stride": 0}},
        {"post_processor": {"type": "ByteLevel", "trim_offsets": True, "add_prefix_space": True}},
        {
            "pre_tokenizer": {
                "type": "Sequence",
                "pretokenizers": [SPLIT | {"pattern": {"Regex": "a"}}, BYTES],
            }
        },
    ],
)
def test_a_tokenizer_is_described_as_in_its_json_but_for_its_vocabulary(change):
    written = json.loads(tiny.tokenizer().backend_tokenizer.to_str())
    written["model"]["dropout"] = 0.5
    written["added_tokens"][1]["lstrip"] = True
    tokenizer = Tokenizer.from_str(json.dumps(written | change))
    written = json.loads(tokenizer.to_str())

    described = describe(tokenizer)

    assert described.keys() < written.keys()
    for name in described.keys() - {"model", "added_tokens"}:
        assert bool(described[name]) == bool(written[name])
        assert not written[name] or name in ("truncation", "padding") or described[name] == written[name]
    assert described["model"].items() <= written["model"].items()
    for one, other in zip(described["added_tokens"], written["added_tokens"], strict=True):
        assert one.items() <= other.items()
