"""The ChatML chat template, and how a model is made to use it."""

from typing import Any

from trainer.core.faults import UnusableModel

MARKERS = ("<|im_start|>", "<|im_end|>")

# ChatML. The markers around the assistant's part tell other tools which tokens are to be learned.
CHATML = """\
{%- for message in messages -%}
{%- if message['role'] == 'assistant' -%}
{{- '<|im_start|>assistant\\n' -}}
{%- generation -%}{{- message['content'] + '<|im_end|>' -}}{%- endgeneration -%}
{{- '\\n' -}}
{%- else -%}
{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' -}}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"""


def choose_template(tokenizer: Any, wanted: str, source: str) -> None:
    """Give a tokenizer the template that `model.chat_template` asks for.

    Args:
        wanted: `own` or `chatml`.
        source: what was loaded, for the message.
    Raises:
        UnusableModel: there is no template, or none that could be honoured.
    """
    if wanted == "chatml":
        missing = [marker for marker in MARKERS if marker not in tokenizer.get_vocab()]
        if missing:
            raise UnusableModel(
                f'model.chat_template is "chatml", but the vocabulary of "{source}" has no '
                f'{" and no ".join(missing)}; use "own", or a model with ChatML markers'
            )
        tokenizer.chat_template = CHATML
        tokenizer.eos_token = MARKERS[1]  # where the assistant's turn ends, generation must end
    elif not tokenizer.chat_template:
        raise UnusableModel(
            f'base model "{source}" has no chat template, so conversations cannot be rendered; set '
            'model.chat_template to "chatml", or use an instruction-tuned variant'
        )
