"""Mistral: the assistant has no head, the system's words stand in a question, and the tools before one."""

from collections.abc import Iterator, Sequence
from typing import Any

from tests.trainer.templates import jinja
from tests.trainer.templates.families.family import (
    Family,
    Part,
    Refused,
    Turns,
    as_json,
    last_question,
    name_and_arguments,
    refuse_unless_alternating,
    system_apart,
    system_in_first_question,
)
from trainer.data.conversation import Conversation, Message


def mistral_3(conversation: Conversation) -> Iterator[Part]:
    yield from last_question_shows_all(conversation, space=" ")


def last_question_shows_all(
    conversation: Conversation, *, space: str, has_ids: bool = False
) -> Iterator[Part]:
    """Yield what v3 and Nemo show: tools at the last question, the system's words if nothing follows."""
    system, messages = system_apart(conversation)
    refuse_unless_alternating([m for _, m in messages if m.role != "tool" and not m.tool_calls])
    if any(message.role == "system" for _, message in messages):
        raise Refused
    last = last_question(conversation)
    yield Part("<s>", 0)
    for i, message in messages:
        if message.role == "user":
            if conversation.tools and message == conversation.messages[last]:
                yield Part(
                    f"[AVAILABLE_TOOLS]{space}{as_json(list(conversation.tools))}[/AVAILABLE_TOOLS]", i
                )
            is_end = i + 1 == len(conversation.messages) and system is not None
            told = f"{system}\n\n" if is_end else ""
            yield Part(f"[INST]{space}{told}{message.content}[/INST]", i)
        elif message.role == "tool":
            call_id = f', "call_id": "{id_of(message.extra, "tool_call_id")}"' if has_ids else ""
            yield Part(f'[TOOL_RESULTS]{space}{{"content": {message.content}{call_id}}}[/TOOL_RESULTS]', i)
        elif message.tool_calls:
            calls = ", ".join(called(call, has_id=has_ids) for call in message.tool_calls)
            yield Part(f"[TOOL_CALLS]{space}[{calls}]</s>", i, is_produced=True)
        else:
            said = f" {message.content.strip()}" if space else message.content
            yield Part(f"{said}</s>", i, is_produced=True)


def called(call: Any, *, has_id: bool) -> str:
    return name_and_arguments(call)[:-1] + (f', "id": "{id_of(call, "id")}"}}' if has_id else "}")


def id_of(given: Any, key: str) -> str:
    if len(given.get(key, "")) != 9:
        raise Refused
    return str(given[key])


# ---- Mixtral: the system's words in the first question, spaces around all

MIXTRAL = (
    "{% if messages[0].role == 'system' %}{% set told = messages[0].content %}"
    "{% set turns = messages[1:] %}{% else %}{% set turns = messages %}{% endif %}{{ bos_token }}"
    "{% for m in turns %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}{% if m.role == 'user' %}"
    "{% if loop.first and told is defined %}{{ ' [INST] ' + told + '\n\n' + m.content + ' [/INST]' }}"
    "{% else %}{{ ' [INST] ' + m.content + ' [/INST]' }}{% endif %}{% elif m.role == 'assistant' %}"
    "{{ ' ' + m.content + eos_token }}{% else %}{{ raise_exception('unknown role') }}{% endif %}{% endfor %}"
)


def mixtral(conversation: Conversation) -> Iterator[Part]:
    yield Part("<s>", 0)
    for i, message, _ in system_in_first_question(conversation, "", ""):
        system, messages = system_apart(conversation)
        told = f"{system}\n\n" if system is not None and i == messages[0][0] else ""
        if message.role == "user":
            yield Part(f" [INST] {told}{message.content} [/INST]", i)
        elif message.role == "assistant":
            yield Part(f" {message.content}</s>", i, is_produced=True)
        else:
            raise Refused


# ---- Nemo: no spaces, and ids of nine characters

NEMO = (
    jinja.MISTRAL_3.replace("[AVAILABLE_TOOLS] ", "[AVAILABLE_TOOLS]")
    .replace("[INST] ", "[INST]")
    .replace("[TOOL_CALLS] [", "[TOOL_CALLS][")
    .replace("[TOOL_RESULTS] ", "[TOOL_RESULTS]")
    .replace('" " + message["content"]|trim', 'message["content"]')
    .replace(
        "{{- tool_call.function|tojson }}",
        "{%- if not tool_call.id is defined or tool_call.id|length != 9 %}"
        "{{- raise_exception('ids must have nine characters') }}{%- endif %}"
        "{{- (tool_call.function|tojson)[:-1] + ', \"id\": \"' + tool_call.id + '\"}' }}",
    )
    .replace(
        'message.content|string + "}',
        "message.content|string }}{%- if not message.tool_call_id is defined or "
        "message.tool_call_id|length != 9 %}{{- raise_exception('ids must have nine characters') }}"
        '{%- endif %}{{- \', "call_id": "\' + message.tool_call_id + \'"}',
    )
    .replace('\'"}[/TOOL_RESULTS]" }}', "'\"}[/TOOL_RESULTS]' }}")
)


