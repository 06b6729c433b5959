"""ChatML and those that write it, each with something of its own."""

from collections.abc import Iterator

from tests.trainer.templates import jinja
from tests.trainer.templates.families.family import (
    Family,
    Part,
    Turns,
    as_json,
    by_role,
    last_question,
    name_and_arguments,
    same,
    shared_response,
    system_apart,
    thoughts_of,
)
from trainer.data.conversation import Conversation, Message
from trainer.model.template_choice import CHATML, PLAIN_CHATML

IM_HEAD, IM_END = by_role("<|im_start|>ROLE\n"), same("<|im_end|>\n") | {"assistant": "<|im_end|>"}
CHATML_TURNS = Turns(IM_HEAD, IM_END, behind="\n")
ASKS = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
TURN = "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}"


def with_calls(message: Message) -> str:
    calls = [f"<tool_call>\n{name_and_arguments(call)}\n</tool_call>" for call in message.tool_calls]
    return "\n".join([message.content, *calls] if message.content else calls)


def answer(i: int, said: str, *, behind: str = "\n") -> Iterator[Part]:
    yield Part("<|im_start|>assistant\n", i)
    yield Part(f"{said}<|im_end|>", i, is_produced=True)
    yield Part(behind, i)


def im_turn(i: int, role: str, content: str) -> Part:
    return Part(f"<|im_start|>{role}\n{content}<|im_end|>\n", i)


def chatml_with_tools(conversation: Conversation) -> Iterator[Part]:
    """Rows with tools as Hermes shows them, with the words of Qwen 2.5; others as plain ChatML."""
    messages = conversation.messages
    if not conversation.tools:
        yield from Turns(IM_HEAD, IM_END, behind="\n", says=with_calls)(conversation)
        return
    system = messages[0].content + "\n\n" if messages[0].role == "system" else ""
    tools = "".join("\n" + as_json(tool) for tool in conversation.tools)
    yield Part(
        f"<|im_start|>system\n{system}# Tools\n\nYou may call one or more functions to assist with the user "
        "query.\n\nYou are provided with function signatures within <tools></tools> XML tags:\n"
        f"<tools>{tools}\n</tools>\n\nFor each function call, return a json object with function name and "
        "arguments within <tool_call></tool_call> XML tags:\n<tool_call>\n"
        '{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call><|im_end|>\n',
        0,
    )
    for i, message in enumerate(messages):
        if message.role == "tool":
            yield shared_response(messages, i)
        elif message.role == "assistant":
            yield from answer(i, with_calls(message))
        elif message.role != "system" or i:
            yield im_turn(i, message.role, message.content)


# ---- names: whoever speaks is named

NAMES = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] }}"
    "{% if m['name'] %}{{ ' name=' + m['name'] }}{% endif %}"
    "{{ '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}" + ASKS
)


def named(conversation: Conversation) -> Iterator[Part]:
    for i, message in enumerate(conversation.messages):
        name = f" name={message.extra['name']}" if message.extra.get("name") else ""
        if message.role == "assistant":
            yield Part("<|im_start|>assistant\n", i)
            yield Part(f"{message.content}<|im_end|>", i, is_produced=True)
            yield Part("\n", i)
        else:
            yield Part(f"<|im_start|>{message.role}{name}\n{message.content}<|im_end|>\n", i)


# ---- TRL: blocks around what is produced

TRL = (
    "{% for m in messages %}{% if m['role'] == 'assistant' %}{{ '<|im_start|>assistant\n' }}"
    "{% generation %}{{ m['content'] + '<|im_end|>' }}{% endgeneration %}{{ '\n' }}"
    "{% else %}" + TURN + "{% endif %}{% endfor %}" + ASKS
)

# ---- DBRX: the line break stands before a turn

DBRX = (
    "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are DBRX.<|im_end|>' }}"
    "{% set first = false %}{% else %}{% set first = true %}{% endif %}{% for m in messages %}"
    "{% if not (loop.first and first) %}{{ '\n' }}{% endif %}"
    "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '\n<|im_start|>assistant\n' }}{% endif %}"
)


def dbrx(conversation: Conversation) -> Iterator[Part]:
    system, _ = system_apart(conversation)
    if system is None:
        yield Part("<|im_start|>system\nYou are DBRX.<|im_end|>", 0)
    for i, message in enumerate(conversation.messages):
        line_break = "\n" if i or system is None else ""
        yield Part(f"{line_break}<|im_start|>{message.role}\n", i)
        yield Part(f"{message.content}<|im_end|>", i, is_produced=message.role == "assistant")


