"""Which chat template a model is trained with: its own, ChatML, a training template, or the one of a file."""

import json
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from trainer.data.rendering.chat_template import IN_USE, OTHER_TEMPLATES, OtherTemplate
from trainer.model.template_trial import names_asked_for, refuse_costly_template
from trainer.model.training_templates import (
    BY_NAME,
    CHATML_MARKERS,
    TemplateInUse,
    TrainingTemplate,
    Vocabulary,
    fitting_template,
    sha256_of,
)
from trainer.protocol.faults import UnusableModel

MARKERS = CHATML_MARKERS
FILE_SUFFIX = ".jinja"
MOST_BYTES = 1_000_000  # of a template's file; the longest that come with models have 30,000

RESULTS_BEGIN_WITHIN = 8  # turns after the calls, in rows that do not list their tools
THINKING = "enable_thinking"  # the option that many templates ask for

# Without tools. The markers around the assistant's part tell other tools which tokens are supervised.
PLAIN_CHATML = """\
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

# The same text for rows without tools; tools and calls are shown as Hermes and Qwen 2.5 show them. Whether a
# tool's turns are results of calls is decided where the first of them stands: they share one turn. It keeps
# to what `template_analysis` understands, so that rows without tools are rendered fast.
CHATML = (
    """\
{%- set seen = namespace(calls_at=-RESULTS_BEGIN_WITHIN - 1, results=false) -%}
{%- if tools -%}
{{- '<|im_start|>system\\n' -}}
{%- if messages[0]['role'] == 'system' -%}{{- messages[0]['content'] + '\\n\\n' -}}{%- endif -%}
{{- '# Tools\\n\\nYou may call one or more functions to assist with the user query.\\n\\n' -}}
{{- 'You are provided with function signatures within <tools></tools> XML tags:\\n<tools>' -}}
{%- for tool in tools -%}{{- '\\n' + (tool | tojson) -}}{%- endfor -%}
{{- '\\n</tools>\\n\\nFor each function call, return a json object with function name and arguments ' -}}
{{- 'within <tool_call></tool_call> XML tags:\\n<tool_call>\\n{"name": <function-name>, "arguments": ' -}}
{{- '<args-json-object>}\\n</tool_call><|im_end|>\\n' -}}
{%- endif -%}
{%- for message in messages -%}
{%- if message.tool_calls -%}{%- set seen.calls_at = loop.index0 -%}{%- endif -%}
{%- if message['role'] == 'tool' and (loop.first or messages[loop.index0 - 1]['role'] != 'tool') -%}
{%- set seen.results = tools or loop.index0 - seen.calls_at <= RESULTS_BEGIN_WITHIN -%}
{%- endif -%}
{%- if tools and loop.first and message['role'] == 'system' -%}
{%- elif message['role'] == 'assistant' -%}
{{- '<|im_start|>assistant\\n' -}}
{%- generation -%}
{%- if message.tool_calls -%}
{{- message['content'] -}}
{%- for call in message.tool_calls -%}
{%- set called = call.function or call -%}
{{- '\\n' if message['content'] or not loop.first else '' -}}
{{- '<tool_call>\\n{"name": "' + called.name + '", "arguments": ' -}}
{{- called.arguments if called.arguments is string else called.arguments | tojson -}}
{{- '}\\n</tool_call>' -}}
{%- endfor -%}
{{- '<|im_end|>' -}}
{%- else -%}
{{- message['content'] + '<|im_end|>' -}}
{%- endif -%}
{%- endgeneration -%}
{{- '\\n' -}}
{%- elif message['role'] == 'tool' and seen.results -%}
{{- '<|im_start|>user' if loop.first or messages[loop.index0 - 1]['role'] != 'tool' else '' -}}
{{- '\\n<tool_response>\\n' + message['content'] + '\\n</tool_response>' -}}
{{- '<|im_end|>\\n' if loop.last or messages[loop.index0 + 1]['role'] != 'tool' else '' -}}
{%- else -%}
{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' -}}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"""
).replace("RESULTS_BEGIN_WITHIN", str(RESULTS_BEGIN_WITHIN))


