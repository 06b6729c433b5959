"""One process, one model, and a new stock Trainer for each of many files, saved after each.

Options: `files`, of which `file` is the first.
"""

from scripts.benchmarks.contenders.side import Side

side = Side()

import time  # noqa: E402 - the heavy imports are timed
from dataclasses import replace  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import torch  # noqa: E402
from transformers import (  # noqa: E402
    AutoModelForCausalLM,
    AutoTokenizer,
    DataCollatorForSeq2Seq,
    PrinterCallback,
    Trainer,
    TrainingArguments,
)

from scripts.benchmarks.contenders.rows import examples_in_order  # noqa: E402


def train(model: Any, tokenizer: Any, file: str) -> None:
    """Train one file, and save."""
    task = side.task
    examples = examples_in_order(replace(task, file=file), tokenizer)
    arguments = TrainingArguments(
        output_dir=str(Path(task.folder) / "output"),
        num_train_epochs=1,
        per_device_train_batch_size=task.rows_per_step,
        learning_rate=2e-5,
        use_cpu=True,
        lr_scheduler_type="constant",
        train_sampling_strategy="sequential",
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=[{"input_ids": row.token_ids, "labels": row.labels} for row in examples],
        data_collator=DataCollatorForSeq2Seq(tokenizer, model=model),
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    trainer._save_checkpoint(model, trial=None)


def main() -> None:
    """Train all files."""
    side.imported()
    torch.set_num_threads(side.task.threads)
    with side.timed("load"):
        tokenizer = AutoTokenizer.from_pretrained(side.task.model)
        model = AutoModelForCausalLM.from_pretrained(side.task.model, dtype=torch.float32)
    side.about_to_train()
    side.result["file_s"] = []
    for file in side.task.options["files"]:
        started = time.perf_counter()
        train(model, tokenizer, file)
        side.result["file_s"].append(time.perf_counter() - started)
    side.finish()


main()
