"""How the other tools are set up when they are compared with ours. They come with `scripts/setup peers`."""

from collections.abc import Callable
from typing import Any

from scripts.benchmarks.contenders.task import Task

DEFAULTS: dict[str, Any] = {}  # bf16 arithmetic and activation checkpointing, also on a CPU
TUNED: dict[str, Any] = {"bf16": False, "gradient_checkpointing": False}


def trl_contenders(task: Callable[..., Task]) -> dict[str, tuple[str, Task]]:
    """Return TRL as it comes, tuned to the same arithmetic as ours, and tuned with packed rows.

    Args:
        task: makes a task from a name and the contender's options.
    """
    return {
        "TRL, defaults": ("trl_sft", task("trl-defaults", arguments=DEFAULTS)),
        "TRL, tuned": ("trl_sft", task("trl-tuned", arguments=TUNED)),
        "TRL, tuned, packed": ("trl_sft", task("trl-packed", arguments=TUNED, packed=True)),
    }
