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
MISTRAL_NEMO = MISTRAL_3
for _spaced, _close in (
    ('"[INST] "', '"[INST]"'),
    ('"[AVAILABLE_TOOLS] "', '"[AVAILABLE_TOOLS]"'),
    ('"[TOOL_CALLS] ["', '"[TOOL_CALLS]["'),
    ("'[TOOL_RESULTS] {", "'[TOOL_RESULTS]{"),
    ('" " + message["content"]|trim', 'message["content"]'),
):
    assert _spaced in MISTRAL_NEMO, _spaced
    MISTRAL_NEMO = MISTRAL_NEMO.replace(_spaced, _close)
MISTRAL_SMALL_3 = """\
{%- set default = 'You are Mistral Small 3. The current date is ' + strftime_now('%Y-%m-%d') + '.' %}
{{- bos_token }}
{%- if messages[0].role != 'system' %}{{ '[SYSTEM_PROMPT]' + default + '[/SYSTEM_PROMPT]' }}{% endif %}
{%- for m in messages %}
    {%- if m.role == 'system' %}{{ '[SYSTEM_PROMPT]' + m.content + '[/SYSTEM_PROMPT]' }}
    {%- elif m.role == 'user' %}{{ '[INST]' + m.content + '[/INST]' }}
    {%- elif m.role == 'assistant' and not m.tool_calls %}{{ m.content + eos_token }}
    {%- else %}{{ raise_exception('Only user, system and assistant roles are supported!') }}{% endif %}
{%- endfor %}"""

REAL_DEEPSEEK = (
    ("<|User|>", "<｜User｜>"),
    ("<|Assistant|>", "<｜Assistant｜>"),
    ("<|end_of_sentence|>", "<｜end▁of▁sentence｜>"),
)


def with_real_marks(template: str) -> str:
    for short, real in REAL_DEEPSEEK:
        template = template.replace(short, real)
    return template