# ---- Yi 1.5: whatever follows a question, the answer's head stands behind it; the system has none

YI_1_5 = (
    "{% if messages[0]['role'] == 'system' %}{{ messages[0]['content'] }}{% endif %}{% for m in messages %}"
    "{% if m['role'] == 'user' %}"
    "{{ '<|im_start|>user\n' + m['content'] + '<|im_end|>\n<|im_start|>assistant\n' }}"
    "{% elif m['role'] == 'assistant' %}{{ m['content'] + '<|im_end|>' + '\n' }}{% endif %}{% endfor %}"
)


def yi(conversation: Conversation) -> Iterator[Part]:
    system, messages = system_apart(conversation)
    yield Part(system or "", 0)
    for i, message in messages:
        if message.role == "user":
            yield Part(f"<|im_start|>user\n{message.content}<|im_end|>\n<|im_start|>assistant\n", i)
        elif message.role == "assistant":
            yield Part(f"{message.content}<|im_end|>", i, is_produced=True)
            yield Part("\n", i)


# ---- OLMo 3: the last turn ends the text, earlier ones end a turn; functions of nobody are named, too

OLMO_3 = """\
{%- if messages[0]['role'] != 'system' %}{{- '<|im_start|>system\\nNo functions.<|im_end|>\\n' }}{% endif %}
{%- for m in messages %}
    {%- if m['role'] == 'system' %}
        {{- '<|im_start|>system\\n' + m['content'] + ' <functions></functions><|im_end|>\\n' }}
    {%- elif m['role'] == 'user' %}{{- '<|im_start|>user\\n' + m['content'] + '<|im_end|>\\n' }}
    {%- elif m['role'] == 'assistant' %}
        {{- '<|im_start|>assistant\\n' + m['content'] }}
        {{- '<|im_end|>\\n' if not loop.last else eos_token }}
    {%- endif %}
    {%- if loop.last and add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}
{%- endfor %}"""


def olmo_3(conversation: Conversation) -> Iterator[Part]:
    system, _ = system_apart(conversation)
    if system is None:
        yield Part("<|im_start|>system\nNo functions.<|im_end|>\n", 0)
    last = len(conversation.messages) - 1
    for i, message in enumerate(conversation.messages):
        if message.role == "system":
            yield im_turn(i, "system", message.content + " <functions></functions>")
        elif message.role == "user":
            yield im_turn(i, "user", message.content)
        else:
            yield Part("<|im_start|>assistant\n", i)
            yield Part(message.content, i, is_produced=True)
            if i == last:
                yield Part("<|endoftext|>", i, is_produced=True, closes=True)
            else:
                yield Part("<|im_end|>", i + 1, ends=i)
                yield Part("\n", i + 1)


def asks_behind_the_end(conversation: Conversation) -> str:
    is_answered = conversation.messages[-1].role == "assistant"
    return ("<|endoftext|>" if is_answered else "") + "<|im_start|>assistant\n"


# ---- tools in the system message; calls are lost, unless the words write them

FALCON_H1 = (
    "{% if tools %}{{ '<|im_start|>system\n' }}"
    "{% if messages[0]['role'] == 'system' %}{{ messages[0]['content'] + '\n' }}{% endif %}"
    "{{ 'You may call:\n<tools>' + (tools | tojson) + '</tools><|im_end|>\n' }}{% endif %}"
    "{% for m in messages %}{% if not (tools and loop.first and m['role'] == 'system') %}"
    + TURN
    + "{% endif %}{% endfor %}"
    + ASKS
)
LFM_2 = """\
{{- bos_token }}
{%- set ns = namespace(system=messages[0]['content'] if messages[0]['role'] == 'system' else '') %}
{%- set turns = messages[1:] if messages[0]['role'] == 'system' else messages %}
{%- if tools %}
    {%- set ns.system = ns.system + ('\\n' if ns.system else '') + 'List of tools: <|tool_list_start|>[' %}
    {%- for tool in tools %}
        {%- set ns.system = ns.system + (tool | tojson) + (', ' if not loop.last else '') %}
    {%- endfor %}
    {%- set ns.system = ns.system + ']<|tool_list_end|>' %}
{%- endif %}
{%- if ns.system %}{{- '<|im_start|>system\\n' + ns.system + '<|im_end|>\\n' }}{%- endif %}
{%- for m in turns %}
    {{- '<|im_start|>' + m['role'] + '\\n' }}
    {%- if m['role'] == 'tool' %}
        {{- '<|tool_response_start|>' + m['content'] + '<|tool_response_end|>' }}
    {%- else %}{{- m['content'] }}{%- endif %}
    {{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"""


