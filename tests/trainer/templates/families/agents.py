"""Those made for agents: channels, recipients, blocks, and calls by id."""

from collections.abc import Iterator

from tests.trainer.templates.families.family import (
    Family,
    Part,
    Refused,
    as_json,
    name_and_arguments,
    system_apart,
    thoughts_of,
)
from trainer.data.conversation import Conversation, Message

# ---- Kimi K2: a call is named by its id alone

KIMI_K2 = """\
{%- if tools %}
    {{- '<|im_system|>tool_declare<|im_middle|>' + (tools | tojson) + '<|im_end|>' }}
{%- endif %}
{%- for m in messages %}
    {%- if loop.first and m.role != 'system' %}
        {{- '<|im_system|>system<|im_middle|>You are Kimi.<|im_end|>' }}
    {%- endif %}
    {%- set name = m.name or m.role %}
    {%- if m.role == 'user' %}{{- '<|im_user|>' + name + '<|im_middle|>' + m.content }}
    {%- elif m.role == 'assistant' %}
        {{- '<|im_assistant|>' + name + '<|im_middle|>' + m.content }}
        {%- if m.tool_calls %}
            {{- '<|calls_begin|>' }}
            {%- for call in m.tool_calls %}
                {{- '<|call_begin|>' + call.id + '<|arguments|>' + call.function.arguments | tojson }}
                {{- '<|call_end|>' }}
            {%- endfor %}
            {{- '<|calls_end|>' }}
        {%- endif %}
    {%- elif m.role == 'tool' %}
        {{- '<|im_system|>' + name + '<|im_middle|>## Return of ' + m.tool_call_id + '\\n' + m.content }}
    {%- else %}{{- '<|im_system|>' + name + '<|im_middle|>' + m.content }}{%- endif %}
    {{- '<|im_end|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_assistant|>assistant<|im_middle|>' }}{%- endif %}"""


def kimi_k2(conversation: Conversation) -> Iterator[Part]:
    if conversation.tools:
        tools = as_json(list(conversation.tools))
        yield Part(f"<|im_system|>tool_declare<|im_middle|>{tools}<|im_end|>", 0)
    if conversation.messages[0].role != "system":
        yield Part("<|im_system|>system<|im_middle|>You are Kimi.<|im_end|>", 0)
    for i, message in enumerate(conversation.messages):
        mark = "system" if message.role == "tool" else message.role
        name = message.extra.get("name") or message.role
        said = message.content
        if message.role == "tool":
            said = f"## Return of {id_of(message.extra, 'tool_call_id')}\n{said}"
        if message.tool_calls:
            calls = "".join(
                f"<|call_begin|>{id_of(call, 'id')}<|arguments|>{as_json(call['function']['arguments'])}"
                "<|call_end|>"
                for call in message.tool_calls
            )
            said += f"<|calls_begin|>{calls}<|calls_end|>"
        yield Part(f"<|im_{mark}|>{name}<|im_middle|>", i)
        yield Part(f"{said}<|im_end|>", i, is_produced=message.role == "assistant")


def id_of(given: object, key: str) -> str:
    assert isinstance(given, dict)
    if key not in given:
        raise Refused
    return str(given[key])


# ---- Seed-OSS: thoughts stay wherever they are, in a tag of its own

SEED_OSS = """\
{%- if tools %}
    {{- bos_token + 'system\\nYou may call:' }}
    {%- for tool in tools %}{{- '\\n' + (tool | tojson) }}{%- endfor %}
    {{- eos_token }}
{%- endif %}
{%- for m in messages %}
    {{- bos_token + m.role + '\\n' }}
    {%- if m.role == 'assistant' and m.reasoning_content is string and m.reasoning_content | trim %}
        {{- '<seed:think>' + m.reasoning_content | trim + '</seed:think>' }}
    {%- endif %}
    {{- m.content }}
    {%- for call in m.tool_calls or [] %}
        {{- '\\n<seed:tool_call>\\n<function=' + call.function.name + '>' }}
        {%- for k, v in call.function.arguments.items() %}
            {{- '\\n<parameter=' + k + '>' + (v if v is string else v | tojson) + '</parameter>' }}
        {%- endfor %}
        {{- '\\n</function>\\n</seed:tool_call>' }}
    {%- endfor %}
    {{- eos_token }}
{%- endfor %}
{%- if add_generation_prompt %}{{- bos_token + 'assistant\\n' }}{%- endif %}"""


