"""The rows in the order in which ours trains them, so that every contender has the same ones in each step."""

import hashlib
import json
from pathlib import Path
from typing import Any

from scripts.benchmarks.contenders.task import SEED, Task
from trainer.data.formats import read_conversation
from trainer.data.plan import Plan
from trainer.data.rendering.render import Example, ExampleRenderer, Tokenizer, learnable


def rows_in_order(task: Task) -> list[dict[str, Any]]:
    """Return the file's rows, step after step."""
    content = Path(task.file).read_bytes()
    lines = content.splitlines()
    plan = Plan(
        sha256=hashlib.sha256(content).hexdigest(),
        num_rows=len(lines),
        rows_per_step=task.rows_per_step,
        epochs=1,
        seed=SEED,
    )
    order = [position for step in range(plan.num_steps) for position in plan.positions(step)]
    return [json.loads(lines[position]) for position in order]


def examples_in_order(task: Task, tokenizer: Tokenizer, *, max_length: int = 2048) -> list[Example]:
    """Return the file's examples, rendered step by step as ours does it."""
    conversations = [read_conversation(row) for row in rows_in_order(task)]
    renderer = ExampleRenderer(tokenizer)
    examples = []
    for first in range(0, len(conversations), task.rows_per_step):
        step = conversations[first : first + task.rows_per_step]
        examples += learnable(renderer.render(step, max_length=max_length))
    return examples