def falcon_h1(conversation: Conversation) -> Iterator[Part]:
    if not conversation.tools:
        yield from CHATML_TURNS(conversation)
        return
    system, messages = system_apart(conversation)
    told = f"{system}\n" if system is not None else ""
    tools = as_json(list(conversation.tools))
    yield im_turn(0, "system", f"{told}You may call:\n<tools>{tools}</tools>")
    for i, message in messages:
        if message.role == "assistant":
            yield from answer(i, message.content)
        else:
            yield im_turn(i, message.role, message.content)


def lfm_2(conversation: Conversation) -> Iterator[Part]:
    system, messages = system_apart(conversation)
    yield Part("<s>", 0)
    told = [system] if system else []
    if conversation.tools:
        tools = ", ".join(as_json(tool) for tool in conversation.tools)
        told.append(f"List of tools: <|tool_list_start|>[{tools}]<|tool_list_end|>")
    if told:
        yield im_turn(0, "system", "\n".join(told))
    for i, message in messages:
        if message.role == "assistant":
            yield from answer(i, message.content)
        elif message.role == "tool":
            yield im_turn(i, "tool", f"<|tool_response_start|>{message.content}<|tool_response_end|>")
        else:
            yield im_turn(i, message.role, message.content)


# ---- Hermes 3: words beside calls are lost

HERMES_3 = """\
{{- '<|im_start|>system\\n' }}
{%- if messages[0]['role'] == 'system' %}
    {{- messages[0]['content'] + '\\n' }}{%- set turns = messages[1:] %}
{%- else %}{%- set turns = messages %}{%- endif %}
{{- 'Here are the tools: <tools> ' }}
{%- for tool in tools or [] %}{{- tool | tojson }}{{- '\\n' if not loop.last else '' }}{%- endfor %}
{{- ' </tools><|im_end|>\\n' }}
{%- for m in turns %}
    {%- if m.role == 'assistant' and m.tool_calls is defined %}
        {{- '<|im_start|>assistant' }}
        {%- for call in m.tool_calls %}
            {{- '\\n<tool_call>\\n{"name": "' + call.function.name + '", "arguments": ' }}
            {{- call.function.arguments | tojson + '}\\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
    {%- elif m.role == 'tool' %}
        {{- '<|im_start|>tool' if not loop.previtem or loop.previtem.role != 'tool' else '' }}
        {{- '\\n<tool_response>\\n' + m.content + '\\n</tool_response>' }}
        {{- '<|im_end|>\\n' if not loop.nextitem or loop.nextitem.role != 'tool' else '' }}
    {%- else %}{{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"""


def hermes_3(conversation: Conversation) -> Iterator[Part]:
    system, messages = system_apart(conversation)
    tools = "\n".join(as_json(tool) for tool in conversation.tools)
    told = "" if system is None else f"{system}\n"
    yield im_turn(0, "system", f"{told}Here are the tools: <tools> {tools} </tools>")
    for i, message in messages:
        if message.role == "tool":
            yield shared_response(conversation.messages, i, role="tool")
        elif message.tool_calls:
            calls = [f"<tool_call>\n{name_and_arguments(call)}\n</tool_call>" for call in message.tool_calls]
            yield from answer(i, "\n".join(calls))
        elif message.role == "assistant":
            yield from answer(i, message.content)
        else:
            yield im_turn(i, message.role, message.content)


# ---- SmolLM 3: /no_think in the system's words puts an empty block before every answer

SMOLLM_3 = """\
{%- set told = messages[0]['content'] if messages[0]['role'] == 'system' else '' %}
{%- set is_silent = '/no_think' in told %}
{{- '<|im_start|>system\\nReasoning Mode: ' + ('/no_think' if is_silent else '/think') + '\\n\\n' }}
{{- told.replace('/no_think', '').rstrip() + '<|im_end|>\\n' }}
{%- for m in messages %}
    {%- if m.role == 'assistant' %}
        {{- '<|im_start|>assistant\\n' + ('<think>\\n\\n</think>\\n' if is_silent else '') }}
        {{- m.content.lstrip('\\n') + '<|im_end|>\\n' }}
    {%- elif m.role == 'user' %}{{- '<|im_start|>user\\n' + m.content + '<|im_end|>\\n' }}
    {%- elif m.role == 'tool' %}{{- '<|im_start|>user\\n' + m.content + '<|im_end|>\\n' }}{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' + ('<think>\\n\\n</think>\\n' if is_silent else '') }}
{%- endif %}"""


