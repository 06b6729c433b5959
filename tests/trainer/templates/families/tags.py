"""Those that name each role in a tag of its own: Phi, GLM, Granite, EXAONE, Cohere and others."""

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
    same,
    system_apart,
    thoughts_of,
)
from trainer.data.conversation import Conversation, Message

PIPES = by_role("<|ROLE|>\n")
SLASHED = same("</s>\n") | {"assistant": "</s>"}
COHERE = by_role(
    "<|START_OF_TURN_TOKEN|><|ROLE|>", system="SYSTEM_TOKEN", user="USER_TOKEN", assistant="CHATBOT_TOKEN"
)
IBM = by_role("<|start_of_role|>ROLE<|end_of_role|>")
IBM_ENDS = same("<|end_of_text|>\n") | {"assistant": "<|end_of_text|>"}
PHI_ENDS = same("<|end|>\n") | {"assistant": "<|end|>"}

# ---- Phi 3.5 leaves an empty system message out; Phi 4 mini writes no line breaks

PHI_3_5 = (
    "{% for m in messages %}{% if m['role'] == 'system' and m['content'] %}"
    "{{ '<|system|>\n' + m['content'] + '<|end|>\n' }}{% elif m['role'] == 'user' %}"
    "{{ '<|user|>\n' + m['content'] + '<|end|>\n' }}{% elif m['role'] == 'assistant' %}"
    "{{ '<|assistant|>\n' + m['content'] + '<|end|>\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"
)
PHI_4_MINI = (
    "{% for m in messages %}{% if m['role'] == 'system' and m['tools'] %}"
    "{{ '<|' + m['role'] + '|>' + m['content'] + '<|tool|>' + m['tools'] + '<|/tool|><|end|>' }}"
    "{% else %}{{ '<|' + m['role'] + '|>' + m['content'] + '<|end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% else %}{{ eos_token }}{% endif %}"
)

# ---- Phi 3 Vision asks for an answer only behind somebody else's turn

PHI_3_VISION = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt and messages[-1]['role'] != 'assistant' %}{{ '<|assistant|>\n' }}{% endif %}"
)


def phi_3_vision(conversation: Conversation) -> Iterator[Part]:
    messages = conversation.messages
    for i, message in enumerate(messages):
        is_answer = message.role == "assistant"
        is_own_to_write = is_answer and i > 0 and messages[i - 1].role == "assistant"
        yield Part(f"<|{message.role}|>\n", i, is_produced=is_own_to_write)
        yield Part(f"{message.content}<|end|>", i, is_produced=is_answer)
        yield Part("\n", i)


# ---- Metharme: nothing ends an answer but the next turn, or the end of the text

METHARME = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'system' %}{{ '<|system|>' + m['content'] }}"
    "{% elif m['role'] == 'user' %}{{ '<|user|>' + m['content'] }}"
    "{% elif m['role'] == 'assistant' %}{{ '<|model|>' + m['content'] }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|model|>' }}{% else %}{{ eos_token }}{% endif %}"
)


def metharme(conversation: Conversation) -> Iterator[Part]:
    yield Part("<s>", 0)
    before = None
    for i, message in enumerate(conversation.messages):
        if message.role == "tool":
            continue
        head = {"system": "<|system|>", "user": "<|user|>", "assistant": "<|model|>"}[message.role]
        yield Part(head, i, ends=before)
        yield Part(message.content, i, is_produced=message.role == "assistant")
        before = i if message.role == "assistant" else None
    yield Part("</s>", before, is_produced=True, closes=True)


# ---- GLM: the next turn's tag ends an answer, and is the end-of-text token, too

