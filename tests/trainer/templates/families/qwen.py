"""Qwen: thoughts behind the last question only, empty blocks, and calls in JSON or XML."""

from collections.abc import Iterator, Mapping
from typing import Any

from tests.trainer.templates import jinja
from tests.trainer.templates.families.chatml import answer, im_turn, with_calls
from tests.trainer.templates.families.family import (
    Family,
    Part,
    Parts,
    Refused,
    as_json,
    last_question,
    shared_response,
    system_apart,
    thoughts_of,
)
from trainer.data.conversation import Conversation, Message

SILENT = {"enable_thinking": False}
NO_THOUGHTS = "<think>\n\n</think>\n\n"


def head(conversation: Conversation, default_system: str | None) -> Iterator[Part]:
    system, _ = system_apart(conversation)
    system = default_system if system is None else system
    if conversation.tools:
        given = "".join("\n" + as_json(tool) for tool in conversation.tools)
        told = f"\n\n# Tools\n\n<tools>{given}\n</tools>\n\nReturn a call within <tool_call></tool_call>."
        yield im_turn(0, "system", f"{system or ''}{told}")
    elif system is not None:
        yield im_turn(0, "system", system)


def qwen_2_5(conversation: Conversation) -> Iterator[Part]:
    yield from head(conversation, "You are Qwen.")
    for i, message in system_apart(conversation)[1]:
        if message.role == "tool":
            yield shared_response(conversation.messages, i)
        elif message.role == "assistant":
            yield from answer(i, with_calls(message))
        else:
            yield im_turn(i, message.role, message.content)


def thoughts_and_words(message: Message) -> tuple[str, str]:
    """Return the thoughts of a message, which may stand within its words."""
    if not thoughts_of(message) and "</think>" in message.content:
        thoughts, _, words = message.content.rpartition("</think>")
        return thoughts.rstrip("\n").split("<think>")[-1].lstrip("\n"), words.lstrip("\n")
    return thoughts_of(message), message.content


def qwen_3(*, is_told_not_to: bool = False, is_told_to: bool = False) -> Parts:
    def parts(conversation: Conversation) -> Iterator[Part]:
        yield from head(conversation, None)
        end = len(conversation.messages) - 1
        last = last_question(conversation, default=end)
        for i, message in system_apart(conversation)[1]:
            if message.role == "tool":
                yield shared_response(conversation.messages, i)
            elif message.role != "assistant":
                yield im_turn(i, message.role, message.content)
            else:
                thoughts, words = thoughts_and_words(message)
                yield Part("<|im_start|>assistant\n", i)
                if i > last and (i == end or thoughts):
                    block = "<think>\n" + thoughts.strip("\n") + "\n</think>\n\n"
                    if is_told_to:
                        yield Part("<think>\n", i)
                        block = block.removeprefix("<think>\n")
                    yield Part(block, i, is_produced=not (is_told_not_to and block == NO_THOUGHTS))
                    words = words.lstrip("\n")
                said = with_calls(Message("assistant", words, tool_calls=message.tool_calls))
                yield Part(f"{said}<|im_end|>", i, is_produced=True)
                yield Part("\n", i)

    return parts


def without_prompt(template: str) -> str:
    return template[: template.rindex("{%- if add_generation_prompt")]


THINKING_PROMPT = "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n<think>\\n' }}{%- endif %}"
QWEN_3_THINKING = without_prompt(jinja.QWEN_3) + THINKING_PROMPT

# ---- QwQ: earlier thoughts go, within the words; the last turn keeps what it says

QWQ = (
    "{% for m in messages %}{% if m.role == 'assistant' %}{% set words = m.content %}"
    "{% if not loop.last %}{% set words = words.split('</think>')[-1].lstrip('\n') %}{% endif %}"
    "{{ '<|im_start|>assistant\n' + words + '<|im_end|>\n' }}"
    "{% else %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n<think>\n' }}{% endif %}"
)


def qwq(conversation: Conversation) -> Iterator[Part]:
    for i, message in enumerate(conversation.messages):
        if message.role != "assistant":
            yield im_turn(i, message.role, message.content)
            continue
        is_last = i + 1 == len(conversation.messages)
        yield from answer(
            i, message.content if is_last else message.content.split("</think>")[-1].lstrip("\n")
        )


# ---- Qwen3-Coder: functions and calls in XML; Qwen3.5: the same calls, and thoughts behind the last question

