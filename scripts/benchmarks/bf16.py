"""bf16 on a processor: how much faster than fp32, and beside the peers in bf16.

Tokens per second of the same rows in turns, as in `throughput`. What it does to the loss is measured by
`bf16_losses`.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

from scripts.benchmarks.comparison import HF, OURS, facts_of, memory_mib, parity, per_second
from scripts.benchmarks.contenders.task import Task
from scripts.benchmarks.product_rate import FORMATS, product_rate
from scripts.benchmarks.race import prepare
from scripts.benchmarks.results import Cell, Table, parser_for, publish
from scripts.benchmarks.shapes import SHAPES
from scripts.benchmarks.turns import Outcome, compare, tell

GIGA = 1e9
IN_FP32 = "ours, fp32"
PEERS_IN_BF16: dict[str, Any] = {"bf16": True, "gradient_checkpointing": False}
TOKENS_OF_A_STEP = 1_300  # about as many as in the skewed rows


def main() -> None:
    """Measure, print tables, write JSON."""
    options = parser_for("bf16", __doc__).parse_args()
    tables, data = [], {}
    for shape in ("6M", "60M"):
        outcomes, task = _race(shape, options)
        tables += [_speeds(shape, outcomes, task, options.threads), parity(outcomes)]
        data[shape] = facts_of(outcomes)
    publish("bf16", options, tables, {"contenders": data})


def _race(shape: str, options: argparse.Namespace) -> tuple[dict[str, Outcome], Task]:
    """Train the same rows in turns. The large shape is trained without peers, which would take hours."""
    with tempfile.TemporaryDirectory(prefix="bf16-") as name:
        steps = 8 if shape == "6M" else 2
        task = prepare(Path(name), SHAPES[shape], options, steps_per_turn=steps)
        contenders = {
            OURS: ("ours", task("ours", training={"precision": "bf16"})),
            IN_FP32: ("ours", task("fp32", training={"precision": "fp32"})),
        }
        if shape == "6M":
            contenders |= _peers(task)
        return compare(contenders), contenders[OURS][1]


def _peers(task: Any) -> dict[str, tuple[str, Task]]:
    return {
        HF: ("hf_trainer", task("hf", arguments=PEERS_IN_BF16)),
        "TRL, tuned": ("trl_sft", task("trl", arguments=PEERS_IN_BF16)),
        "TRL, tuned, packed": ("trl_sft", task("packed", arguments=PEERS_IN_BF16, packed=True)),
    }


def _speeds(shape: str, outcomes: dict[str, Outcome], task: Task, threads: int) -> Table:
    sizes = (TOKENS_OF_A_STEP, SHAPES[shape].hidden, SHAPES[shape].intermediate)
    tell("measuring matrix products")
    rates = {name: product_rate(*sizes, threads=threads, dtype=dtype) for name, dtype in FORMATS.items()}
    rows: list[list[Cell]] = []
    ours = per_second(outcomes[OURS], task, "tokens")
    for name, outcome in outcomes.items():
        tokens = per_second(outcome, task, "tokens")
        ratio = ours and tokens and f"{ours / tokens:.2f} x"
        rows.append([name, tokens, ratio, *memory_mib(outcome)])
    products = ", ".join(f"{rate / GIGA:.0f} GFLOP/s in {name}" for name, rate in rates.items())
    columns = ["", "tokens/s", "ours in bf16 is faster by", "RSS before (MiB)", "peak RSS (MiB)"]
    return Table(f"bf16, {shape} parameters; products: {products}", columns, rows)


if __name__ == "__main__":
    main()
