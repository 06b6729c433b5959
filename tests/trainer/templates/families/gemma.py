"""Gemma."""

from collections.abc import Iterator

from tests.trainer.templates import jinja
from tests.trainer.templates.families.family import (
    Family,
    Part,
    Parts,
    Turns,
    as_json,
    by_role,
    last_question,
    system_apart,
    system_in_first_question,
    thoughts_of,
)
from trainer.data.conversation import Conversation


def gemma_3(conversation: Conversation) -> Iterator[Part]:
    yield Part("<bos>", 0)
    for i, message, said in system_in_first_question(conversation, "", "\n\n"):
        role = "model" if message.role == "assistant" else message.role
        yield Part(f"<start_of_turn>{role}\n", i)
        yield Part(f"{said}<end_of_turn>", i, is_produced=message.role == "assistant")
        yield Part("\n", i)


# ---- Gemma 4: thoughts behind the last question if the model may think; else every prompt has an empty block

GEMMA_4 = """\
{{- bos_token }}
{%- set turns = messages[1:] if messages[0].role == 'system' else messages %}
{%- set thinks = enable_thinking is defined and enable_thinking %}
{%- if thinks or tools or messages[0].role == 'system' %}
    {{- '<|turn>system\\n' + ('<|think|>\\n' if thinks else '') }}
    {{- messages[0].content | trim if messages[0].role == 'system' else '' }}
    {%- for tool in tools or [] %}{{- '<|tool>' + (tool | tojson) + '<tool|>' }}{%- endfor %}
    {{- '<turn|>\\n' }}
{%- endif %}
{%- set ns = namespace(last=-1) %}
{%- for m in turns %}{%- if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{%- endfor %}
{%- for m in turns %}
    {{- '<|turn>' + ('model' if m.role == 'assistant' else m.role) + '\\n' }}
    {%- if m.role == 'assistant' and m.reasoning and loop.index0 > ns.last %}
        {{- '<|channel>thought\\n' + m.reasoning + '\\n<channel|>' }}
    {%- endif %}
    {%- if m.role == 'tool' %}{{- '<|tool_response>' + m.content + '<tool_response|>' }}
    {%- else %}{{- m.content | trim }}{%- endif %}
    {%- for call in m.tool_calls or [] %}
        {{- '<|tool_call>call:' + call.function.name + call.function.arguments | tojson + '<tool_call|>' }}
    {%- endfor %}
    {{- '<turn|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|turn>model\\n' + ('' if thinks else '<|channel>thought\\n<channel|>') }}
{%- endif %}"""
GEMMA_4_MARKERS = ("<|turn>", "<turn|>", "<|channel>", "<channel|>", "<|think|>", "<|tool_call>")


def gemma_4(*, thinks: bool) -> Parts:
    def parts(conversation: Conversation) -> Iterator[Part]:
        system, messages = system_apart(conversation)
        yield Part("<bos>", 0)
        if thinks or conversation.tools or system is not None:
            told = ("<|think|>\n" if thinks else "") + (system or "").strip()
            tools = "".join(f"<|tool>{as_json(tool)}<tool|>" for tool in conversation.tools)
            yield Part(f"<|turn>system\n{told}{tools}<turn|>\n", 0)
        last = last_question(conversation)
        for i, message in messages:
            role = "model" if message.role == "assistant" else message.role
            said = message.content.strip()
            if role == "tool":
                said = f"<|tool_response>{message.content}<tool_response|>"
            if role == "model" and i > last and thoughts_of(message):
                said = f"<|channel>thought\n{thoughts_of(message)}\n<channel|>{said}"
            for call in message.tool_calls:
                function = call["function"]
                said += f"<|tool_call>call:{function['name']}{as_json(function['arguments'])}<tool_call|>"
            yield Part(f"<|turn>{role}\n", i)
            yield Part(f"{said}<turn|>", i, is_produced=role == "model")
            yield Part("\n", i)

    return parts


FAMILIES = [
    Family(
        "gemma",
        jinja.GEMMA,
        Turns(
            by_role("<start_of_turn>ROLE\n", assistant="model"),
            {"user": "<end_of_turn>\n", "assistant": "<end_of_turn>"},
            before="<bos>",
            behind="\n",
            strips=True,
            alternates=True,
            system="refused",
        ),
        bos="<bos>",
        eos="<end_of_turn>",
    ),
    Family("gemma 3", jinja.GEMMA_3, gemma_3, bos="<bos>", eos="<end_of_turn>"),
    Family(
        "gemma 4",
        GEMMA_4,
        gemma_4(thinks=False),
        bos="<bos>",
        eos="<turn|>",
        markers=GEMMA_4_MARKERS,
        asks=lambda _: "<|turn>model\n<|channel>thought\n<channel|>",
        shows_tools=True,
    ),
    Family(
        "gemma 4 that may think",
        GEMMA_4,
        gemma_4(thinks=True),
        bos="<bos>",
        eos="<turn|>",
        markers=GEMMA_4_MARKERS,
        options={"enable_thinking": True},
        shows_tools=True,
    ),
]
