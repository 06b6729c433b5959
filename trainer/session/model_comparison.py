"""Compare two states of the model on the same rows and prompts. One is loaded after the other."""

import gc
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils.logging import disable_progress_bar

from trainer.config.loader import BadConfig
from trainer.config.schema import Settings
from trainer.evaluation.evaluation_files import EvaluationFiles
from trainer.evaluation.generation import generating_alone
from trainer.evaluation.paired_difference import RowLoss, paired_difference
from trainer.evaluation.row_losses import row_losses
from trainer.evaluation.together import Prompt
from trainer.evaluation.validation import load_validation_rows
from trainer.model.linked_models import linked_models_of
from trainer.protocol.checkpoints import DamagedCheckpoint
from trainer.protocol.comparison import Compared, ComparedAnswer, CompareOrder, LossDifference
from trainer.protocol.layout import Layout
from trainer.session.kept_model import load_kept_model
from trainer.step.forward import base_of

ROWS_BETWEEN_WORDS = 50
PROMPTS_BETWEEN_WORDS = 10
TOKENS_AT_ONCE = 2048  # besides a worker, which may have little memory left

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Measured:
    """What one model does with the rows and prompts."""

    device: str
    losses: Sequence[RowLoss]
    prompts: Sequence[str]
    answers: Sequence[str]


def compare(order: CompareOrder, tell: Tell) -> Compared:
    """Return how the two models differ.

    Raises:
        BadConfig: rows or prompts cannot be used, or the losses cannot be compared.
        Exception: whatever keeps a worker from loading one of the models.
    """
    disable_progress_bar()
    torch.set_num_threads(num_threads(daemon_runs=order.daemon_runs))
    settings = _settings_of(order)
    with linked_models_of(Layout(order.base_dir).models) as linked:  # where `tiny` is built, if need be
        measured = []
        for folder in (order.before, order.after):
            measured.append(_measure(folder, settings, order.base_dir, linked, tell))
            gc.collect()
    before, after = measured
    answers = zip(before.prompts, before.answers, after.answers, strict=True)
    return Compared(
        device=after.device,
        loss=_loss_difference(before.losses, after.losses),
        answers=tuple(ComparedAnswer(prompt=prompt, before=old, after=new) for prompt, old, new in answers),
    )


def num_threads(*, daemon_runs: bool) -> int:
    """Return how many threads to compute with; half of the cores stay with a worker."""
    cores = len(os.sched_getaffinity(0))
    return max(1, cores // 2) if daemon_runs else cores


def _settings_of(order: CompareOrder) -> Settings:
    settings = Settings.model_validate(order.settings)
    if not order.daemon_runs:
        return settings
    # A worker whose GPU is full would split its steps further, for good
    training = settings.training.model_copy(update={"device": "cpu"})
    return settings.model_copy(update={"training": training})


def _measure(folder: Path, settings: Settings, base_dir: Path, models: Path, tell: Tell) -> Measured:
    tell(f"{folder.name}: loading")
    try:
        model, tokenizer = load_kept_model(folder, settings, base_dir=base_dir, models=models, tell=tell)
    except DamagedCheckpoint as error:
        raise BadConfig(f"{folder.name}: {error}; choose another: training_models list") from error
    rows = load_validation_rows(settings, base_dir, tokenizer) if settings.validation.file else []

    def tell_rows(done: int) -> None:
        if done % ROWS_BETWEEN_WORDS == 0 or done == len(rows):
            tell(f"{folder.name}: {done:,} of {len(rows):,} rows")

    losses = row_losses(model, rows, tell=tell_rows)
    prompts, answers = _answers(
        model, tokenizer, settings, base_dir, lambda text: tell(f"{folder.name}: {text}")
    )
    return Measured(model.device.type, losses, prompts, answers)


def _answers(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    settings: Settings,
    base_dir: Path,
    tell: Tell,
) -> tuple[list[str], list[str]]:
    """Return the prompts, and the model's answers to them."""
    without_rows = settings.validation.model_copy(update={"file": None, "suites": {}})
    wanted = settings.model_copy(update={"validation": without_rows})
    found = EvaluationFiles(base_dir).load(wanted, base_of(model), tokenizer)
    most, length = settings.previews.max_new_tokens, settings.data.max_length
    prompts = [
        Prompt(prompt.token_ids, min(most, length - len(prompt.token_ids))) for prompt in found.prompts
    ]
    answers: list[str] = []
    with generating_alone(base_of(model), tokenizer, found.profile.generation()) as generator:
        while len(answers) < len(prompts):
            few = prompts[len(answers) : len(answers) + PROMPTS_BETWEEN_WORDS]
            answers.extend(text.text for text in generator.generate_each(few, max_tokens=TOKENS_AT_ONCE))
            tell(f"{len(answers):,} of {len(prompts):,} prompts")
    return [prompt.shown for prompt in found.prompts], answers


def _loss_difference(before: Sequence[RowLoss], after: Sequence[RowLoss]) -> LossDifference | None:
    """Compare the losses of the rows with something to predict for both models.

    Raises:
        BadConfig: there is no such row, or a loss is not a finite number.
    """
    if not before:
        return None
    pairs = [(old, new) for old, new in zip(before, after, strict=True) if old.tokens and new.tokens]
    if not pairs:
        raise BadConfig(
            f"none of the {len(before):,} rows has a supervised token; expected rows like those trained"
        )
    broken = sum(not math.isfinite(row.summed) for pair in pairs for row in pair)
    if broken:
        raise BadConfig(
            f"{broken:,} losses are not finite numbers, so they cannot be compared; expected models whose "
            "weights are whole: training_health verify"
        )
    found = paired_difference([old for old, _ in pairs], [new for _, new in pairs])
    return LossDifference(
        rows=len(pairs),
        left_out=len(before) - len(pairs),
        before=found.before,
        after=found.after,
        difference=found.difference,
        low=found.low,
        high=found.high,
        t=found.t,
    )
