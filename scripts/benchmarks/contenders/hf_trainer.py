"""The stock Trainer of transformers with a stock collator, fed the token ids and labels that ours uses."""

from scripts.benchmarks.contenders.side import Side

side = Side()

from pathlib import Path  # noqa: E402 - the heavy imports are timed
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

from scripts.benchmarks.contenders.arithmetic import ArithmeticClock  # noqa: E402
from scripts.benchmarks.contenders.counting import CountingCollator  # noqa: E402
from scripts.benchmarks.contenders.rows import examples_in_order  # noqa: E402
from scripts.benchmarks.contenders.stopwatch import Stopwatch  # noqa: E402


def prepare(tokenizer: Any) -> list[dict[str, list[int]]]:
    """Return the token ids and labels of all rows."""
    examples = examples_in_order(side.task, tokenizer)
    return [{"input_ids": example.token_ids, "labels": example.labels} for example in examples]


def main() -> None:
    """Train the file."""
    side.imported()
    task = side.task
    torch.set_num_threads(task.threads)
    with side.timed("load"):
        tokenizer = AutoTokenizer.from_pretrained(task.model)
        model = AutoModelForCausalLM.from_pretrained(task.model, dtype=torch.float32)
    with side.timed("prepare"):
        rows = prepare(tokenizer)
    arguments = TrainingArguments(
        output_dir=str(Path(task.folder) / "output"),
        max_steps=task.steps,
        per_device_train_batch_size=task.rows_per_step,
        learning_rate=2e-5,
        use_cpu=True,
        lr_scheduler_type="constant",
        train_sampling_strategy="sequential",
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        **task.options.get("arguments", {}),
    )
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=rows,
        data_collator=CountingCollator(DataCollatorForSeq2Seq(tokenizer, model=model), side),
        callbacks=[Stopwatch(side)],
    )
    trainer.remove_callback(PrinterCallback)
    if task.options.get("time_arithmetic"):
        trainer.add_callback(ArithmeticClock(side))
    side.about_to_train()
    trainer.train()
    with side.timed("save"):
        trainer._save_checkpoint(trainer.model, trial=None)
    side.finish()


main()
