"""Merge an adapter into its base model, and make sure that the result is the same model. Writes nothing.

Shapes: T = tokens of a row, V = vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from peft import PeftConfig, PeftModel
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from trainer.config.schema import Settings
from trainer.data.rendering.render import Example, RowExamples
from trainer.evaluation.evaluation_files import EvaluationFiles
from trainer.evaluation.generation import GenerationLimits, generating_alone
from trainer.evaluation.validation import load_validation_rows
from trainer.profiles.base import Generation
from trainer.protocol.faults import UnusableModel
from trainer.step.forward import ROUNDING, base_of

ROWS = 64
ROW_TOKENS = 128
POSITIONS = 8  # of each row, the last ones: whole rows of a large vocabulary would not fit into memory
PROMPTS = 8  # of each source
ANSWER_TOKENS = 32


@dataclass(frozen=True)
class Trial:
    """What a model is tried on."""

    validation: Sequence[RowExamples]
    rows: Sequence[list[int]]
    prompts: Sequence[list[int]]


@dataclass(frozen=True)
class Behaviour:
    """What a model does on a trial."""

    logits: Sequence[Tensor]
    """Of each row, (up to POSITIONS, V), fp32."""
    answers: Sequence[str]


def make_trial(
    settings: Settings, base_dir: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> Trial:
    """Choose rows of the validation file and prompts of the previews; made-up ones where these are too few.

    Raises:
        BadConfig: a file of them cannot be used.
    """
    few = settings.validation.model_copy(update={"max_rows": ROWS})
    wanted = settings.model_copy(update={"validation": few})
    validation = load_validation_rows(wanted, base_dir, tokenizer) if few.file else []
    examples = [example for row in validation for example in row if example.supervised_tokens]
    rows = [example.token_ids[:ROW_TOKENS] for example in examples[:ROWS]]
    made_up = _made_up_rows(model, ROWS - len(rows))
    without = few.model_copy(update={"file": None, "suites": {}})
    files = EvaluationFiles(base_dir).load(
        wanted.model_copy(update={"validation": without}), base_of(model), tokenizer
    )
    prompts = [
        *(question.token_ids for question in files.prompts[:PROMPTS]),
        *(_prompt_of(example) for example in examples[:PROMPTS]),
    ]
    return Trial(validation, [*rows, *made_up], prompts or made_up[:PROMPTS])


def _prompt_of(example: Example) -> list[int]:
    """Return what comes before the first supervised token."""
    first = next(place for place, label in enumerate(example.labels) if place and label >= 0)
    return example.token_ids[:first][-ROW_TOKENS:]


def _made_up_rows(model: PreTrainedModel, number: int) -> list[list[int]]:
    vocabulary = len(cast(Any, base_of(model).get_input_embeddings()).weight)
    generator = torch.Generator().manual_seed(number)
    return torch.randint(vocabulary, (number, ROW_TOKENS // 2), generator=generator).tolist()


@torch.no_grad()
def behaviour_of(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, trial: Trial) -> Behaviour:
    """Try a model; it is in evaluation mode from then on."""
    model.eval()
    inner = base_of(model)
    logits = [
        inner(torch.tensor([row], device=inner.device), use_cache=False).logits[0, -POSITIONS:].float().cpu()
        for row in trial.rows
    ]
    with generating_alone(inner, tokenizer, Generation()) as generator:
        limits = GenerationLimits(ANSWER_TOKENS)
        answers = [generator.generate(prompt, limits).text for prompt in trial.prompts]
    return Behaviour(logits, answers)


def refuse_other_behaviour(before: Behaviour, after: Behaviour, *, what: str) -> float:
    """Make sure that two models are the same but for rounding in fp32; return how far logits differ.

    Args:
        what: names the one after, for the message.
    Raises:
        UnusableModel: they are not.
    """
    pairs = list(zip(before.logits, after.logits, strict=True))
    largest = max(float(old.abs().max()) for old, _ in pairs)
    difference = max(float((new - old).abs().max()) for old, new in pairs)
    limit = ROUNDING[torch.float32] * largest
    if not difference <= limit:  # also where it is no number
        raise UnusableModel(
            f"the logits of {what} differ by {difference:.2g} from those with the adapter; expected "
            f"{limit:.2g} at most; nothing was changed"
        )
    others = sum(old != new for old, new in zip(before.answers, after.answers, strict=True))
    if others:
        raise UnusableModel(
            f"{what} gives {others} of {len(before.answers)} answers differently than with the adapter; "
            "expected the same ones; nothing was changed; try again after more steps"
        )
    return difference


def merge(model: PreTrainedModel) -> PreTrainedModel:
    """Return the base model with the adapter's matrices added to its weights, in fp32, in place.

    Raises:
        UnusableModel: a weight would not be a finite number.
    """
    assert isinstance(model, PeftModel)
    try:
        merged: PreTrainedModel = cast(Any, model).merge_and_unload(safe_merge=True)
    except ValueError as error:
        raise UnusableModel(f"the adapter cannot be merged: {error}; nothing was changed") from error
    return merged


def trained_rows_of(checkpoint: Path) -> dict[str, list[int]] | None:
    """Return the rows of embeddings that an adapter trains beside its matrices, by the layers' names."""
    config: Any = PeftConfig.from_pretrained(str(checkpoint))
    return dict(config.trainable_token_indices) if config.trainable_token_indices else None
