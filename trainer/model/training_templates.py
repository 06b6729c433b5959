"""The training templates: chat templates that never change earlier turns, for models whose own does that.

Each is a file in `trainer/model/templates/` and shows what its model's own template shows, but for the
difference that is stated here. Which of them fits a model is read from the tokenizer. Renders nothing.
"""

import hashlib
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.data.rendering.chat_template import IN_USE

FOLDER = Path(__file__).parent / "templates"
CHATML_MARKERS = ("<|im_start|>", "<|im_end|>")


@dataclass(frozen=True, kw_only=True)
class TrainingTemplate:
    """What is known of one of them."""

    name: str
    models: str
    """Whom it fits, for people."""
    markers: tuple[str, ...]
    """Tokens that the vocabulary must have."""
    end_of_turn: str
    """What the model ends a turn with, and generation with it."""
    difference: str
    """What it shows otherwise than the model's own template."""
    own_shows: tuple[str, ...] = ()
    """Texts by which the model's own template is known."""
    own_never_shows: tuple[str, ...] = ()
    """Texts by which similar models are told apart."""

    @property
    def text(self) -> str:
        """The template itself."""
        return (FOLDER / f"{self.name}.jinja").read_text(encoding="utf-8")

    def fits(self, vocabulary: Container[str], own: str) -> bool:
        """Return whether a model of these tokens, and with this template of its own, if any, is meant.

        Args:
            own: empty if there is none.
        """
        is_known = not own or all(text in own for text in self.own_shows)
        is_similar = any(text in own for text in self.own_never_shows)
        return is_known and not is_similar and all(marker in vocabulary for marker in self.markers)


@dataclass(frozen=True)
class TemplateInUse:
    """The training template, or the one of a file, that a tokenizer was given."""

    sha256: str
    """Of the template as it was read, without `model.template_options`."""
    may_begin_with_marks: bool = False
    """Whether what it puts before the words of a turn is the model's to produce. True of ours only."""
    for_inference: Any = None
    """What checkpoints get in its place: the model's own; None if they keep the one that was trained."""