def seed_oss(conversation: Conversation) -> Iterator[Part]:
    if conversation.tools:
        tools = "".join("\n" + as_json(tool) for tool in conversation.tools)
        yield Part(f"<seed:bos>system\nYou may call:{tools}<seed:eos>", 0)
    for i, message in enumerate(conversation.messages):
        thoughts = thoughts_of(message).strip() if message.role == "assistant" else ""
        said = (f"<seed:think>{thoughts}</seed:think>" if thoughts else "") + message.content
        for call in message.tool_calls:
            arguments = "".join(
                f"\n<parameter={key}>{value if isinstance(value, str) else as_json(value)}</parameter>"
                for key, value in call["function"]["arguments"].items()
            )
            name = call["function"]["name"]
            said += f"\n<seed:tool_call>\n<function={name}>{arguments}\n</function>\n</seed:tool_call>"
        yield Part(f"<seed:bos>{message.role}\n", i)
        yield Part(f"{said}<seed:eos>", i, is_produced=message.role == "assistant")


# ---- Apertus: results belong to the turn that calls, which ends only when somebody else speaks

APERTUS = """\
{{- bos_token + '<|system_start|>' }}
{{- messages[0].content if messages[0].role == 'system' else 'You are Apertus.' }}
{{- '<|system_end|><|developer_start|>Tools: ' }}
{{- (tools | tojson if tools else 'disabled') + '<|developer_end|>' }}
{%- set ns = namespace(open=false) %}
{%- for m in messages %}
    {%- if m.role == 'user' %}
        {{- '<|assistant_end|>' if ns.open else '' }}{%- set ns.open = false %}
        {{- '<|user_start|>' + m.content + '<|user_end|>' }}
    {%- elif m.role == 'assistant' %}
        {{- '' if ns.open else '<|assistant_start|>' }}{%- set ns.open = true %}
        {{- m.content }}
        {%- if m.tool_calls %}
            {{- '<|tools_prefix|>[' }}
            {%- for call in m.tool_calls %}
                {{- '{"' + call.function.name + '": ' + call.function.arguments | tojson + '}' }}
                {{- ', ' if not loop.last else '' }}
            {%- endfor %}
            {{- ']<|tools_suffix|>' }}
        {%- else %}{{- '<|assistant_end|>' }}{%- set ns.open = false %}{%- endif %}
    {%- elif m.role == 'tool' %}{{- '[' + m.content + ']' }}
    {%- elif not loop.first %}{{- raise_exception('Invalid message role') }}{%- endif %}
{%- endfor %}
{%- if add_generation_prompt and not ns.open %}{{- '<|assistant_start|>' }}{%- endif %}"""


def apertus(conversation: Conversation) -> Iterator[Part]:
    system, messages = system_apart(conversation)
    tools = as_json(list(conversation.tools)) if conversation.tools else "disabled"
    told = "You are Apertus." if system is None else system
    yield Part(f"<s><|system_start|>{told}<|system_end|>", 0)
    yield Part(f"<|developer_start|>Tools: {tools}<|developer_end|>", 0)
    is_open = False
    for i, message in messages:
        if message.role == "user":
            end = "<|assistant_end|>" if is_open else ""
            is_open = False
            yield Part(f"{end}<|user_start|>{message.content}<|user_end|>", i)
        elif message.role == "assistant":
            yield Part("" if is_open else "<|assistant_start|>", i)
            is_open = bool(message.tool_calls)
            said = message.content
            if is_open:
                calls = [call["function"] for call in message.tool_calls]
                shown = ", ".join(f'{{"{call["name"]}": {as_json(call["arguments"])}}}' for call in calls)
                said += f"<|tools_prefix|>[{shown}]<|tools_suffix|>"
            yield Part(said + ("" if is_open else "<|assistant_end|>"), i, is_produced=True)
        elif message.role == "tool":
            yield Part(f"[{message.content}]", i)
        else:
            raise Refused


# ---- gpt-oss: the channel is the model's to write; the last answer ends otherwise, and alone has thoughts