def locate_template(wanted: str, base_dir: Path) -> str:
    """Return the value of `model.chat_template` with the path of a file, if it is one, made absolute."""
    return str(base_dir / os.path.expanduser(wanted)) if wanted.endswith(FILE_SUFFIX) else wanted


def choose_template(
    tokenizer: Any, wanted: str, source: str, options: Mapping[str, Any] = MappingProxyType({})
) -> None:
    """Give a tokenizer the template that `model.chat_template` asks for.

    Args:
        wanted: `own`, `chatml`, the name of a training template, or the path of a file.
        source: what was loaded, for the message.
        options: `model.template_options`, which become defaults in the template.
    Raises:
        UnusableModel: there is no template, or none that could be honoured.
    """
    own = tokenizer.chat_template
    named: dict[str, OtherTemplate] = {}
    if wanted == "chatml":
        _refuse_missing_markers(tokenizer, "chatml", MARKERS, source)
        tokenizer.chat_template = CHATML
        tokenizer.eos_token = MARKERS[1]  # where the assistant's turn ends, generation must end
    elif wanted in BY_NAME:
        _use_training_template(tokenizer, BY_NAME[wanted], source, options)
    elif wanted.endswith(FILE_SUFFIX):
        template = read_template(Path(wanted))
        refuse_costly_template(template, f'the chat template "{wanted}"')
        tokenizer.chat_template = with_defaults(template, options)
        in_use = TemplateInUse(sha256_of(template))
        setattr(tokenizer, IN_USE, in_use)
        named[wanted] = OtherTemplate("", template, None, in_use)
    else:
        _use_own(tokenizer, source, options)
    if isinstance(own, str) and own:
        named["own"] = OtherTemplate("", own, None, None)
    find = partial(_other_templates, tokenizer, own, wanted, dict(options), named)  # takes a while
    setattr(tokenizer, OTHER_TEMPLATES, find)


def _other_templates(
    tokenizer: Any, own: Any, wanted: str, options: Mapping[str, Any], named: Mapping[str, OtherTemplate]
) -> tuple[OtherTemplate, ...]:
    """Return the templates that could be named instead of the wanted one, the best first.

    Args:
        own: the model's template.
        named: those that are not ours, by name.
    """
    fitting = fitting_template(tokenizer) if wanted == "own" else None
    names = dict.fromkeys(filter(None, (fitting, wanted, _chatml_if_possible(tokenizer))))
    found: list[OtherTemplate] = []
    for name in sorted(names, key=lambda name: name == "chatml"):
        template = named.get(name) or _template_of_ours(name, own)
        if template is None:
            continue
        for tried in _options_to_try(template.text, options, may_drop=name == wanted):
            if name == wanted and tried == options:
                continue
            words = [f'set model.chat_template to "{name}"'] if name != wanted else []
            words += [f"set model.template_options to {json.dumps(tried)}"] if tried != options else []
            text = with_defaults(template.text, tried)
            found.append(replace(template, setting=" and ".join(words), text=text))
    return tuple(found)


def _options_to_try(template: str, options: Mapping[str, Any], *, may_drop: bool) -> Iterator[dict[str, Any]]:
    """Yield options to try with a template: those given that it asks for, with or without thinking.

    Args:
        may_drop: end with each way to give one option less.
    """
    asked_for = names_asked_for(template)
    kept = {name: value for name, value in options.items() if name in asked_for and name != THINKING}
    yield kept
    if THINKING in asked_for:
        yield {**kept, THINKING: False}
        yield {**kept, THINKING: True}
    if may_drop:
        for dropped in kept:
            yield {name: value for name, value in options.items() if name != dropped}


def _template_of_ours(name: str, own: Any) -> OtherTemplate | None:
    """Return ChatML or a training template as it is written; None if there is none of that name."""
    if name == "chatml":
        return OtherTemplate("", CHATML, MARKERS[1], None)
    if name not in BY_NAME:
        return None
    template = BY_NAME[name]
    in_use = TemplateInUse(sha256_of(template.text), may_begin_with_marks=True, for_inference=own)
    return OtherTemplate("", template.text, template.end_of_turn, in_use)