XML_CALLS = """\
{%- for call in m.tool_calls or [] %}
    {{- GAP + '<tool_call>\\n<function=' + call.function.name + '>\\n' }}
    {%- for k, v in call.function.arguments.items() %}
        {{- '<parameter=' + k + '>\\n' + (v | tojson if v is mapping or v is iterable and v is not string \
else v | string) + '\\n</parameter>\\n' }}
    {%- endfor %}
    {{- '</function>\\n</tool_call>' }}
{%- endfor %}"""
CODER = (
    """\
{%- set told = messages[0].content if messages[0].role == 'system' else '' %}
{%- set turns = messages[1:] if messages[0].role == 'system' else messages %}
{%- if told or tools %}
    {{- '<|im_start|>system\\n' + (told or 'You are Qwen.') }}
    {%- for tool in tools or [] %}
        {{- '\\n<function>\\n<name>' + tool.function.name + '</name>' }}
        {%- if tool.function.description %}
            {{- '\\n<description>' + tool.function.description + '</description>' }}
        {%- endif %}
        {%- for name, parameter in (tool.function.parameters.properties or {}).items() %}
            {{- '\\n<parameter>' + name + ': ' + parameter.type + '</parameter>' }}
        {%- endfor %}
        {{- '\\n</function>' }}
    {%- endfor %}
    {{- '<|im_end|>\\n' }}
{%- endif %}
{%- for m in turns %}
    {%- if m.role == 'assistant' %}
        {{- '<|im_start|>assistant' }}
        {%- if m.content or not m.tool_calls %}{{- '\\n' + m.content }}{%- endif %}
        """
    + XML_CALLS.replace("GAP", "'\\n'")
    + """\
        {{- '<|im_end|>\\n' }}
    {%- elif m.role == 'tool' %}
        {{- '<|im_start|>user' if not loop.previtem or loop.previtem.role != 'tool' else '' }}
        {{- '\\n<tool_response>\\n' + m.content + '\\n</tool_response>' }}
        {{- '<|im_end|>\\n' if not loop.nextitem or loop.nextitem.role != 'tool' else '' }}
    {%- else %}{{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"""
)
QWEN_3_5 = (
    """\
{%- set ns = namespace(last=-1) %}
{%- for m in messages %}
    {%- if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}
    {%- if m.role == 'system' and not loop.first %}{{ raise_exception('System comes first.') }}{% endif %}
{%- endfor %}
{%- if ns.last < 0 %}{{ raise_exception('No user query found in messages.') }}{% endif %}
{%- if tools %}
    {{- '<|im_start|>system\\n# Tools' }}
    {%- for tool in tools %}{{- '\\n' + (tool | tojson) }}{%- endfor %}
    {%- if messages[0].role == 'system' %}{{- '\\n\\n' + messages[0].content | trim }}{%- endif %}
    {{- '<|im_end|>\\n' }}
{%- elif messages[0].role == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0].content | trim + '<|im_end|>\\n' }}
{%- endif %}
{%- for m in messages %}
    {%- set words = m.content | trim %}
    {%- if m.role == 'user' %}{{- '<|im_start|>user\\n' + words + '<|im_end|>\\n' }}
    {%- elif m.role == 'assistant' %}
        {%- set thoughts = m.reasoning_content or '' %}
        {%- if not thoughts and '</think>' in words %}
            {%- set thoughts = words.split('</think>')[0].split('<think>')[-1] %}
            {%- set words = words.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {{- '<|im_start|>assistant\\n' }}
        {%- if loop.index0 > ns.last %}{{- '<think>\\n' + thoughts | trim + '\\n</think>\\n\\n' }}{%- endif %}
        {{- words }}
        """
    + XML_CALLS.replace("GAP", "('\\n\\n' if words and loop.first else '' if loop.first else '\\n')")
    + """\
        {{- '<|im_end|>\\n' }}
    {%- elif m.role == 'tool' %}
        {{- '<|im_start|>user' if loop.previtem and loop.previtem.role != 'tool' else '' }}
        {{- '\\n<tool_response>\\n' + words + '\\n</tool_response>' }}
        {{- '<|im_end|>\\n' if not loop.nextitem or loop.nextitem.role != 'tool' else '' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n<think>\\n' }}
    {{- '\\n</think>\\n\\n' if enable_thinking is defined and not enable_thinking }}
{%- endif %}"""
)


def xml_call(call: Mapping[str, Any]) -> str:
    function = call["function"]
    parameters = ""
    for key, value in function["arguments"].items():
        shown = as_json(value) if isinstance(value, Mapping | list) else str(value)
        parameters += f"<parameter={key}>\n{shown}\n</parameter>\n"
    return f"<tool_call>\n<function={function['name']}>\n{parameters}</function>\n</tool_call>"


