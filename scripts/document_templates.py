"""Write docs/data/chat-templates.md: what each training template shows and supervises.

python -m scripts.document_templates
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from copy import deepcopy
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tokenizers import AddedToken

from daemon.cli.training_data_show import text_of
from trainer.data.conversation import Conversation, Message
from trainer.data.rendering.chat_template import Refused
from trainer.data.rendering.example import TrainOn
from trainer.data.rendering.render import ExampleRenderer
from trainer.mains.show_row import shown_example
from trainer.model import tiny
from trainer.model.template_choice import choose_template
from trainer.model.training_templates import TRAINING_TEMPLATES, TrainingTemplate

PAGE = Path(__file__).parent.parent / "docs" / "data" / "chat-templates.md"
NO_LIMIT = 10**6  # tokens

INTRODUCTION = """\
# Chat templates

[All pages about data](../DATA.md)

Which value of `model.chat_template` fits a model, and what it supervises. [Masks and
templates](masks-and-templates.md#training-templates) says what training templates are for. This page is
generated: change `trainer/model/training_templates.py`, then run `python -m scripts.document_templates`.

## Models that need none

The own templates of these models train as they are; leave `model.chat_template` at `own`.

| models | not supported; rows that have it are refused |
|---|---|
| Qwen 2.5, Qwen3-Coder | thoughts, unless they are a part of the words |
| Phi 4 mini | thoughts, unless they are a part of the words; tools |

[Families of chat templates](families.md) says the same of many more, with pictures.

## Training templates

In all of them, every answer is supervised with its thoughts (`reasoning_content`, `thinking` or `reasoning`
of a message), its calls and the end of its turn. The pictures are what `training_data show` prints of one
small row: what the system says, a question, thoughts and a call, its result, and the answer. What a template
does not show is left out of the row.
"""

# What begins a text, where that is not among the markers
BEGINNINGS = {
    "llama-3": "<|begin_of_text|>",
    "gemma": "<bos>",
    "gemma-4": "<bos>",
    "deepseek-r1": "<｜begin▁of▁sentence｜>",
} | dict.fromkeys(("mistral", "mistral-nemo", "mistral-small-3"), "<s>")

CALL = {
    "type": "function",
    "id": "a1b2c3d4e",
    "function": {"name": "temperature", "arguments": {"city": "Bonn"}},
}
SYSTEM, QUESTION = Message("system", "Be brief."), Message("user", "How warm is it in Bonn?")
CALLING = Message("assistant", "", tool_calls=(CALL,), extra={"reasoning_content": "I look it up."})
RESULT = Message("tool", "21", extra={"name": "temperature", "tool_call_id": CALL["id"]})
ANSWER = Message("assistant", "21 degrees.")
THINKING = replace(ANSWER, extra={"reasoning_content": "I know that."})
# The first that a template shows is the picture
ROWS = (
    (SYSTEM, QUESTION, CALLING, RESULT, ANSWER),
    (SYSTEM, QUESTION, replace(CALLING, extra={}), RESULT, ANSWER),
    (SYSTEM, QUESTION, THINKING),
    (SYSTEM, QUESTION, ANSWER),
)


def page() -> str:
    """Return the whole page."""
    return "\n".join([INTRODUCTION, *(line for one in TRAINING_TEMPLATES for line in _section(one))])


def _section(template: TrainingTemplate) -> Iterator[str]:
    setting = {"model": {"chat_template": template.name}}
    yield f"### `{template.name}`\n"
    yield f"- **Models**: {template.models}"
    yield f"- **Setting**: `{json.dumps(setting)}`"
    yield f"- **Differences from the model's own template**: {template.difference}\n"
    yield f"```\n{_picture(template)}\n```\n"


def _picture(template: TrainingTemplate) -> str:
    tokenizer = tokenizer_of(template)
    for messages in ROWS:
        with suppress(Refused):
            return picture(Conversation(messages), tokenizer)
    raise AssertionError(f"{template.name} shows none of the rows")


def picture(conversation: Conversation, tokenizer: Any, train_on: TrainOn = "assistant") -> str:
    """Return what `training_data show` prints of a row.

    Raises:
        Refused: the tokenizer's template does not let it train.
    """
    renderer = ExampleRenderer(tokenizer, caches=False)
    [piece] = renderer.pieces(conversation, max_length=NO_LIMIT, overlong="fail", train_on=train_on)
    return text_of(shown_example(piece, tokenizer, NO_LIMIT), has_colour=False).plain.rstrip("\n")


def tokenizer_of(template: TrainingTemplate, options: Mapping[str, Any] = MappingProxyType({})) -> Any:
    """Return a tokenizer with a template, and with the tokens of the models that it is for.

    Args:
        options: as in `model.template_options`.
    """
    tokenizer = deepcopy(_tiny())
    begins = BEGINNINGS.get(template.name)
    markers = [*template.markers, *([begins] if begins else [])]
    tokenizer.add_tokens([AddedToken(marker, normalized=False, special=True) for marker in markers])
    tokenizer.bos_token = begins
    choose_template(tokenizer, template.name, "a model", options)
    return tokenizer


@cache
def _tiny() -> Any:
    return tiny.tokenizer()


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