GLM_4 = (
    "[gMASK]<sop>{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
GLM_4_5 = """\
[gMASK]<sop>
{%- if tools %}
    {{- '<|system|>\\nYou may call:' }}
    {%- for tool in tools %}{{- '\\n' + (tool | tojson) }}{%- endfor %}
{%- endif %}
{%- set is_silent = enable_thinking is defined and not enable_thinking %}
{%- set ns = namespace(last=-1) %}
{%- for m in messages %}{%- if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{%- endfor %}
{%- for m in messages %}
    {%- if m.role == 'user' %}{{- '<|user|>\\n' + m.content + ('/nothink' if is_silent else '') }}
    {%- elif m.role == 'system' %}{{- '<|system|>\\n' + m.content }}
    {%- elif m.role == 'tool' %}
        {{- '<|observation|>' if loop.first or messages[loop.index0 - 1].role != 'tool' else '' }}
        {{- '\\n<tool_response>\\n' + m.content + '\\n</tool_response>' }}
    {%- else %}
        {%- set thoughts = m.reasoning_content or '' %}{%- set words = m.content %}
        {%- if not thoughts and '</think>' in words %}
            {%- set thoughts = words.split('</think>')[0].split('<think>')[-1] %}
            {%- set words = words.split('</think>')[-1] %}
        {%- endif %}
        {{- '<|assistant|>\\n<think>' + (thoughts.strip() if loop.index0 > ns.last else '') + '</think>' }}
        {{- '\\n' + words.strip() if words.strip() else '' }}
        {%- for call in m.tool_calls or [] %}
            {{- '\\n<tool_call>' + call.function.name }}
            {%- for k, v in call.function.arguments.items() %}
                {{- '\\n<arg_key>' + k + '</arg_key>\\n<arg_value>' }}
                {{- (v if v is string else v | tojson) + '</arg_value>' }}
            {%- endfor %}
            {{- '\\n</tool_call>' }}
        {%- endfor %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|assistant|>' + ('\\n<think></think>' if is_silent else '') }}
{%- endif %}"""


def glm_4(conversation: Conversation) -> Iterator[Part]:
    yield Part("[gMASK]<sop>", 0)
    before = None
    for i, message in enumerate(conversation.messages):
        yield Part(f"<|{message.role}|>", i, ends=before)
        yield Part(f"\n{message.content}", i, is_produced=message.role == "assistant")
        before = i if message.role == "assistant" else None
    if before is not None:
        yield Part("<|user|>", before, is_produced=True, closes=True, is_added=True)


def glm_4_5(*, is_silent: bool = False) -> Parts:
    def parts(conversation: Conversation) -> Iterator[Part]:
        messages = conversation.messages
        tools = "".join("\n" + as_json(tool) for tool in conversation.tools)
        yield Part("[gMASK]<sop>" + (f"<|system|>\nYou may call:{tools}" if tools else ""), 0)
        before = None
        for i, message in enumerate(messages):
            if message.role == "assistant":
                yield Part("<|assistant|>", i, ends=before)
                yield from glm_4_5_answer(i, message, i > last_question(conversation), is_silent)
            elif message.role == "tool":
                is_first = i == 0 or messages[i - 1].role != "tool"
                yield Part("<|observation|>" if is_first else "", i, ends=before)
                yield Part(f"\n<tool_response>\n{message.content}\n</tool_response>", i)
            else:
                yield Part(f"<|{message.role}|>", i, ends=before)
                silence = "/nothink" if is_silent and message.role == "user" else ""
                yield Part(f"\n{message.content}{silence}", i)
            before = i if message.role == "assistant" else None
        if before is not None:
            follows = "<|observation|>" if messages[-1].tool_calls else "<|user|>"
            yield Part(follows, before, is_produced=True, closes=True, is_added=True)

    return parts


def glm_4_5_answer(i: int, message: Message, is_new: bool, is_silent: bool) -> Iterator[Part]:
    thoughts, words = thoughts_of(message), message.content
    if not thoughts and "</think>" in words:
        thoughts = words.split("</think>")[0].split("<think>")[-1]
        words = words.split("</think>")[-1]
    shown = thoughts.strip() if is_new else ""
    yield Part(f"\n<think>{shown}</think>", i, is_produced=not (is_silent and not shown))
    said = "\n" + words.strip() if words.strip() else ""
    for call in message.tool_calls:
        arguments = "".join(
            f"\n<arg_key>{key}</arg_key>\n<arg_value>{value if isinstance(value, str) else as_json(value)}"
            "</arg_value>"
            for key, value in call["function"]["arguments"].items()
        )
        said += f"\n<tool_call>{call['function']['name']}{arguments}\n</tool_call>"
    yield Part(said, i, is_produced=True)


# ---- Granite 3.3 shows tools, and loses calls

GRANITE_3_3 = jinja.GRANITE.replace(
    "{%- for message in loop_messages %}",
    "{%- if tools %}{{- '<|start_of_role|>available_tools<|end_of_role|>' + (tools | tojson) }}"
    "{{- '<|end_of_text|>\\n' }}{%- endif %}{%- for message in loop_messages %}",
)


def granite_3_3(conversation: Conversation) -> Iterator[Part]:
    system, messages = system_apart(conversation)
    told = "You are Granite." if system is None else system
    yield Part(f"{IBM['system']}{told}<|end_of_text|>\n", 0)
    if conversation.tools:
        tools = as_json(list(conversation.tools))
        yield Part(f"<|start_of_role|>available_tools<|end_of_role|>{tools}<|end_of_text|>\n", 0)
    for i, message in messages:
        yield Part(IBM[message.role], i)
        yield Part(f"{message.content}<|end_of_text|>", i, is_produced=message.role == "assistant")
        yield Part("\n", i)


# ---- EXAONE: 3.5 ends no question; 4 asks with an empty block, and leaves one before every earlier answer

EXAONE_3_5 = (
    "{% for m in messages %}{% if loop.first and m['role'] != 'system' %}"
    "{{ '[|system|][|endofturn|]\n' }}{% endif %}{{ '[|' + m['role'] + '|]' + m['content'] }}"
    "{% if m['role'] == 'user' %}{{ '\n' }}{% else %}{{ '[|endofturn|]\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '[|assistant|]' }}{% endif %}"
)
EXAONE_4 = (
    "{% set ns = namespace(last=-1) %}{% for m in messages %}{% if m.role == 'user' %}"
    "{% set ns.last = loop.index0 %}{% endif %}{% endfor %}{% for m in messages %}"
    "{{ '[|' + m.role + '|]\n' }}{% if m.role == 'assistant' %}"
    "{% if m.reasoning_content and loop.index0 > ns.last %}"
    "{{ '<think>\n' + m.reasoning_content + '\n</think>\n\n' }}"
    "{% else %}{{ '<think>\n\n</think>\n\n' }}{% endif %}{% endif %}"
    "{{ m.content + '[|endofturn|]\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '[|assistant|]\n<think>\n\n</think>\n\n' }}{% endif %}"
)


def exaone_4(conversation: Conversation) -> Iterator[Part]:
    last = last_question(conversation)
    for i, message in enumerate(conversation.messages):
        yield Part(f"[|{message.role}|]\n", i)
        if message.role == "assistant":
            thoughts = thoughts_of(message) if i > last else ""
            yield Part(f"<think>\n{thoughts}\n</think>\n\n", i, is_produced=bool(thoughts))
        yield Part(f"{message.content}[|endofturn|]", i, is_produced=message.role == "assistant")
        yield Part("\n", i)


# ---- Command A: a preamble around the system's words, and an answer is asked for behind every text

COMMAND_A = """\
{{- bos_token + '<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|># System Preamble\\nBe helpful.' }}
{%- set ns = namespace(told='') %}
{%- for m in messages %}{%- if m.role == 'system' %}{% set ns.told = m.content %}{% endif %}{%- endfor %}
{%- if ns.told %}{{- '\\n\\n# Developer Preamble\\n' + ns.told }}{%- endif %}
{{- '<|END_OF_TURN_TOKEN|>' }}
{%- for m in messages %}
    {%- if m.role == 'user' %}
        {{- '<|START_OF_TURN_TOKEN|><|USER_TOKEN|>' + m.content + '<|END_OF_TURN_TOKEN|>' }}
    {%- elif m.role == 'assistant' %}
        {{- '<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|><|START_RESPONSE|>' + m.content }}
        {{- '<|END_RESPONSE|><|END_OF_TURN_TOKEN|>' }}
    {%- endif %}
{%- endfor %}
{{- '<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|><|START_RESPONSE|>' }}"""


def command_a(conversation: Conversation) -> Iterator[Part]:
    yield Part("<s><|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|># System Preamble\nBe helpful.", 0)
    system = [
        (i, message.content) for i, message in enumerate(conversation.messages) if message.role == "system"
    ]
    for i, told in system[-1:]:
        yield Part(f"\n\n# Developer Preamble\n{told}" if told else "", i)
    yield Part("<|END_OF_TURN_TOKEN|>", 0)
    head = "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|><|START_RESPONSE|>"
    for i, message in enumerate(conversation.messages):
        if message.role == "user":
            yield Part(f"<|START_OF_TURN_TOKEN|><|USER_TOKEN|>{message.content}<|END_OF_TURN_TOKEN|>", i)
        elif message.role == "assistant":
            yield Part(head, max(i - 1, 0))  # the turn before it shows it, too
            yield Part(f"{message.content}<|END_RESPONSE|><|END_OF_TURN_TOKEN|>", i, is_produced=True)
    yield Part(head, len(conversation.messages) - 1, closes=True)


# ---- Ling adds its own to what the system says

LING = (
    "{% if messages[0]['role'] == 'system' %}"
    "{{ '<role>SYSTEM</role>' + messages[0]['content'] + '\ndetailed thinking off<|role_end|>' }}"
    "{% else %}{{ '<role>SYSTEM</role>detailed thinking off<|role_end|>' }}{% endif %}{% for m in messages %}"
    "{% if m['role'] == 'user' %}{{ '<role>HUMAN</role>' + m['content'] + '<|role_end|>' }}"
    "{% elif m['role'] == 'system' and not loop.first %}"
    "{{ '<role>SYSTEM</role>' + m['content'] + '<|role_end|>' }}{% elif m['role'] == 'assistant' %}"
    "{{ '<role>ASSISTANT</role>' + m['content'] + '<|role_end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<role>ASSISTANT</role>' }}{% endif %}"
)


def ling(conversation: Conversation) -> Iterator[Part]:
    system, messages = system_apart(conversation)
    told = "" if system is None else f"{system}\n"
    yield Part(f"<role>SYSTEM</role>{told}detailed thinking off<|role_end|>", 0)
    for i, message in messages:
        if message.role == "tool":
            continue
        name = {"system": "SYSTEM", "user": "HUMAN", "assistant": "ASSISTANT"}[message.role]
        yield Part(f"<role>{name}</role>", i)
        yield Part(f"{message.content}<|role_end|>", i, is_produced=message.role == "assistant")


FAMILIES = [
    Family(
        "phi 3",
        jinja.PHI_3,
        Turns(PIPES, PHI_ENDS, behind="\n", last="<|endoftext|>"),
        eos="<|endoftext|>",
        ends=("<|end|>",),
    ),
    Family(
        "phi 3.5",
        PHI_3_5,
        Turns(
            PIPES,
            PHI_ENDS,
            behind="\n",
            last="<|endoftext|>",
            hides=lambda i, message: message.role == "system" and not message.content,
        ),
        eos="<|endoftext|>",
        ends=("<|end|>",),
    ),
    Family(
        "phi 4 mini",
        PHI_4_MINI,
        Turns(by_role("<|ROLE|>"), same("<|end|>"), last="<|endoftext|>"),
        eos="<|endoftext|>",
        ends=("<|end|>",),
    ),
    Family(
        "phi 3 vision",
        PHI_3_VISION,
        phi_3_vision,
        eos="<|endoftext|>",
        ends=("<|end|>",),
    ),
    Family("zephyr", jinja.ZEPHYR, Turns(PIPES, SLASHED, behind="\n")),
    Family(
        "tulu",
        jinja.TULU,
        Turns(PIPES, same("\n") | {"assistant": "</s>"}, before="<s>", between="\n"),
        bos="<s>",
        asks=lambda _: "<|assistant|>\n",
    ),
    Family(
        "olmo 2, whose texts begin as they end",
        jinja.TULU,
        Turns(PIPES, same("\n") | {"assistant": "<|endoftext|>"}, before="<|endoftext|>", between="\n"),
        bos="<|endoftext|>",
        eos="<|endoftext|>",
        asks=lambda _: "<|assistant|>\n",
    ),
    Family(
        "metharme",
        METHARME,
        metharme,
        bos="<s>",
        ends=("<|user|>", "<|system|>", "<|model|>", "</s>"),
        markers=("<|model|>",),
    ),
    Family("glm 4", GLM_4, glm_4, eos="<|user|>", ends=("<|user|>", "<|system|>", "<|assistant|>")),
    Family(
        "glm 4.5",
        GLM_4_5,
        glm_4_5(),
        eos="<|endoftext|>",
        ends=("<|user|>", "<|system|>", "<|assistant|>", "<|observation|>"),
        markers=("<|observation|>", "<think>", "</think>", "<tool_call>", "</tool_call>"),
        shows_tools=True,
    ),
    Family(
        "glm 4.5 without thoughts",
        GLM_4_5,
        glm_4_5(is_silent=True),
        eos="<|endoftext|>",
        ends=("<|user|>", "<|system|>", "<|assistant|>", "<|observation|>"),
        markers=("<|observation|>", "<think>", "</think>", "<tool_call>", "</tool_call>"),
        asks=lambda _: "<|assistant|>\n<think></think>",
        options={"enable_thinking": False},
        shows_tools=True,
    ),
    Family(
        "granite",
        jinja.GRANITE,
        Turns(IBM, IBM_ENDS, behind="\n", default_system=IBM["system"] + "You are Granite.<|end_of_text|>\n"),
        eos="<|end_of_text|>",
    ),
    Family("granite 3.3", GRANITE_3_3, granite_3_3, eos="<|end_of_text|>", shows_tools=True),
    Family(
        "exaone 3.5",
        EXAONE_3_5,
        Turns(
            by_role("[|ROLE|]"),
            same("[|endofturn|]\n") | {"user": "\n", "assistant": "[|endofturn|]"},
            behind="\n",
            default_system="[|system|][|endofturn|]\n",
        ),
        eos="[|endofturn|]",
    ),
    Family(
        "exaone 4",
        EXAONE_4,
        exaone_4,
        eos="[|endofturn|]",
        asks=lambda _: "[|assistant|]\n<think>\n\n</think>\n\n",
    ),
    Family(
        "command r",
        jinja.COMMAND_R,
        Turns(COHERE, same("<|END_OF_TURN_TOKEN|>"), before="<s>", strips=True, alternates=True),
        bos="<s>",
        eos="<|END_OF_TURN_TOKEN|>",
    ),
    Family(
        "command a",
        COMMAND_A,
        command_a,
        bos="<s>",
        eos="<|END_OF_TURN_TOKEN|>",
        markers=("<|START_RESPONSE|>", "<|END_RESPONSE|>"),
    ),
    Family("ling", LING, ling, eos="<|role_end|>"),
]