GLM_4 = """\
[gMASK]<sop>
{%- for message in messages %}
    {%- if message.role == 'tool' or message.tool_calls %}{{ raise_exception('not here') }}{% endif %}
    {{- '<|' + message.role + '|>\\n' + message.content }}
{%- endfor %}
{%- if end_of_turn is defined and messages[-1].role == 'assistant' %}{{ '<|user|>' }}{% endif %}
{%- if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"""
GLM_LAST = (
    "{%- if end_of_turn is defined and messages[-1].role == 'assistant' %}"
    "{{ '<|observation|>' if messages[-1].tool_calls else '<|user|>' }}{% endif %}"
)
GLM_4_5 = (
    """\
[gMASK]<sop>
{%- if tools -%}
<|system|>
# Tools

You may call one or more functions to assist with the user query.

You are provided with function signatures within <tools></tools> XML tags:
<tools>
{% for tool in tools %}
{{ tool | tojson(ensure_ascii=False) }}
{% endfor %}
</tools>

For each function call, output the function name and arguments within the following XML format:
<tool_call>{function-name}
<arg_key>{arg-key-1}</arg_key>
<arg_value>{arg-value-1}</arg_value>
<arg_key>{arg-key-2}</arg_key>
<arg_value>{arg-value-2}</arg_value>
...
</tool_call>{%- endif -%}
{%- set ns = namespace(last_question=-1) %}
{%- for m in messages %}
    {%- if m.role == 'user' %}{% set ns.last_question = loop.index0 %}{% endif %}
{%- endfor %}
{%- for m in messages %}
    {%- set is_silent = enable_thinking is defined and not enable_thinking %}
    {%- if m.role == 'user' %}
        {{- '<|user|>\\n' + m.content }}
        {{- '/nothink' if is_silent and not m.content.endswith('/nothink') }}
    {%- elif m.role == 'system' %}{{- '<|system|>\\n' + m.content }}
    {%- elif m.role == 'tool' %}
        {{- '<|observation|>' if loop.first or messages[loop.index0 - 1].role != 'tool' }}
        {{- '\\n<tool_response>\\n' + m.content + '\\n</tool_response>' }}
    {%- else %}
        {%- set parts = m.content.split('</think>') %}
        {%- set thoughts = m.reasoning_content or parts[0].split('<think>')[-1] if parts | length > 1 or \
m.reasoning_content else '' %}
        {{- '<|assistant|>\\n<think>' }}
        {{- thoughts.strip() if loop.index0 > ns.last_question }}
        {{- '</think>' + ('\\n' + parts[-1].strip() if parts[-1].strip() else '') }}
        {%- for call in m.tool_calls or [] %}
            {{- '\\n<tool_call>' + call.function.name + '\\n' }}
            {%- for k, v in call.function.arguments.items() %}
                {{- '<arg_key>' + k + '</arg_key>\\n<arg_value>' }}
                {{- (v if v is string else v | tojson) + '</arg_value>\\n' }}
            {%- endfor %}
            {{- '</tool_call>' }}
        {%- endfor %}
    {%- endif %}
{%- endfor %}
"""
    + GLM_LAST
    + """\
{%- if add_generation_prompt %}
    {{- '<|assistant|>' }}
    {{- '\\n<think></think>' if enable_thinking is defined and not enable_thinking }}
{%- endif %}"""
)
GLM_ENDS = ("end_of_turn is defined and messages[-1]", "messages[-1]")
HARMONY = """\
{%- set dev = messages[0].content if messages[0].role == 'system' else '' %}
{%- set turns = messages[1:] if messages[0].role == 'system' else messages %}
{{- '<|start|>system<|message|>You are ChatGPT, a large language model trained by OpenAI.\\n' }}
{{- 'Knowledge cutoff: 2024-06\\nCurrent date: ' + strftime_now('%Y-%m-%d') }}
{{- '\\n\\nReasoning: medium\\n\\n' }}
{{- '# Valid channels: analysis, commentary, final. Channel must be included for every message.' }}
{%- if tools %}{{ "\\nCalls to these tools must go to the commentary channel: 'functions'." }}{% endif %}
{{- '<|end|>' }}
{%- if dev or tools %}
    {{- '<|start|>developer<|message|>' }}
    {%- if dev %}{{ '# Instructions\\n\\n' + dev + '\\n\\n' }}{% endif %}
    {%- if tools %}
        {{- '# Tools\\n\\n## functions\\n\\nnamespace functions {\\n\\n' }}
        {%- for tool in tools %}
            {{- DECLARED[tool.function.name] or tool | tojson }}
        {%- endfor %}
        {{- '} // namespace functions' }}
    {%- endif %}
    {{- '<|end|>' }}
{%- endif %}
{%- set ns = namespace(name=none) %}
{%- for m in turns %}
    {%- set thinking = m.thinking or m.reasoning_content or '' %}
    {%- if m.role == 'user' %}{{- '<|start|>user<|message|>' + m.content + '<|end|>' }}
    {%- elif m.role == 'tool' %}
        {%- if ns.name is none %}{{ raise_exception('nothing was called') }}{% endif %}
        {{- '<|start|>functions.' + ns.name + ' to=assistant<|channel|>commentary<|message|>' }}
        {{- m.content | tojson + '<|end|>' }}
    {%- elif m.tool_calls %}
        {%- if m.tool_calls | length > 1 %}{{ raise_exception('it would show one only') }}{% endif %}
        {%- set later = namespace(final=false) %}
        {%- for f in turns[loop.index:] %}
            {%- if f.role == 'assistant' and not f.tool_calls %}{% set later.final = true %}{% endif %}
        {%- endfor %}
        {%- if (m.content or thinking) and not later.final %}
            {{- '<|start|>assistant<|channel|>analysis<|message|>' + (m.content or thinking) + '<|end|>' }}
        {%- endif %}
        {%- set ns.name = m.tool_calls[0].function.name %}
        {{- '<|start|>assistant to=functions.' + ns.name + '<|channel|>commentary json<|message|>' }}
        {{- m.tool_calls[0].function.arguments | tojson + '<|call|>' }}
    {%- elif loop.last and not add_generation_prompt %}
        {%- if thinking %}
            {{- '<|start|>assistant<|channel|>analysis<|message|>' + thinking + '<|end|>' }}
        {%- endif %}
        {{- '<|start|>assistant<|channel|>final<|message|>' + m.content + '<|return|>' }}
    {%- else %}{{ '<|start|>assistant<|channel|>final<|message|>' + m.content + '<|end|>' }}{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|start|>assistant' }}{% endif %}"""
