"""Our steps are those of the stock Trainer: the same rows in the same order, the same losses and weights."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.utils.data import Sampler, SequentialSampler
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    DataCollatorForSeq2Seq,
    PreTrainedModel,
    PrinterCallback,
    Trainer,
    TrainingArguments,
)

from tests.support import job_for, write_jsonl
from tests.trainer.engine_rig import PEFT_IS_BEHIND, current, settings_with, train
from trainer.config.schema import Settings
from trainer.data.formats import read_conversation
from trainer.data.rendering.render import Example, learnable, render_examples
from trainer.model.adapter import add_adapter
from trainer.pipeline.job_plan import make_plan
from trainer.protocol.job import Job

pytestmark = pytest.mark.filterwarnings(PEFT_IS_BEHIND)

NUM_ROWS = 85  # 22 steps, of which the last has one row
STEPS = 22
TRAINING: dict[str, Any] = {
    "batch_size": 2,
    "gradient_accumulation": 2,
    "learning_rate": 1e-3,
    "warmup_steps": 0,
    "weight_decay": 0.1,
    "max_grad_norm": 0.5,  # less than any step has, so that it is clipped
    "precision": "fp32",
    "device": "cpu",
}
LORA = {"method": "lora", "lora_rank": 4, "lora_alpha": 8, "learning_rate": 2e-3}
BUDGETS = (1, 150, 100_000)  # every row alone; two or three together; the whole step at once
SAME_LOSS = (
    1e-5  # with five times the learning rate the stock class differs as much from itself, split otherwise
)
SAME_WEIGHT = 1e-4  # AdamW makes of rounding a share of the learning rate where a gradient is next to nothing


def ragged_rows() -> list[dict[str, Any]]:
    """Return conversations of one to three turns and of very different lengths."""
    return [
        {
            "messages": [
                message
                for turn in range(1 + number % 3)
                for message in (
                    {"role": "user", "content": f"Count to {number}" + ", please" * (number % 5)},
                    {"role": "assistant", "content": " ".join(map(str, range(turn, (7 * number) % 23 + 1)))},
                )
            ]
        }
        for number in range(NUM_ROWS)
    ]


class StockTrainer(Trainer):
    """The stock class, which keeps what its own steps return."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.step_losses: list[float] = []

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        return SequentialSampler(self.train_dataset)

    def training_step(self, *arguments: Any, **options: Any) -> torch.Tensor:
        loss = super().training_step(*arguments, **options)
        if self.state.global_step == len(self.step_losses):
            self.step_losses.append(0.0)
        self.step_losses[-1] += loss.item()
        return loss


class Case:
    """One file, trained by the stock class once."""

    def __init__(self, folder: Path, base_model: Path, **training: Any) -> None:
        self.settings = settings_with(base_model, training=TRAINING | training)
        self.base_model = base_model
        self.path = write_jsonl(folder / "ragged.jsonl", ragged_rows())
        self.job = job_for(self.path)
        self.stock = self._train_stock(folder)
        self.stock_weights = trained_weights(self.stock.model)

    def with_budget(self, tokens: int) -> Settings:
        training = self.settings.training.model_copy(update={"micro_batch_tokens": tokens})
        return self.settings.model_copy(update={"training": training})

    def _train_stock(self, folder: Path) -> StockTrainer:
        training = self.settings.training
        tokenizer = AutoTokenizer.from_pretrained(self.base_model)
        model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(self.base_model)
        if training.method == "lora":
            model = add_adapter(model, training)
        trainer = StockTrainer(
            model,
            TrainingArguments(
                output_dir=str(folder / "stock"),
                per_device_train_batch_size=training.batch_size,
                gradient_accumulation_steps=training.gradient_accumulation,
                learning_rate=training.learning_rate,
                lr_scheduler_type="constant",
                weight_decay=training.weight_decay,
                max_grad_norm=training.max_grad_norm,
                optim="adamw_torch_fused",
                num_train_epochs=1,
                use_cpu=True,
                save_strategy="no",
                logging_strategy="no",
                report_to=[],
                disable_tqdm=True,
            ),
            train_dataset=[
                {
                    "input_ids": example.token_ids,
                    "attention_mask": [1] * len(example.token_ids),
                    "labels": example.labels,
                }
                for example in in_order(self.job, self.settings, tokenizer)
            ],
            data_collator=DataCollatorForSeq2Seq(tokenizer, padding=True),
            processing_class=tokenizer,
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
        return trainer


def in_order(job: Job, settings: Settings, tokenizer: Any) -> list[Example]:
    """Return the examples of a file in the order of its plan."""
    conversations = [read_conversation(row) for row in ragged_rows()]
    examples = learnable(render_examples(conversations, tokenizer, max_length=settings.data.max_length))
    plan = make_plan(job, settings, ())
    return [examples[position] for step in range(plan.num_steps) for position in plan.positions(step)]


def trained_weights(model: Any) -> dict[str, torch.Tensor]:
    """Return what was trained, by the names that a checkpoint has."""
    return {
        name.replace(".default", ""): weight.detach()
        for name, weight in model.named_parameters()
        if weight.requires_grad
    }


@pytest.fixture(scope="module", params=[{}, LORA], ids=["full", "lora"])
def case(request, tmp_path_factory, tiny_folder):
    return Case(tmp_path_factory.mktemp("parity"), tiny_folder, **request.param)


def test_the_rows_are_ragged_and_something_is_learned_from_them(case):
    lengths = [len(row["input_ids"]) for row in case.stock.train_dataset]

    assert len(case.stock.step_losses) == STEPS
    assert min(lengths) < 30 < 150 < max(lengths)
    assert case.stock.step_losses[0] - case.stock.step_losses[-1] > 1.0, "it learns"


@pytest.mark.parametrize("micro_batch_tokens", BUDGETS)
def test_losses_and_weights_are_those_of_the_stock_trainer_however_a_step_is_split(
    case, tmp_path, micro_batch_tokens
):
    settings = case.with_budget(micro_batch_tokens)

    _, told = train(tmp_path, settings, [(case.job, case.path)])

    losses = [step.loss for step in told.steps]
    assert min(step.grad_norm for step in told.steps) > settings.training.max_grad_norm, "all are clipped"
    assert losses == pytest.approx(case.stock.step_losses, rel=0, abs=SAME_LOSS)
    [file] = current(tmp_path).glob("*model.safetensors")
    ours = load_file(file)
    assert ours.keys() == case.stock_weights.keys()
    for name, weight in case.stock_weights.items():
        torch.testing.assert_close(ours[name], weight, rtol=0, atol=SAME_WEIGHT, msg=name)