def smollm_3(conversation: Conversation) -> Iterator[Part]:
    system, messages = system_apart(conversation)
    is_silent = "/no_think" in (system or "")
    mode = "/no_think" if is_silent else "/think"
    told = (system or "").replace("/no_think", "").rstrip()
    yield im_turn(0, "system", f"Reasoning Mode: {mode}\n\n{told}")
    for i, message in messages:
        if message.role == "assistant":
            yield Part("<|im_start|>assistant\n" + ("<think>\n\n</think>\n" if is_silent else ""), i)
            yield Part(message.content.lstrip("\n") + "<|im_end|>", i, is_produced=True)
            yield Part("\n", i)
        elif message.role != "system":
            yield im_turn(i, "user", message.content)


# ---- MiniMax M2 in ChatML's place: thoughts stay behind the last question, and each answer asks for them

M_2 = """\
{%- set ns = namespace(last=-1) %}
{%- for m in messages %}{%- if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{%- endfor %}
{%- for m in messages %}
    {%- if m.role == 'assistant' %}
        {{- ']~b]ai\\n' }}
        {%- if m.reasoning_content and loop.index0 > ns.last %}
            {{- '<think>\\n' + m.reasoning_content + '\\n</think>\\n\\n' }}
        {%- endif %}
        {{- m.content + '[e~[\\n' }}
    {%- elif m.role == 'tool' %}
        {{- (']~b]tool' if messages[loop.index0 - 1].role != 'tool' else '') }}
        {{- '\\n<response>' + m.content + '</response>' }}
        {{- ('[e~[\\n' if loop.last or messages[loop.index0 + 1].role != 'tool' else '') }}
    {%- else %}{{- ']~b]' + m.role + '\\n' + m.content + '[e~[\\n' }}{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- ']~b]ai\\n<think>\\n' }}{%- endif %}"""


def m_2(conversation: Conversation) -> Iterator[Part]:
    last = last_question(conversation)
    for i, message in enumerate(conversation.messages):
        if message.role != "assistant":
            yield Part(f"]~b]{message.role}\n{message.content}[e~[\n", i)
            continue
        thoughts = thoughts_of(message) if i > last else ""
        yield Part("]~b]ai\n" + ("<think>\n" if thoughts else ""), i)
        block = f"{thoughts}\n</think>\n\n" if thoughts else ""
        yield Part(f"{block}{message.content}[e~[", i, is_produced=True)
        yield Part("\n", i)


FAMILIES = [
    Family("chatml", jinja.CHATML, CHATML_TURNS, eos="<|im_end|>"),
    Family("chatml with markers", CHATML, chatml_with_tools, eos="<|im_end|>", shows_tools=True),
    Family("chatml of the embedded model", PLAIN_CHATML, CHATML_TURNS, eos="<|im_end|>"),
    Family("chatml with names", NAMES, named, eos="<|im_end|>"),
    Family("trl's chatml", TRL, CHATML_TURNS, eos="<|im_end|>"),
    Family(
        "smollm",
        jinja.SMOLLM,
        Turns(IM_HEAD, IM_END, behind="\n", default_system="<|im_start|>system\nYou are SmolLM.<|im_end|>\n"),
        eos="<|im_end|>",
    ),
    Family("smollm 3", SMOLLM_3, smollm_3, eos="<|im_end|>"),
    Family(
        "phi 4",
        jinja.PHI_4,
        Turns(by_role("<|im_start|>ROLE<|im_sep|>"), same("<|im_end|>")),
        eos="<|im_end|>",
    ),
    Family("dbrx", DBRX, dbrx, eos="<|im_end|>"),
    Family("yi 1.5", YI_1_5, yi, eos="<|im_end|>"),
    Family(
        "olmo 3",
        OLMO_3,
        olmo_3,
        eos="<|endoftext|>",
        ends=("<|im_end|>", "<|endoftext|>"),
        asks=asks_behind_the_end,
    ),
    Family("falcon h1", FALCON_H1, falcon_h1, eos="<|im_end|>", shows_tools=True),
    Family("lfm 2", LFM_2, lfm_2, bos="<s>", eos="<|im_end|>", shows_tools=True),
    Family("hermes 3", HERMES_3, hermes_3, eos="<|im_end|>", shows_tools=True),
    Family("minimax m2", M_2, m_2, eos="[e~[", asks=lambda _: "]~b]ai\n<think>\n"),
]
