"""TRL's SFTTrainer. It renders, tokenizes and, if asked, packs the rows by itself.

Options: `arguments` for its SFTConfig; `packed`.
"""

from scripts.benchmarks.contenders.side import Side

side = Side()

from pathlib import Path  # noqa: E402 - the heavy imports are timed

import torch  # noqa: E402
from datasets import Dataset  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback  # noqa: E402
from trl import SFTConfig, SFTTrainer  # noqa: E402

from scripts.benchmarks.contenders.arithmetic import ArithmeticClock  # noqa: E402
from scripts.benchmarks.contenders.counting import CountingCollator  # noqa: E402
from scripts.benchmarks.contenders.rows import rows_in_order  # noqa: E402
from scripts.benchmarks.contenders.stopwatch import Stopwatch  # noqa: E402

PACKED_TOKENS = 1024  # of a packed row; at least the longest row, so that none is cut


def arguments() -> SFTConfig:
    """Return the settings that every run has, and the contender's own."""
    task = side.task
    # A packed row holds about as many tokens as the rows of one step do otherwise
    sizes = {"packing": True, "max_length": PACKED_TOKENS} if task.options.get("packed") else {}
    rows = task.options.get("packed_rows", 2) if sizes else task.rows_per_step
    return SFTConfig(
        output_dir=str(Path(task.folder) / "output"),
        max_steps=task.steps,
        per_device_train_batch_size=rows,
        learning_rate=2e-5,
        use_cpu=True,
        lr_scheduler_type="constant",
        train_sampling_strategy="sequential",
        assistant_only_loss=True,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        **{"max_length": 2048, **sizes, **task.options.get("arguments", {})},
    )


def main() -> None:
    """Train the file."""
    side.imported()
    task = side.task
    torch.set_num_threads(task.threads)
    with side.timed("load"):
        tokenizer = AutoTokenizer.from_pretrained(task.model)
        model = AutoModelForCausalLM.from_pretrained(task.model, dtype=torch.float32)
    with side.timed("prepare"):
        trainer = SFTTrainer(
            model=model,
            args=arguments(),
            train_dataset=Dataset.from_list(rows_in_order(task)),
            processing_class=tokenizer,
            callbacks=[Stopwatch(side)],
        )
    trainer.data_collator = CountingCollator(trainer.data_collator, side)
    trainer.remove_callback(PrinterCallback)
    if task.options.get("time_arithmetic"):
        trainer.add_callback(ArithmeticClock(side))
    side.about_to_train()
    trainer.train()
    with side.timed("save"):
        trainer._save_checkpoint(trainer.model, trial=None)
    side.finish()


main()
