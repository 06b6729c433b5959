"""Llama."""

import json
from collections.abc import Iterator

from tests.trainer.templates import jinja
from tests.trainer.templates.families.family import (
    Family,
    Part,
    Refused,
    Turns,
    as_json,
    by_role,
    name_and_arguments,
    same,
    system_apart,
    system_in_first_question,
)
from trainer.data.conversation import Conversation

HEADS = by_role("<|start_header_id|>ROLE<|end_header_id|>\n\n")


def llama_2(conversation: Conversation) -> Iterator[Part]:
    for i, message, said in system_in_first_question(
        conversation, "<<SYS>>\n", "\n<</SYS>>\n\n", strips_all=True
    ):
        if message.role == "user":
            yield Part(f"<s>[INST] {said} [/INST]", i)
        elif message.role == "assistant":
            yield Part(f" {said} </s>", i, is_produced=True)


def llama_3_1(conversation: Conversation) -> Iterator[Part]:
    system, messages = system_apart(conversation)
    ipython = "Environment: ipython\n" if conversation.tools else ""
    yield Part(f"<s><|start_header_id|>system<|end_header_id|>\n\n{ipython}Today Date: 26 Jul 2024\n\n", 0)
    yield Part(f"{(system or '').strip()}<|eot_id|>", 0)
    given = "".join(json.dumps(tool, indent=4, ensure_ascii=False) + "\n\n" for tool in conversation.tools)
    if given:
        given = f"Given the following functions, respond with a call.\n\n{given}"
        if not messages:
            raise Refused
    for i, message in messages:
        role = "ipython" if message.role == "tool" else message.role
        yield Part(f"<|start_header_id|>{role}<|end_header_id|>\n\n{given}", i)
        given = ""
        said = message.content if role == "ipython" else message.content.strip()
        if len(message.tool_calls) > 1:
            raise Refused
        for call in message.tool_calls:
            said = name_and_arguments(call, key="parameters")
        yield Part(f"{said}<|eot_id|>", i, is_produced=role == "assistant")


# ---- Llama 4: words and calls in one turn, as many as there are

LLAMA_4 = """\
{{- bos_token }}
{%- set turns = messages[1:] if messages[0].role == 'system' else messages %}
{%- if tools or messages[0].role == 'system' %}
    {{- '<|header_start|>system<|header_end|>\\n\\n' }}
    {{- messages[0].content | trim if messages[0].role == 'system' else 'You may call.' }}
    {%- for tool in tools or [] %}{{- '\\n\\n' + (tool | tojson(indent=4)) }}{%- endfor %}
    {{- '<|eot|>' }}
{%- endif %}
{%- for m in turns %}
    {{- '<|header_start|>' + ('ipython' if m.role == 'tool' else m.role) + '<|header_end|>\\n\\n' }}
    {%- if m.role == 'tool' %}{{- m.content | tojson }}
    {%- else %}
        {{- m.content | trim }}
        {%- if m.tool_calls %}
            {{- '<|python_start|>' }}
            {%- for call in m.tool_calls %}
                {{- '{"name": "' + call.function.name + '", "parameters": ' }}
                {{- call.function.arguments | tojson + '}' }}
            {%- endfor %}
            {{- '<|python_end|>' }}
        {%- endif %}
    {%- endif %}
    {{- '<|eot|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|header_start|>assistant<|header_end|>\\n\\n' }}{%- endif %}"""


def llama_4(conversation: Conversation) -> Iterator[Part]:
    system, messages = system_apart(conversation)
    yield Part("<s>", 0)
    if conversation.tools or system is not None:
        tools = "".join(
            "\n\n" + json.dumps(tool, indent=4, ensure_ascii=False) for tool in conversation.tools
        )
        told = "You may call." if system is None else system.strip()
        yield Part(f"<|header_start|>system<|header_end|>\n\n{told}{tools}<|eot|>", 0)
    for i, message in messages:
        role = "ipython" if message.role == "tool" else message.role
        yield Part(f"<|header_start|>{role}<|header_end|>\n\n", i)
        said = as_json(message.content) if message.role == "tool" else message.content.strip()
        if message.tool_calls:
            calls = "".join(name_and_arguments(call, key="parameters") for call in message.tool_calls)
            said += f"<|python_start|>{calls}<|python_end|>"
        yield Part(f"{said}<|eot|>", i, is_produced=role == "assistant")


# ---- Llama Nemotron: thoughts within the words go, in every turn; the system speaks, if only nothing

NEMOTRON = (
    "{{ bos_token }}{% if messages[0].role != 'system' %}"
    "{{ '<|start_header_id|>system<|end_header_id|>\n\n<|eot_id|>' }}{% endif %}{% for m in messages %}"
    "{% set words = m.content %}{% if m.role == 'assistant' and '</think>' in words %}"
    "{% set words = words.split('</think>')[-1].lstrip() %}{% endif %}"
    "{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' + words | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)

FAMILIES = [
    Family("llama 2", jinja.LLAMA_2, llama_2, bos="<s>"),
    Family(
        "llama 3",
        jinja.LLAMA_3,
        Turns(HEADS, same("<|eot_id|>"), before="<s>", strips=True),
        bos="<s>",
        eos="<|eot_id|>",
    ),
    Family("llama 3.1", jinja.LLAMA_3_1, llama_3_1, bos="<s>", eos="<|eot_id|>", shows_tools=True),
    Family("llama 4", LLAMA_4, llama_4, bos="<s>", eos="<|eot|>", shows_tools=True),
    Family(
        "llama nemotron",
        NEMOTRON,
        Turns(
            HEADS,
            same("<|eot_id|>"),
            before="<s>",
            default_system="<|start_header_id|>system<|end_header_id|>\n\n<|eot_id|>",
            strips=True,
            says=lambda message: message.content.split("</think>")[-1].lstrip(),
        ),
        bos="<s>",
        eos="<|eot_id|>",
    ),
]