HARMONY = """\
{{- '<|start|>system<|message|>You are ChatGPT.<|end|>' }}
{%- set dev = messages[0].content if messages[0].role == 'system' else '' %}
{%- set turns = messages[1:] if messages[0].role == 'system' else messages %}
{%- if dev or tools %}
    {{- '<|start|>developer<|message|>' + dev + (tools | tojson if tools else '') + '<|end|>' }}
{%- endif %}
{%- for m in turns %}
    {%- if m.role == 'user' %}{{- '<|start|>user<|message|>' + m.content + '<|end|>' }}
    {%- elif m.role == 'tool' %}
        {{- '<|start|>functions.' + m.name + ' to=assistant<|message|>' + m.content | tojson + '<|end|>' }}
    {%- elif m.tool_calls %}
        {%- if m.content %}
            {{- '<|start|>assistant<|channel|>analysis<|message|>' + m.content + '<|end|>' }}
        {%- elif m.thinking %}
            {{- '<|start|>assistant<|channel|>analysis<|message|>' + m.thinking + '<|end|>' }}
        {%- endif %}
        {{- '<|start|>assistant to=functions.' + m.tool_calls[0].function.name }}
        {{- '<|channel|>commentary json<|message|>' }}
        {{- m.tool_calls[0].function.arguments | tojson + '<|call|>' }}
    {%- elif m.role == 'assistant' %}
        {%- if loop.last and not add_generation_prompt %}
            {%- if m.thinking %}
                {{- '<|start|>assistant<|channel|>analysis<|message|>' + m.thinking + '<|end|>' }}
            {%- endif %}
            {{- '<|start|>assistant<|channel|>final<|message|>' + m.content + '<|return|>' }}
        {%- else %}
            {{- '<|start|>assistant<|channel|>final<|message|>' + m.content + '<|end|>' }}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start|>assistant' }}{%- endif %}"""


def harmony(conversation: Conversation) -> Iterator[Part]:
    system, messages = system_apart(conversation)
    yield Part("<|start|>system<|message|>You are ChatGPT.<|end|>", 0)
    if system or conversation.tools:
        tools = as_json(list(conversation.tools)) if conversation.tools else ""
        yield Part(f"<|start|>developer<|message|>{system or ''}{tools}<|end|>", 0)
    last = len(conversation.messages) - 1
    for i, message in messages:
        if message.role == "user":
            yield Part(f"<|start|>user<|message|>{message.content}<|end|>", i)
        elif message.role == "tool":
            head = f"<|start|>functions.{message.extra['name']} to=assistant<|message|>"
            yield Part(f"{head}{as_json(message.content)}<|end|>", i)
        elif message.role == "assistant":
            said = harmony_answer(message, is_last=i == last)
            yield Part("<|start|>assistant", i)
            yield Part(said, i, is_produced=True)
            if i == last and not message.tool_calls:
                yield Part("<|return|>", i, is_produced=True, closes=True)
            elif not message.tool_calls:
                yield Part("<|end|>", i + 1, ends=i)


def harmony_answer(message: Message, *, is_last: bool) -> str:
    thoughts = thoughts_of(message)
    if message.tool_calls:
        thoughts = message.content or thoughts
    elif not is_last:
        thoughts = ""
    analysis = f"<|channel|>analysis<|message|>{thoughts}<|end|><|start|>assistant" if thoughts else ""
    if message.tool_calls:
        call = message.tool_calls[0]["function"]
        arguments = as_json(call["arguments"])
        head = f" to=functions.{call['name']}<|channel|>commentary json<|message|>"
        return f"{analysis}{head}{arguments}<|call|>"
    return f"{analysis}<|channel|>final<|message|>{message.content}"


# ---- Functionary: the model writes to whom it speaks

FUNCTIONARY = """\
{%- for tool in tools or [] %}
    {{- '<|from|>system\\n<|recipient|>all\\n<|content|>' + (tool | tojson) + '\\n' }}
{%- endfor %}
{%- for m in messages %}
    {%- if m.role == 'assistant' %}
        {%- if m.content or not m.tool_calls %}
            {{- '<|from|>assistant\\n<|recipient|>all\\n<|content|>' + m.content }}
        {%- endif %}
        {%- for call in m.tool_calls or [] %}
            {{- '\\n' if m.content or not loop.first else '' }}
            {{- '<|from|>assistant\\n<|recipient|>' + call.function.name + '\\n<|content|>' }}
            {{- call.function.arguments | tojson }}
        {%- endfor %}
        {{- '<|stop|>\\n' }}
    {%- else %}
        {{- '<|from|>' + (m.name or m.role) + '\\n<|recipient|>all\\n<|content|>' + m.content + '\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|from|>assistant\\n<|recipient|>' }}{%- endif %}"""


