"""A template that would take all memory or never end is refused, wherever it hides that."""

from typing import Any

import pytest

from tests.trainer.templates import jinja
from tests.trainer.templates.own_templates import TRAIN_AS_THEY_ARE
from trainer.data.conversation import Conversation, Message
from trainer.data.rendering.chat_template import UnrenderableConversation
from trainer.data.rendering.render import ExampleRenderer
from trainer.model import template_trial, tiny
from trainer.model.template_choice import CHATML, PLAIN_CHATML, choose_template
from trainer.model.template_cost import is_certainly_cheap
from trainer.model.template_trial import names_asked_for, refuse_costly_template
from trainer.protocol.faults import UnusableModel

BOMB, WIDE = "{{ 'a' * 10**10 }}", "{{ '%9999999999s' % 'a' }}"


def each(of_turn: str) -> str:
    return PLAIN_CHATML + "{% for m in messages %}" + of_turn + "{% endfor %}"


def nested(times: int, over: str) -> str:
    loops = "".join(f"{{% for a{i} in {over} %}}" for i in range(times))
    return loops + "{{ messages[0].content }}" + "{% endfor %}" * times


@pytest.mark.parametrize(
    "template",
    [
        PLAIN_CHATML + "{% if tools %}" + BOMB + "{% endif %}",
        PLAIN_CHATML + "{% if tools %}" + WIDE + "{% endif %}",
        PLAIN_CHATML + "{% if tools %}{{ tools | tojson(indent=10**10) }}{% endif %}",
        PLAIN_CHATML + "{% if tools %}" + nested(14, "tools[0].function") + "{% endif %}",
        PLAIN_CHATML + "{{ '%9999999999s' % messages[0]['role'] }}",
        PLAIN_CHATML + "{% if messages | length > 4 %}" + BOMB + "{% endif %}",
        PLAIN_CHATML + "{% if messages[58] %}" + BOMB + "{% endif %}",
        each("{% if m.tool_calls %}" + BOMB + "{% endif %}"),
        each("{% if m.tool_calls %}{{ m.tool_calls[0].function.arguments + 'a' * 10**10 }}{% endif %}"),
        each("{% if m.role == 'tool' %}{{ m.name.center(10**10) }}{% endif %}"),
        each("{% if m.reasoning_content %}" + BOMB + "{% endif %}"),
        each("{% if m.thinking and m.tool_calls %}" + BOMB + "{% endif %}"),
        "{{ raise_exception('no system') if messages[0].role == 'system' }}" + each("{{ 'a' * 10**7 }}"),
        nested(6, "messages"),
        "{% set all = messages %}" + each(nested(5, "all")),
        "{% set w = namespace(x='a') %}" + each("{% set w.x = w.x + w.x %}") + "{{ w.x }}",
    ],
)
def test_a_costly_template_is_refused_wherever_it_hides_that(template):
    with pytest.raises(UnusableModel, match=r"a template needs more than .* to show 60 short turns"):
        refuse_costly_template(template, "a template")


OWN = [original.template for original in TRAIN_AS_THEY_ARE if original.name != "qwen3-coder"]


@pytest.mark.parametrize("template", [CHATML, PLAIN_CHATML, jinja.ZEPHYR, jinja.PHI_3, jinja.GEMMA, *OWN])
def test_a_simple_template_needs_no_trial(template, monkeypatch):
    def ask(*_: Any, **__: Any) -> None:
        pytest.fail("a process was started")

    monkeypatch.setattr(template_trial, "ask", ask)

    refuse_costly_template(template, "a template")


@pytest.mark.parametrize(
    "part",
    [
        "{{ '%9s' % 'a' }}",
        "{{ '%9s' % loop.index }}",
        "{{ 'a' * 3 }}",
        "{{ 2 ** 9 }}",
        "{{ range(9) }}",
        "{{ m.content.center(9) }}",
        "{{ m.content | center(9) }}",
        "{{ m | tojson(indent=9) }}",
        "{% for n in messages %}{% endfor %}",
        "{% for n in messages[1:] %}{% endfor %}",
        "{% for n in tools %}{% endfor %}",
        "{% for n in m.a %}{% for o in m.a %}{% endfor %}{% endfor %}",
        "{% for n in [messages] %}{% for o in n %}{% endfor %}{% endfor %}",
        "{% for n in m.a['%9s' % 'a'] %}{% endfor %}",
        "{% set m = messages %}{% for n in m %}{% endfor %}",
        "{% set x = m.content + m.content %}",
        "{% set x %}{{ m.content }}{% endset %}",
        "{% macro x() %}a{% endmacro %}{{ x() }}",
        "{% for n in m recursive %}{{ loop(n) }}{% endfor %}",
    ],
)
def test_what_is_not_certainly_cheap_is_tried(part):
    assert is_certainly_cheap(each("{{ m.content }}"))

    assert not is_certainly_cheap(each(part))
    assert not is_certainly_cheap(each("{% if tools %}" + part + "{% endif %}"))


@pytest.mark.parametrize("template", ["{{ " + "1 + " * 20_000 + "1 }}", "{{ 2 ** 100000 }}"])
def test_a_template_that_cannot_be_walked_or_compiled_refuses_the_conversation(template):
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = template
    row = Conversation((Message("user", "q"), Message("assistant", "a")))

    assert names_asked_for(template) == frozenset()
    assert not is_certainly_cheap(template)
    with pytest.raises(UnrenderableConversation, match="the chat template refuses the conversation"):
        ExampleRenderer(tokenizer).render([row], max_length=100)


def test_a_text_out_of_all_proportion_to_its_row_is_refused():
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = PLAIN_CHATML + "{{ 'a' * 1000000 if messages[0].content == 'now' }}"
    choose_template(tokenizer, "own", "a model")
    row = Conversation((Message("user", "now"), Message("assistant", "a")))

    with pytest.raises(
        UnrenderableConversation, match=r"makes 1,000,\d+ characters of a row of \d+; expected"
    ):
        ExampleRenderer(tokenizer).render([row], max_length=100)


def test_a_long_row_may_have_a_long_text():
    row = Conversation((Message("user", "now" * 500_000), Message("assistant", "a")))

    [[example]] = ExampleRenderer(tiny.tokenizer()).render([row], max_length=10**7)

    assert not example.is_truncated
