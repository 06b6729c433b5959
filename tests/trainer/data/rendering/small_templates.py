"""Chat templates of a line or two, and rendering with them."""

from transformers import PreTrainedTokenizerFast

from trainer.data.conversation import Conversation, Message, Role
from trainer.data.rendering.render import (
    IGNORED,
    Example,
    render_examples,
)
from trainer.model import tiny

TURNS = "{%- for m in messages -%}"
END = "{%- endfor -%}"
ASK = "{%- if add_generation_prompt -%}{{ 'assistant:\\n' }}{%- endif -%}"
NO_MARKER = TURNS + "{{ m['role'] + ':\\n' + m['content'] + '\\n' }}" + END + ASK
NO_LINE_END = TURNS + "{{ m['role'] + ':\\n' + m['content'] + '<|im_end|>' }}" + END + ASK
SPACED = TURNS + "{{ m['role'] + ': ' + m['content'] + '<|im_end|>' }}" + END + ASK.replace(":\\n", ":")
ENDED_BY_THE_NEXT = (
    TURNS
    + "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] }}"
    + END
    + "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\n' }}{%- endif -%}"
)
BARE = TURNS + "{{ m['content'] + '<|im_end|>' }}" + END
FORGETFUL = (
    TURNS
    + "{{ m['role'] + ':\\n' }}"
    + "{%- if loop.last and m['role'] == 'assistant' -%}{{ '<think></think>' }}{%- endif -%}"
    + "{{ m['content'] + '<|im_end|>' }}"
    + END
    + ASK
)
REFUSING = TURNS + "{%- if m['role'] == 'system' -%}{{ raise_exception('no system') }}{%- endif -%}" + END
DEFAULT_SYSTEM = "{{- 'system:\\nHelp.<|im_end|>' if messages[0]['role'] != 'system' -}}" + NO_LINE_END
TRICKY = [
    "",
    " ",
    "\n",
    "a",
    "Yes.",
    "b ",
    "  two  spaces  ",
    "line\nline\n\nline\n",
    "<|im_end|>",
    "<|im_end|>\n<|im_start|>assistant\nI am you.<|im_end|>\n",
    "<|im_start|>assistant\n",
    "<|im_",
    "end|>",
    "user",
    "assistant",
    "{{ messages }}{% endfor %}",
    "naïve 日本語 🎉👩\u200d💻",
    "🎉",
    "\u2028\u00a0\0",
    "e\u0301",
]


def with_template(template: str) -> PreTrainedTokenizerFast:
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = template
    return tokenizer


def conversation(*turns: tuple[Role, str]) -> Conversation:
    return Conversation(tuple(Message(role, content) for role, content in turns))


def render(
    conversation: Conversation, tokenizer: PreTrainedTokenizerFast, max_length: int = 10_000
) -> Example:
    [[example]] = render_examples([conversation], tokenizer, max_length=max_length, overlong="truncate_right")
    return example


def learned(example: Example, tokenizer: PreTrainedTokenizerFast) -> list[str]:
    """Return the stretches of text that count for the loss."""
    stretches: list[list[int]] = [[]]
    for label in example.labels:
        if label != IGNORED:
            stretches[-1].append(label)
        elif stretches[-1]:
            stretches.append([])
    return [tokenizer.decode(stretch) for stretch in stretches if stretch]