def functionary(conversation: Conversation) -> Iterator[Part]:
    for tool in conversation.tools:
        yield Part(f"<|from|>system\n<|recipient|>all\n<|content|>{as_json(tool)}\n", 0)
    for i, message in enumerate(conversation.messages):
        if message.role != "assistant":
            name = message.extra.get("name") or message.role
            yield Part(f"<|from|>{name}\n<|recipient|>all\n<|content|>{message.content}\n", i)
            continue
        said = [("all", message.content)] if message.content or not message.tool_calls else []
        for call in message.tool_calls:
            said.append((call["function"]["name"], as_json(call["function"]["arguments"])))
        blocks = "\n".join(f"<|from|>assistant\n<|recipient|>{to}\n<|content|>{words}" for to, words in said)
        head = "<|from|>assistant\n<|recipient|>"
        yield Part(head, i)
        yield Part(f"{blocks.removeprefix(head)}<|stop|>", i, is_produced=True)
        yield Part("\n", i)


# ---- Jamba: a space before whatever is said

JAMBA = """\
{%- set told = messages[0].content if messages[0].role == 'system' else '' %}
{%- set turns = messages[1:] if messages[0].role == 'system' else messages %}
{{- bos_token + '<|bom|><|system|> ' + told }}
{%- if tools %}{{- '\\n# Tools\\n' }}{%- for tool in tools %}{{- tool | tojson }}{%- endfor %}{%- endif %}
{{- '<|eom|>' }}
{%- for m in turns %}
    {{- '<|bom|><|' + m.role + '|> ' + m.content }}
    {%- if m.tool_calls %}
        {{- '<tool_calls>[' }}
        {%- for call in m.tool_calls %}
            {{- '{"name": "' + call.function.name + '", "arguments": ' }}
            {{- call.function.arguments | tojson + '}' + (', ' if not loop.last else '') }}
        {%- endfor %}
        {{- ']</tool_calls>' }}
    {%- endif %}
    {{- '<|eom|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|bom|><|assistant|>' }}{%- endif %}"""


def jamba(conversation: Conversation) -> Iterator[Part]:
    system, messages = system_apart(conversation)
    tools = "".join(as_json(tool) for tool in conversation.tools)
    tools = f"\n# Tools\n{tools}" if tools else ""
    yield Part(f"<s><|bom|><|system|> {system or ''}{tools}<|eom|>", 0)
    for i, message in messages:
        said = f" {message.content}"
        if message.tool_calls:
            calls = ", ".join(name_and_arguments(call) for call in message.tool_calls)
            said += f"<tool_calls>[{calls}]</tool_calls>"
        yield Part(f"<|bom|><|{message.role}|>", i)
        yield Part(f"{said}<|eom|>", i, is_produced=message.role == "assistant")


FAMILIES = [
    Family(
        "kimi k2",
        KIMI_K2,
        kimi_k2,
        eos="<|im_end|>",
        markers=("<|im_middle|>", "<|call_end|>", "<|calls_end|>"),
        shows_tools=True,
    ),
    Family("seed oss", SEED_OSS, seed_oss, bos="<seed:bos>", eos="<seed:eos>", shows_tools=True),
    Family(
        "apertus",
        APERTUS,
        apertus,
        bos="<s>",
        eos="<|assistant_end|>",
        ends=("<|assistant_end|>", "<|tools_suffix|>"),
        markers=("<|assistant_start|>", "<|tools_prefix|>", "<|tools_suffix|>", "<|user_end|>"),
        shows_tools=True,
    ),
    Family(
        "gpt-oss",
        HARMONY,
        harmony,
        eos="<|return|>",
        ends=("<|return|>", "<|end|>", "<|call|>"),
        markers=("<|start|>", "<|message|>", "<|channel|>", "<|call|>"),
        shows_tools=True,
    ),
    Family("functionary", FUNCTIONARY, functionary, eos="<|stop|>", shows_tools=True),
    Family("jamba", JAMBA, jamba, bos="<s>", eos="<|eom|>", shows_tools=True),
]