def _chatml_if_possible(tokenizer: Any) -> str | None:
    vocabulary = Vocabulary(tokenizer)
    return "chatml" if all(marker in vocabulary for marker in MARKERS) else None


def _use_own(tokenizer: Any, source: str, options: Mapping[str, Any]) -> None:
    """Train with the model's own template, and note which other one would fit."""
    fitting = fitting_template(tokenizer)
    advice = f'set model.chat_template to "{fitting or "chatml"}"'
    own = tokenizer.chat_template
    if not own:
        raise UnusableModel(
            f'base model "{source}" has no chat template, so conversations cannot be rendered; {advice}, or '
            "use an instruction-tuned variant"
        )

    def usable(template: str) -> str:
        way_out = f"{advice}, or use another copy of the model"
        refuse_costly_template(template, f'the chat template of base model "{source}"', way_out)
        return with_defaults(template, options)

    if isinstance(own, dict):  # by name: some models have one for tools
        tokenizer.chat_template = {name: usable(one) for name, one in own.items()}
    else:
        tokenizer.chat_template = usable(own)


def read_template(path: Path) -> str:
    """Return the template in a file.

    Raises:
        UnusableModel: it cannot be read, or is none.
    """
    way_out = 'expected a UTF-8 text file; correct the path, or set model.chat_template to "own"'
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):  # a pipe would never end
            raise UnusableModel(f"model.chat_template is {path}, which is not a regular file; {way_out}")
        if found.st_size > MOST_BYTES:
            raise UnusableModel(
                f"model.chat_template is {path}, which has {found.st_size:,} bytes; "
                f"expected at most {MOST_BYTES:,}; use a shorter template"
            )
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UnusableModel(f"model.chat_template is {path}: {error.strerror}; {way_out}") from error
    except UnicodeDecodeError as error:
        raise UnusableModel(f"model.chat_template is {path}: {error}; {way_out}") from error


def _use_training_template(
    tokenizer: Any, template: TrainingTemplate, source: str, options: Mapping[str, Any]
) -> None:
    """Train with a template of ours, and keep the model's own for whoever generates text."""
    _refuse_missing_markers(tokenizer, template.name, template.markers, source)
    own = _with_known_options(tokenizer.chat_template, options)
    tokenizer.chat_template = with_defaults(template.text, options)
    tokenizer.eos_token = template.end_of_turn
    in_use = TemplateInUse(sha256_of(template.text), may_begin_with_marks=True, for_inference=own)
    setattr(tokenizer, IN_USE, in_use)


def _refuse_missing_markers(tokenizer: Any, name: str, markers: tuple[str, ...], source: str) -> None:
    vocabulary = Vocabulary(tokenizer)
    missing = [marker for marker in markers if marker not in vocabulary]
    if not missing:
        return
    fitting = fitting_template(tokenizer)
    markers_of = "ChatML" if name == "chatml" else name
    instead = f'"{fitting}", which fits this model' if fitting else f"a model with {markers_of} markers"
    raise UnusableModel(
        f'model.chat_template is "{name}", but the vocabulary of "{source}" has no '
        f'{" and no ".join(missing)}; use "own", or {instead}'
    )


def _with_known_options(own: Any, options: Mapping[str, Any]) -> Any:
    """Return a model's own template with those options that it asks for."""
    if isinstance(own, dict):
        return {name: _with_known_options(one, options) for name, one in own.items()}
    if not own:
        return None
    asked_for = names_asked_for(own) if options else set()
    return with_defaults(own, {name: value for name, value in options.items() if name in asked_for})


def with_defaults(template: str, options: Mapping[str, Any]) -> str:
    """Return a template that takes `options` for given unless others are given.

    As a part of the template, they go with it into checkpoints and to whoever generates text.

    Raises:
        UnusableModel: the template never asks for one of them.
    """
    asked_for = names_asked_for(template) if options else set()
    if unknown := [name for name in options if name not in asked_for]:
        raise UnusableModel(
            f'model.template_options has "{unknown[0]}", which the chat template never reads; it reads '
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
