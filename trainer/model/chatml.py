"""The ChatML chat template, and how a model is made to use it."""

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from trainer.model.template_trial import names_asked_for, refuse_costly_template
from trainer.protocol.faults import UnusableModel

MARKERS = ("<|im_start|>", "<|im_end|>")

# ChatML. The markers around the assistant's part tell other tools which tokens are supervised.
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


def choose_template(
    tokenizer: Any, wanted: str, source: str, options: Mapping[str, Any] = MappingProxyType({})
) -> None:
    """Give a tokenizer the template that `model.chat_template` asks for.

    Args:
        wanted: `own` or `chatml`.
        source: what was loaded, for the message.
        options: `model.template_options`, which become defaults in the model's own template.
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
    else:
        templates = tokenizer.chat_template
        if isinstance(templates, dict):  # by name: some models have one for tools
            tokenizer.chat_template = {name: _usable(one, options, source) for name, one in templates.items()}
        else:
            tokenizer.chat_template = _usable(templates, options, source)


def _usable(template: str, options: Mapping[str, Any], source: str) -> str:
    refuse_costly_template(template, source)
    return with_defaults(template, options)


def with_defaults(template: str, options: Mapping[str, Any]) -> str:
    """Return a template that takes `options` for given unless others are given.

    As a part of the template, they go with it into checkpoints and to whoever generates text.

    Raises:
        UnusableModel: the template never asks for one of them.
    """
    asked_for = names_asked_for(template) if options else set()
    if unknown := [name for name in options if name not in asked_for]:
        raise UnusableModel(
            f'model.template_options has "{unknown[0]}", for which the chat template never asks; it asks for '
            f"{', '.join(sorted(asked_for))}; correct the name, or remove it"
        )
    defaults = "".join(
        f"{{%- if {name} is not defined -%}}{{%- set {name} = {_in_jinja(value)} -%}}{{%- endif %}}\n"
        for name, value in options.items()
    )
    # A line end behind a statement is not shown, so what follows is read as if it still stood first
    return template if template.startswith(defaults) else defaults + template


def _in_jinja(value: Any) -> str:
    match value:
        case None:
            return "none"
        case list():
            return f"[{', '.join(map(_in_jinja, value))}]"
        case dict():
            return f"{{{', '.join(f'{json.dumps(key)}: {_in_jinja(item)}' for key, item in value.items())}}}"
        case _:
            return json.dumps(value, ensure_ascii=False)
