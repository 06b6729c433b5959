"""What the own templates of models show for which we have a training template: written anew, not copied.

Beside each stands the difference of the training template, as edits that make it of the original.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.trainer.templates import jinja

Edits = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Original:
    """A model's own template, and what the training template does otherwise."""

    name: str
    template: str
    edits: Edits = ()
    bos: str = ""
    eos: str = "</s>"
    options: Mapping[str, Any] = field(default_factory=dict)
    training: str = ""
    """The training template, if it is not called like this."""
    asks: Edits = ()
    """What the training template asks with instead, at the very end of a prompt."""

    @property
    def edited(self) -> str:
        found = self.template
        for old, new in self.edits:
            assert found.count(old) == 1, old
            found = found.replace(old, new)
        return found

    @property
    def training_template(self) -> str:
        return self.training or self.name


QWEN_TOLD = (
    "# Tools\\n\\nYou may call one or more functions to assist with the user query.\\n\\nYou are provided \
with function signatures within <tools></tools> XML tags:\\n<tools>"
)
QWEN_FORMAT = (
    '\\n</tools>\\n\\nFor each function call, return a json object with function name and arguments \
within <tool_call></tool_call> XML tags:\\n<tool_call>\\n{\\"name\\": <function-name>, \\"arguments\\": \
<args-json-object>}\\n</tool_call><|im_end|>\\n'
)


QWEN_ARGUMENTS = (
    "{{- tool_call.arguments if tool_call.arguments is string else tool_call.arguments | tojson }}"
)


def with_real_words(template: str) -> str:
    """Return a template of Qwen with what it really tells about tools."""
    for short, real in (
        ("messages[0]['content'] }}\n    {%- else", "messages[0]['content'] + '\\n\\n' }}\n    {%- else"),
        ("{{- tool_call.arguments | tojson }}", QWEN_ARGUMENTS),
        ("\\n\\n# Tools\\n\\n<tools>", QWEN_TOLD),
        ("\\n</tools>\\n\\nReturn a call within <tool_call></tool_call>.<|im_end|>\\n", QWEN_FORMAT),
    ):
        assert template.count(short) == 1, short
        template = template.replace(short, real)
    return template


QWEN_3 = with_real_words(jinja.QWEN_3)
QWEN_SHOWS_THOUGHTS = "loop.index0 > ns.last_query_index and (loop.last or reasoning_content)"
LLAMA_3_1 = (
    jinja.LLAMA_3_1.replace('"Today Date: "', '"Cutting Knowledge Date: December 2023\\nToday Date: "')
    .replace(
        '"Given the following functions, respond with a call.\\n\\n"',
        '"Given the following functions, please respond with a JSON for a function call with its proper '
        "arguments that best answers the given prompt.\\n\\nRespond in the format "
        '{\\"name\\": function name, \\"parameters\\": dictionary of argument name and its value}.'
        'Do not use variables.\\n\\n"',
    )
    # A string is iterable, so what a tool returns is quoted
    .replace(
        '{{- message.content }}{{- "<|eot_id|>" }}', '{{- message.content | tojson }}{{- "<|eot_id|>" }}'
    )
)
MISTRAL_CALL = """\
            {{- (tool_call.function|tojson)[:-1] + ', "id": "' + tool_call.id + '"}' }}"""
MISTRAL_3 = jinja.MISTRAL_3.replace("            {{- tool_call.function|tojson }}", MISTRAL_CALL).replace(
    'message.content|string + "}[/TOOL',
    'message.content|string + \', "call_id": "\' + message.tool_call_id + \'"\' + "}[/TOOL',
)

ORIGINALS = [
    Original(
        "qwen3",
        QWEN_3,
        eos="<|im_end|>",
        edits=((QWEN_SHOWS_THOUGHTS, "reasoning_content"),),
    ),
    Original(
        "qwen3 without thoughts",
        QWEN_3,
        eos="<|im_end|>",
        options={"enable_thinking": False},
        training="qwen3",
        edits=((QWEN_SHOWS_THOUGHTS, "true"),),
    ),
    Original(
        "qwen3 thinking",
        QWEN_3[: QWEN_3.rindex("{%- if add_generation_prompt")]
        + "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n<think>\\n' }}{%- endif %}",
        eos="<|im_end|>",
        training="qwen3",
        edits=((QWEN_SHOWS_THOUGHTS, "reasoning_content"),),
        asks=(("<|im_start|>assistant\n<think>\n", "<|im_start|>assistant\n"),),
    ),
    Original("llama-3", LLAMA_3_1, bos="<s>", eos="<|eot_id|>"),
    Original(
        "llama 3.2",
        LLAMA_3_1.replace('set date_string = "26 Jul 2024"', 'set date_string = strftime_now("%d %b %Y")'),
        bos="<s>",
        eos="<|eot_id|>",
        training="llama-3",
        edits=(('strftime_now("%d %b %Y")', '"26 Jul 2024"'),),
    ),
    Original("gemma", jinja.GEMMA_3, bos="<bos>", eos="<end_of_turn>"),
    Original("gemma 2", jinja.GEMMA, bos="<bos>", eos="<end_of_turn>", training="gemma"),
    Original(
        "mistral",
        MISTRAL_3,
        bos="<s>",
        edits=(
            ("message == user_messages[-1]", "loop.first"),
            ("loop.last and system_message", "loop.first and system_message"),
        ),
    ),
]