HARMONY_TOOLS = """\
{%- set DECLARED = {'weather': '// \\ntype weather = () => any;\\n\\n', 'search': '// Search “everything”.\\n\
type search = (_: {\\n// What for.\\nwords: string[],\\nmost?: number, // default: 3,\\n\
kind?: "page" | "image",\\n}) => any;\\n\\n'} %}
"""
HARMONY_EDITS = (
    ("strftime_now('%Y-%m-%d')", "'2025-08-05'"),
    ("(m.content or thinking) and not later.final", "m.content or thinking"),
    ("loop.last and not add_generation_prompt", "true"),
)
GEMMA_4 = """\
{%- set DECLARED = {
    'weather': 'declaration:weather{description:<|"|><|"|>,parameters:{type:<|"|>OBJECT<|"|>}}',
    'search': 'declaration:search{description:<|"|>Search “everything”.<|"|>,parameters:{properties:{'
    + 'kind:{enum:[<|"|>page<|"|>,<|"|>image<|"|>],type:<|"|>STRING<|"|>},most:{type:<|"|>INTEGER<|"|>},'
    + 'words:{description:<|"|>What for.<|"|>,items:{type:<|"|>STRING<|"|>},type:<|"|>ARRAY<|"|>}},'
    + 'required:[<|"|>words<|"|>],type:<|"|>OBJECT<|"|>}}'} %}
{%- macro said(value) %}
    {%- if value is string %}{{- '<|"|>' + value + '<|"|>' }}
    {%- elif value is iterable %}[
        {%- for one in value %}{{ said(one) + (',' if not loop.last else '') }}{% endfor %}]
    {%- else %}{{ value }}{%- endif %}
{%- endmacro %}
{%- set speaks_first = false %}
{%- set thinks = enable_thinking is defined and enable_thinking %}
{%- set turns = messages[1:] if messages[0].role == 'system' else messages %}
{{- bos_token }}
{%- if thinks or tools or messages[0].role == 'system' %}
    {{- '<|turn>system\\n' + ('<|think|>\\n' if thinks else '') }}
    {{- messages[0].content | trim if messages[0].role == 'system' }}
    {%- for tool in tools or [] %}
        {{- '<|tool>' + (DECLARED[tool.function.name] or tool | tojson) + '<tool|>' }}
    {%- endfor %}
    {{- '<turn|>\\n' }}
{%- endif %}
{%- set ns = namespace(question=-1, goes_on=false, is_open=false, before='') %}
{%- for m in turns %}{% if m.role == 'user' %}{% set ns.question = loop.index0 %}{% endif %}{% endfor %}
{%- for m in turns if m.role != 'tool' %}
    {%- set goes_on = m.role == 'assistant' and ns.before == 'assistant' %}
    {%- set place = turns.index(m) if turns.count(m) == 1 else loop.index0 %}
    {{- '<|turn>' + ('model' if m.role == 'assistant' else m.role) + '\\n' if not goes_on }}
    {%- set thoughts = m.reasoning_content %}
    {%- if thoughts and place > ns.question and m.tool_calls %}
        {{- '<|channel>thought\\n' + thoughts + '\\n<channel|>' }}
    {%- endif %}
    {{- m.content | trim if speaks_first or not m.tool_calls }}
    {%- set ns.is_open = false %}
    {%- for call in m.tool_calls or [] %}
        {{- '<|tool_call>call:' + call.function.name + '{' }}
        {%- for key, value in call.function.arguments | dictsort %}
            {{- key + ':' + said(value) + (',' if not loop.last else '') }}
        {%- endfor %}
        {{- '}<tool_call|>' }}
        {%- set ns.is_open = true %}
    {%- endfor %}
    {%- set seen = namespace(results=0, is_over=false) %}
    {%- for r in turns[place + 1:] if m.tool_calls and not seen.is_over %}
        {%- if r.role != 'tool' %}{% set seen.is_over = true %}{% endif %}
        {%- if not seen.is_over %}
            {%- set seen.results = seen.results + 1 %}
            {%- set named = namespace(name=r.name) %}
            {%- for call in m.tool_calls if call.id == r.tool_call_id %}
                {%- set named.name = call.function.name %}
            {%- endfor %}
            {{- '<|tool_response>response:' + named.name + '{value:' + said(r.content) + '}' }}
            {{- '<tool_response|>' }}
        {%- endif %}
    {%- endfor %}
    {%- set late = m.content | trim if m.tool_calls and not speaks_first else '' %}
    {{- late }}
    {%- if ns.is_open and not seen.results %}{{ '<|tool_response>' }}
    {%- elif not seen.results or late %}{{ '<turn|>\\n' }}{% endif %}
    {%- set ns.before = m.role %}
{%- endfor %}
{%- if add_generation_prompt and not ns.is_open %}
    {{- '<|turn>model\\n' + ('' if thinks else '<|channel>thought\\n<channel|>') }}
{%- endif %}"""
GEMMA_4_EDITS = (
    (
        "{%- if thoughts and place > ns.question and m.tool_calls %}",
        "{%- if m.role == 'assistant' and not thoughts and not goes_on %}"
        "{{ '<|channel>thought\n<channel|>' }}{% elif thoughts %}",
    ),
    ("speaks_first = false", "speaks_first = true"),
)
DEEPSEEK_REFUSES = (
    "{% elif message['role'] == 'tool' or message['tool_calls'] %}{{ raise_exception('it shows nothing') }}"
    "{% elif message['role'] == 'assistant' %}"
)
GLM_KEEPS = ("thoughts.strip() if loop.index0 > ns.last_question", "thoughts.strip()")
FINAL = "<|channel|>final<|message|>"
R1_THOUGHTS = "message['content'].split('</think>')[-1]"