def coder(conversation: Conversation) -> Iterator[Part]:
    system, messages = system_apart(conversation)
    if system or conversation.tools:
        told = system or "You are Qwen."
        for tool in conversation.tools:
            function = tool["function"]
            told += f"\n<function>\n<name>{function['name']}</name>"
            if "description" in function:
                told += f"\n<description>{function['description']}</description>"
            for name, parameter in function["parameters"].get("properties", {}).items():
                told += f"\n<parameter>{name}: {parameter['type']}</parameter>"
            told += "\n</function>"
        yield im_turn(0, "system", told)
    for i, message in messages:
        if message.role == "tool":
            yield shared_response(conversation.messages, i)
        elif message.role == "assistant":
            calls = [xml_call(call) for call in message.tool_calls]
            yield from answer(i, "\n".join([*([message.content] if message.content else []), *calls]))
        else:
            yield im_turn(i, message.role, message.content)


def qwen_3_5(*, is_silent: bool = False) -> Parts:
    def parts(conversation: Conversation) -> Iterator[Part]:
        roles = [message.role for message in conversation.messages]
        if "user" not in roles or "system" in roles[1:]:
            raise Refused
        system, messages = system_apart(conversation)
        if conversation.tools:
            tools = "".join("\n" + as_json(tool) for tool in conversation.tools)
            told = f"\n\n{system.strip()}" if system is not None else ""
            yield im_turn(0, "system", f"# Tools{tools}{told}")
        elif system is not None:
            yield im_turn(0, "system", system.strip())
        for i, message in messages:
            if message.role == "tool":
                yield shared_response(conversation.messages, i)
            elif message.role == "user":
                yield im_turn(i, "user", message.content.strip())
            else:
                yield from qwen_3_5_answer(i, message, i > last_question(conversation), is_silent)

    return parts


def qwen_3_5_answer(i: int, message: Message, is_new: bool, is_silent: bool) -> Iterator[Part]:
    words = message.content.strip()
    thoughts = thoughts_of(message)
    if not thoughts and "</think>" in words:
        thoughts = words.split("</think>")[0].split("<think>")[-1]
        words = words.split("</think>")[-1].lstrip("\n")
    yield Part("<|im_start|>assistant\n", i)
    if is_new:
        is_asked = is_silent and not thoughts
        yield Part("<think>\n", i)
        yield Part(f"{thoughts.strip()}\n</think>\n\n", i, is_produced=not is_asked)
    calls = "\n".join(xml_call(call) for call in message.tool_calls)
    gap = "\n\n" if words and calls else ""
    yield Part(f"{words}{gap}{calls}<|im_end|>", i, is_produced=True)
    yield Part("\n", i)


def asks_for_thoughts(conversation: Conversation) -> str:
    return "<|im_start|>assistant\n<think>\n"


def asks_for_none(conversation: Conversation) -> str:
    return "<|im_start|>assistant\n" + NO_THOUGHTS


FAMILIES = [
    Family("qwen 2.5", jinja.QWEN_2_5, qwen_2_5, eos="<|im_end|>", shows_tools=True),
    Family("qwen 3", jinja.QWEN_3, qwen_3(), eos="<|im_end|>", shows_tools=True),
    Family(
        "qwen 3 without thoughts",
        jinja.QWEN_3,
        qwen_3(is_told_not_to=True),
        eos="<|im_end|>",
        asks=asks_for_none,
        options=SILENT,
        shows_tools=True,
    ),
    Family(
        "qwen 3 thinking",
        QWEN_3_THINKING,
        qwen_3(is_told_to=True),
        eos="<|im_end|>",
        asks=asks_for_thoughts,
        shows_tools=True,
    ),
    Family("qwq", QWQ, qwq, eos="<|im_end|>", asks=asks_for_thoughts),
    Family("qwen 3 coder", CODER, coder, eos="<|im_end|>", shows_tools=True),
    Family("qwen 3.5", QWEN_3_5, qwen_3_5(), eos="<|im_end|>", asks=asks_for_thoughts, shows_tools=True),
    Family(
        "qwen 3.5 without thoughts",
        QWEN_3_5,
        qwen_3_5(is_silent=True),
        eos="<|im_end|>",
        asks=asks_for_none,
        options=SILENT,
        shows_tools=True,
    ),
]