TRAINING_TEMPLATES = (
    TrainingTemplate(
        name="qwen3",
        models="Qwen3, also those that only think (Thinking-2507)",
        markers=(*CHATML_MARKERS, "<think>", "</think>"),
        end_of_turn="<|im_end|>",
        difference="thoughts stay in earlier turns; an answer without thoughts has no empty block before it, "
        "unless the option `enable_thinking` is false, which puts one into every prompt",
        own_shows=("<|im_start|>", "</think>", "<tool_call>"),
        own_never_shows=("<function=",),
    ),
    TrainingTemplate(
        name="llama-3",
        models="Llama 3.1, 3.2 and 3.3",
        markers=("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|python_tag|>"),
        end_of_turn="<|eot_id|>",
        difference='the date is always the same: "26 Jul 2024", or the option `date_string`',
        own_shows=("<|start_header_id|>", "Cutting Knowledge Date"),
    ),
    TrainingTemplate(
        name="gemma",
        models="Gemma 1, 2 and 3",
        markers=("<bos>", "<start_of_turn>", "<end_of_turn>"),
        end_of_turn="<end_of_turn>",
        difference="none for rows that the model's own template accepts; a system message begins the first "
        "question, and turns need not alternate",
        own_shows=("<start_of_turn>",),
    ),
    TrainingTemplate(
        name="gemma-4",
        models="Gemma 4",
        markers=(
            *("<bos>", "<|turn>", "<turn|>", "<|channel>", "<channel|>"),
            *("<|tool_call>", "<tool_call|>", "<|tool_response>", "<tool_response|>"),
        ),
        end_of_turn="<turn|>",
        difference="thoughts stay in every turn; an answer without thoughts begins with an empty channel, "
        "which the model writes itself unless the option `enable_thinking` is false; words stand before the "
        "calls of their turn",
        own_shows=("<|turn>",),
    ),
    TrainingTemplate(
        name="mistral",
        models="Mistral 7B v0.3, Mixtral 8x22B, Mistral Small 2409",
        markers=("[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[TOOL_CALLS]", "[TOOL_RESULTS]", "</s>"),
        end_of_turn="</s>",
        difference="system message and tools stand at the first question instead of the last",
        own_shows=("[INST] ", "[AVAILABLE_TOOLS] "),
    ),
    TrainingTemplate(
        name="mistral-nemo",
        models="Mistral Nemo, Ministral 8B 2410",
        markers=("[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[TOOL_CALLS]", "[TOOL_RESULTS]", "</s>"),
        end_of_turn="</s>",
        difference="system message and tools stand at the first question instead of the last",
        own_shows=("[INST]", "[AVAILABLE_TOOLS]"),
        own_never_shows=("[INST] ", "[AVAILABLE_TOOLS] ", "[SYSTEM_PROMPT]"),
    ),
    TrainingTemplate(
        name="mistral-small-3",
        models="Mistral Small 3, 3.1 and 3.2",
        markers=("[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[INST]", "[/INST]", "</s>"),
        end_of_turn="</s>",
        difference="a row without a system message has none, instead of a default one with the day's date; "
        "no tools",
        own_shows=("[SYSTEM_PROMPT]", "[INST]"),
        own_never_shows=("[SYSTEM_PROMPT] ", "[INST] ", "[THINK]"),
    ),
    TrainingTemplate(
        name="deepseek-r1",
        models="DeepSeek R1 and its distilled models",
        markers=("<｜User｜>", "<｜Assistant｜>", "<｜end▁of▁sentence｜>"),
        end_of_turn="<｜end▁of▁sentence｜>",
        difference="thoughts stay in every turn, and the model writes their first mark itself; no tools",
        own_shows=("<｜User｜>", "</think>"),
        own_never_shows=("thinking",),
    ),
    TrainingTemplate(
        name="harmony",
        models="gpt-oss",
        markers=("<|start|>", "<|channel|>", "<|message|>", "<|end|>", "<|return|>", "<|call|>"),
        end_of_turn="<|return|>",
        difference="thoughts (`analysis`) stay in every turn; every answer ends with `<|return|>`, also an "
        'earlier one; the date is always "2025-08-05", or the option `current_date`',
        own_shows=("<|channel|>",),
    ),
    TrainingTemplate(
        name="glm-4.5",
        models="GLM 4.5 and 4.6",
        markers=("[gMASK]", "<sop>", "<|user|>", "<|assistant|>", "<|observation|>", "<think>", "</think>"),
        end_of_turn="<|user|>",
        difference="thoughts stay in earlier turns; an answer ends with `<|user|>`, and one that calls tools "
        "with `<|observation|>`, also the last one",
        own_shows=("[gMASK]<sop>", "<arg_key>", "</think>"),
        own_never_shows=("<tool_response>' +",),
    ),
    TrainingTemplate(
        name="glm-4",
        models="GLM 4 (9B of 2024, 9B and 32B 0414)",
        markers=("[gMASK]", "<sop>", "<|user|>", "<|assistant|>", "<|observation|>"),
        end_of_turn="<|user|>",
        difference="an answer ends with `<|user|>`, also the last one; no tools",
        own_shows=("[gMASK]<sop>",),
        own_never_shows=("</think>",),
    ),
    TrainingTemplate(
        name="phi-4",
        models="Phi 4 (14B)",
        markers=("<|im_start|>", "<|im_sep|>", "<|im_end|>"),
        end_of_turn="<|im_end|>",
        difference="none",
        own_shows=("<|im_sep|>",),
        own_never_shows=("<think>",),
    ),
    TrainingTemplate(
        name="phi-3",
        models="Phi 3 and 3.5",
        markers=("<|system|>", "<|user|>", "<|assistant|>", "<|end|>", "<|endoftext|>"),
        end_of_turn="<|end|>",
        difference="no `<|endoftext|>` after the last turn",
        own_shows=("<|user|>", "<|end|>"),
        own_never_shows=("<|tool|>",),
    ),
)
BY_NAME = {template.name: template for template in TRAINING_TEMPLATES}


class Vocabulary:
    """The tokens of a tokenizer, asked for one by one, as it takes a third of a second to list very many."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    def __contains__(self, token: object) -> bool:
        unknown = (None, self._tokenizer.unk_token_id)
        is_known = self._tokenizer.convert_tokens_to_ids(token) not in unknown
        return is_known or (token is not None and token == self._tokenizer.unk_token)


def fitting_template(tokenizer: Any) -> str | None:
    """Return the value of `model.chat_template` that fits a model; None if none is known.

    A training template is recognized by the vocabulary and, if there is one, by the model's own template.
    `chatml` fits every other model that has its markers.
    """
    vocabulary = Vocabulary(tokenizer)
    in_use = template_in_use(tokenizer)
    own = text_of(in_use.for_inference if in_use else tokenizer.chat_template)
    found = (template.name for template in TRAINING_TEMPLATES if template.fits(vocabulary, own))
    chatml = "chatml" if all(marker in vocabulary for marker in CHATML_MARKERS) else None
    return next(found, chatml)


def template_in_use(tokenizer: Any) -> TemplateInUse | None:
    """Return what a tokenizer was given; None if it has its own template, or ChatML."""
    return getattr(tokenizer, IN_USE, None)


def text_of(template: Any) -> str:
    """Return all that a tokenizer's template says; some models have several, by name."""
    return "\n".join(map(str, template.values())) if isinstance(template, dict) else str(template or "")


def sha256_of(template: str) -> str:
    """Return what a manifest says of a template."""
    return hashlib.sha256(template.encode()).hexdigest()
