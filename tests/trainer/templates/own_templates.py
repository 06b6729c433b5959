"""Own templates of models that need no training template: written anew, not copied."""

from tests.trainer.templates import jinja
from tests.trainer.templates.originals import Original, with_real_words

PHI_4_MINI = (
    "{% for m in messages %}{% if m.role == 'system' and m.tools %}"
    "{{ '<|system|>' + m.content + '<|tool|>' + m.tools + '<|/tool|><|end|>' }}"
    "{% else %}{{ '<|' + m.role + '|>' + m.content + '<|end|>' }}{% endif %}{% endfor %}"
    "{{ '<|assistant|>' if add_generation_prompt else eos_token }}"
)
QWEN_3_CODER = """\
{%- set has_system = messages[0].role == 'system' %}
{%- if has_system or tools %}
    {{- '<|im_start|>system\\n' + (messages[0].content if has_system else 'You are Qwen.') }}
    {%- if tools %}
        {{- '\\n\\n# Tools\\n\\n<tools>' }}
        {%- for tool in tools %}
            {%- set given = tool.function.parameters %}
            {{- '\\n<function>\\n<name>' + tool.function.name + '</name>\\n<description>' }}
            {{- (tool.function.description or '') + '</description>\\n<parameters>' }}
            {%- for name, spec in (given.properties or {}) | items %}
                {{- '\\n<parameter>\\n<name>' + name + '</name>\\n<type>' + spec.type + '</type>' }}
                {{- '\\n<description>' + (spec.description or '') + '</description>\\n</parameter>' }}
            {%- endfor %}
            {{- '\\n<required>' + (given.required | tojson) + '</required>' if given.required }}
            {{- '\\n</parameters>\\n</function>' }}
        {%- endfor %}
        {{- '\\n</tools>\\n\\nCall one as <tool_call>\\n<function=NAME>\\n</function>\\n</tool_call>' }}
    {%- endif %}
    {{- '<|im_end|>\\n' }}
{%- endif %}
{%- for m in (messages[1:] if has_system else messages) %}
    {%- if m.role == 'tool' %}
        {{- '<|im_start|>user\\n' if loop.previtem and loop.previtem.role != 'tool' }}
        {{- '<tool_response>\\n' + m.content + '\\n</tool_response>\\n' }}
        {{- '<|im_end|>\\n' if loop.last or loop.nextitem.role != 'tool' }}
    {%- elif m.tool_calls %}
        {{- '<|im_start|>assistant' + ('\\n' + m.content | trim + '\\n' if m.content | trim else '') }}
        {%- for call in m.tool_calls %}
            {{- '\\n<tool_call>\\n<function=' + call.function.name + '>\\n' }}
            {%- for name, value in call.function.arguments | items %}
                {{- '<parameter=' + name + '>\\n' + (value if value is string else value | tojson) }}
                {{- '\\n</parameter>\\n' }}
            {%- endfor %}
            {{- '</function>\\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
    {%- else %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endif %}
{%- endfor %}
{{- '<|im_start|>assistant\\n' if add_generation_prompt }}"""

TRAIN_AS_THEY_ARE = [
    Original("qwen 2.5", with_real_words(jinja.QWEN_2_5), eos="<|im_end|>"),
    Original("qwen3-coder", QWEN_3_CODER, eos="<|im_end|>"),
    Original("phi-4-mini", PHI_4_MINI, eos="<|endoftext|>"),
]
"""Own templates that need no other."""
MARKERS_OF_THOSE = {
    "qwen 2.5": ("<|im_start|>", "<|im_end|>"),
    "qwen3-coder": ("<|im_start|>", "<|im_end|>"),
    "phi-4-mini": ("<|system|>", "<|user|>", "<|assistant|>", "<|end|>", "<|tool|>", "<|/tool|>"),
}
