"""DeepSeek."""

from collections.abc import Iterator

from tests.trainer.templates import jinja
from tests.trainer.templates.families.family import Family, Part, Parts, Turns, as_json
from trainer.data.conversation import Conversation, Message

ENDS = {"system": "", "user": "", "assistant": "<|end_of_sentence|>"}


def deepseek_3(*, cuts_thoughts: bool = False) -> Parts:
    """Return the parts of a template that shows the system's last words at the top."""

    def parts(conversation: Conversation) -> Iterator[Part]:
        system = [(i, m.content) for i, m in enumerate(conversation.messages) if m.role == "system"]
        yield Part("<s>", 0)
        for i, content in system[-1:]:
            yield Part(content, i)
        for i, message in enumerate(conversation.messages):
            if message.role == "user":
                yield Part(f"<|User|>{message.content}", i)
            elif message.role == "assistant":
                said = message.content.split("</think>")[-1] if cuts_thoughts else message.content
                yield Part("<|Assistant|>", i)
                yield Part(f"{said}<|end_of_sentence|>", i, is_produced=True)

    return parts


# ---- V3.1: the assistant has a head only behind a question, and that closes what it might think

V_3_1 = """\
{%- if not thinking is defined %}{%- set thinking = false %}{%- endif %}
{%- set ns = namespace(told='', asked=false) %}
{%- for m in messages %}
    {%- if m.role == 'system' %}
        {%- set ns.told = ns.told + ('\\n\\n' if ns.told else '') + m.content %}
    {%- endif %}
{%- endfor %}
{{- bos_token + ns.told }}
{%- for tool in tools or [] %}
    {{- '\\n### ' + tool.function.name + ': ' + (tool.function | tojson) }}
{%- endfor %}
{%- for m in messages %}
    {%- if m.role == 'user' %}{{- '<|User|>' + m.content }}{%- set ns.asked = true %}
    {%- elif m.role == 'assistant' %}
        {{- '<|Assistant|></think>' if ns.asked else '' }}{%- set ns.asked = false %}
        {{- m.content.split('</think>')[-1] }}
        {%- for call in m.tool_calls or [] %}
            {{- '<|call|>' + call.function.name + '<|sep|>' + call.function.arguments + '<|end_call|>' }}
        {%- endfor %}
        {{- '<|end_of_sentence|>' }}
    {%- elif m.role == 'tool' %}{{- '<|output|>' + m.content + '<|end_output|>' }}{%- endif %}
{%- endfor %}
{%- if add_generation_prompt and ns.asked %}
    {{- '<|Assistant|>' + ('<think>' if thinking else '</think>') }}
{%- endif %}"""


def v_3_1(conversation: Conversation) -> Iterator[Part]:
    messages = list(enumerate(conversation.messages))
    yield Part("<s>", 0)
    told = [(i, message.content) for i, message in messages if message.role == "system"]
    shown = ""
    for i, content in told:
        gap = "\n\n" if shown else ""
        yield Part(gap + content, i)
        shown += gap + content
    for tool in conversation.tools:
        function = tool["function"]
        yield Part(f"\n### {function['name']}: {as_json(function)}", 0)
    is_asked = False
    for i, message in messages:
        if message.role == "user":
            yield Part(f"<|User|>{message.content}", i)
            is_asked = True
        elif message.role == "assistant":
            yield Part("<|Assistant|></think>" if is_asked else "", i)
            yield Part(f"{v_3_1_words(message)}<|end_of_sentence|>", i, is_produced=True)
            is_asked = False
        elif message.role == "tool":
            yield Part(f"<|output|>{message.content}<|end_output|>", i)


def v_3_1_words(message: Message) -> str:
    said = message.content.split("</think>")[-1]
    for call in message.tool_calls:
        said += (
            f"<|call|>{call['function']['name']}<|sep|>{as_json(call['function']['arguments'])}<|end_call|>"
        )
    return said


def asks_for_thoughts(conversation: Conversation) -> str:
    roles = [message.role for message in conversation.messages if message.role in ("user", "assistant")]
    return "<|Assistant|><think>" if roles[-1:] == ["user"] else ""


V_3_1_MARKERS = ("<think>", "</think>", "<|call|>", "<|end_call|>", "<|output|>", "<|end_output|>")
FAMILIES = [
    Family(
        "deepseek 2",
        jinja.DEEPSEEK_V2,
        Turns(
            {"system": "", "user": "User: ", "assistant": "Assistant: "},
            {"system": "\n\n", "user": "\n\n", "assistant": "</s>"},
            before="<s>",
            asks="Assistant:",
        ),
        bos="<s>",
    ),
    Family("deepseek 3", jinja.DEEPSEEK_V3, deepseek_3(), bos="<s>", ends=("<|end_of_sentence|>",)),
    Family(
        "deepseek r1",
        jinja.DEEPSEEK_R1,
        deepseek_3(cuts_thoughts=True),
        bos="<s>",
        ends=("<|end_of_sentence|>",),
        asks=lambda _: "<|Assistant|><think>\n",
    ),
    Family(
        "deepseek 3.1",
        V_3_1,
        v_3_1,
        bos="<s>",
        eos="<|end_of_sentence|>",
        markers=V_3_1_MARKERS,
        shows_tools=True,
    ),
    Family(
        "deepseek 3.1 that thinks",
        V_3_1,
        v_3_1,
        bos="<s>",
        eos="<|end_of_sentence|>",
        markers=V_3_1_MARKERS,
        asks=asks_for_thoughts,
        options={"thinking": True},
        shows_tools=True,
    ),
]