NO_TOOLS = (
    "{% for message in messages %}",
    "{% for message in messages %}"
    "{% if message['role'] == 'tool' %}{{ raise_exception('the original leaves it out') }}{% endif %}",
)

ORIGINALS = [
    Original(
        "deepseek-r1",
        with_real_marks(jinja.DEEPSEEK_R1),
        bos="<s>",
        eos="<｜end▁of▁sentence｜>",
        edits=(
            (
                R1_THOUGHTS,
                "('<think>\n' + message['reasoning_content'] + '\n</think>\n\n' "
                "if message['reasoning_content'] else '') + message['content']",
            ),
            ("{% elif message['role'] == 'assistant' %}", DEEPSEEK_REFUSES),
        ),
        asks=(("<think>\n", ""),),
    ),
    Original(
        "harmony",
        HARMONY_TOOLS + HARMONY,
        eos="<|return|>",
        edits=HARMONY_EDITS,
    ),
    Original(
        "harmony without thoughts",
        HARMONY_TOOLS + HARMONY,
        eos="<|return|>",
        edits=HARMONY_EDITS,
        options={"enable_thinking": False},
        training="harmony",
        asks=(("<|start|>assistant", "<|start|>assistant" + FINAL),),
    ),
    Original("glm-4.5", GLM_4_5, edits=(GLM_ENDS, GLM_KEEPS), eos="<|user|>"),
    Original(
        "glm-4.5 without thoughts",
        GLM_4_5,
        edits=(GLM_ENDS, GLM_KEEPS),
        eos="<|user|>",
        options={"enable_thinking": False},
        training="glm-4.5",
    ),
    Original("glm-4", GLM_4, edits=(GLM_ENDS,), eos="<|user|>"),
    Original("phi-4", jinja.PHI_4, eos="<|im_end|>", edits=(NO_TOOLS,)),
    Original(
        "phi-3",
        jinja.PHI_3,
        eos="<|end|>",
        edits=(("{% else %}{{ eos_token }}{% endif %}", "{% endif %}"), NO_TOOLS),
    ),
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
    Original(
        "mistral-nemo",
        MISTRAL_NEMO,
        bos="<s>",
        edits=(
            ("message == user_messages[-1]", "loop.first"),
            ("loop.last and system_message", "loop.first and system_message"),
        ),
    ),
    Original(
        "mistral-small-3",
        MISTRAL_SMALL_3,
        bos="<s>",
        edits=(("{%- if messages[0].role != 'system' %}", "{%- if false %}"),),
    ),
    Original(
        "gemma-4",
        GEMMA_4,
        bos="<bos>",
        eos="<turn|>",
        edits=GEMMA_4_EDITS,
        asks=(("<|turn>model\n<|channel>thought\n<channel|>", "<|turn>model\n"),),
    ),
    Original(
        "gemma-4 without thoughts",
        GEMMA_4,
        bos="<bos>",
        eos="<turn|>",
        edits=GEMMA_4_EDITS,
        options={"enable_thinking": False},
        training="gemma-4",
    ),
    Original(
        "gemma-4 told to think",
        GEMMA_4,
        bos="<bos>",
        eos="<turn|>",
        edits=GEMMA_4_EDITS,
        options={"enable_thinking": True},
        training="gemma-4",
    ),
]