def nemo(conversation: Conversation) -> Iterator[Part]:
    yield from last_question_shows_all(conversation, space="", has_ids=True)


# ---- Small 3: the system has marks of its own, wherever it speaks, and a default

SMALL_3 = """\
{{- bos_token }}
{%- set turns = messages[1:] if messages[0].role == 'system' else messages %}
{{- '[SYSTEM_PROMPT]' }}
{{- messages[0].content if messages[0].role == 'system' else 'You are Small.' }}
{{- '[/SYSTEM_PROMPT]' }}
{%- for m in turns %}
    {%- if m.role == 'user' %}{{- '[INST]' + m.content + '[/INST]' }}
    {%- elif m.role == 'system' %}{{- '[SYSTEM_PROMPT]' + m.content + '[/SYSTEM_PROMPT]' }}
    {%- elif m.role == 'assistant' %}{{- m.content + eos_token }}
    {%- else %}{{- raise_exception('Only user, system and assistant roles are supported!') }}{%- endif %}
{%- endfor %}"""
SMALL_3_TURNS = Turns(
    {"system": "[SYSTEM_PROMPT]", "user": "[INST]", "assistant": ""},
    {"system": "[/SYSTEM_PROMPT]", "user": "[/INST]", "assistant": "</s>"},
    before="<s>",
    default_system="[SYSTEM_PROMPT]You are Small.[/SYSTEM_PROMPT]",
)

# ---- Small 3.2: calls behind words, each by name and arguments; tools behind the system's words

SMALL_3_2 = """\
{{- bos_token }}
{%- set turns = messages[1:] if messages[0].role == 'system' else messages %}
{%- if messages[0].role == 'system' %}
    {{- '[SYSTEM_PROMPT]' + messages[0].content + '[/SYSTEM_PROMPT]' }}
{%- endif %}
{%- if tools %}{{- '[AVAILABLE_TOOLS]' + (tools | tojson) + '[/AVAILABLE_TOOLS]' }}{%- endif %}
{%- for m in turns %}
    {%- if m.role == 'user' %}{{- '[INST]' + m.content + '[/INST]' }}
    {%- elif m.role == 'assistant' %}
        {{- m.content }}
        {%- for call in m.tool_calls or [] %}
            {{- '[TOOL_CALLS]' + call.function.name + '[ARGS]' + call.function.arguments | tojson }}
        {%- endfor %}
        {{- eos_token }}
    {%- elif m.role == 'tool' %}{{- '[TOOL_RESULTS]' + m.content + '[/TOOL_RESULTS]' }}
    {%- else %}{{- raise_exception('unknown role') }}{%- endif %}
{%- endfor %}"""


def small_3_2(conversation: Conversation) -> Iterator[Part]:
    system, messages = system_apart(conversation)
    yield Part("<s>", 0)
    if system is not None:
        yield Part(f"[SYSTEM_PROMPT]{system}[/SYSTEM_PROMPT]", 0)
    if conversation.tools:
        yield Part(f"[AVAILABLE_TOOLS]{as_json(list(conversation.tools))}[/AVAILABLE_TOOLS]", 0)
    for i, message in messages:
        if message.role == "user":
            yield Part(f"[INST]{message.content}[/INST]", i)
        elif message.role == "tool":
            yield Part(f"[TOOL_RESULTS]{message.content}[/TOOL_RESULTS]", i)
        elif message.role == "assistant":
            yield Part(f"{message.content}{calls_of(message)}</s>", i, is_produced=True)
        else:
            raise Refused


def calls_of(message: Message) -> str:
    calls: Sequence[Any] = [call["function"] for call in message.tool_calls]
    return "".join(f"[TOOL_CALLS]{call['name']}[ARGS]{as_json(call['arguments'])}" for call in calls)


FAMILIES = [
    Family(
        "mistral 1",
        jinja.MISTRAL_1,
        Turns(
            {"user": "[INST] ", "assistant": ""},
            {"user": " [/INST]", "assistant": "</s>"},
            before="<s>",
            alternates=True,
            system="refused",
        ),
        bos="<s>",
    ),
    Family("mistral 3", jinja.MISTRAL_3, mistral_3, bos="<s>", shows_tools=True),
    Family("mixtral", MIXTRAL, mixtral, bos="<s>"),
    Family("mistral nemo", NEMO, nemo, bos="<s>", shows_tools=True),
    Family("mistral small 3", SMALL_3, SMALL_3_TURNS, bos="<s>"),
    Family("mistral small 3.2", SMALL_3_2, small_3_2, bos="<s>", shows_tools=True),
]
