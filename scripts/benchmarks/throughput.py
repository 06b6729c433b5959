"""Tokens per second on the CPU: ours, the stock Trainer and TRL, each trained on the same rows in turns.

A 6 M-parameter Qwen3 shape, fp32, 16 rows per step. Tokens are real ones (no padding); supervised tokens are
those the loss looks at. `share of products` is the model's arithmetic per second (6 for each token and
weight, the head where something is learned only, causal attention: `Shape.training_flops`) over the rate of
torch.mm in fp32 at the size of the model's largest product, measured in the same run.
"""

import argparse
import tempfile
from pathlib import Path

from scripts.benchmarks.comparison import HF, OURS, facts_of, memory_mib, parity, per_second, phases
from scripts.benchmarks.contenders.task import Task
from scripts.benchmarks.peers import trl_contenders
from scripts.benchmarks.product_rate import product_rate
from scripts.benchmarks.race import prepare
from scripts.benchmarks.results import Cell, Table, parser_for, publish
from scripts.benchmarks.shapes import SHAPES, Shape
from scripts.benchmarks.turns import Outcome, compare, tell

GIGA = 1e9


def main() -> None:
    """Measure, print tables, write JSON."""
    options = parser_for("throughput", __doc__).parse_args()
    shape = SHAPES["6M"]
    with tempfile.TemporaryDirectory(prefix="throughput-") as folder:
        contenders = _contenders(Path(folder), shape, options)
        task = contenders[OURS][1]
        flops_per_token, tokens_per_step = _arithmetic(task, shape)
        tell("measuring matrix products")
        rate = product_rate(tokens_per_step, shape.hidden, shape.intermediate, threads=options.threads)
        outcomes = compare(contenders)
    tables = [_speeds(outcomes, task, flops_per_token, rate), phases(outcomes), parity(outcomes)]
    data = {"products_per_s": rate, "flops_per_token": flops_per_token, "contenders": facts_of(outcomes)}
    publish("throughput", options, tables, data)


def _contenders(folder: Path, shape: Shape, options: argparse.Namespace) -> dict[str, tuple[str, Task]]:
    task = prepare(folder, shape, options)
    return {OURS: ("ours", task("ours")), HF: ("hf_trainer", task("hf")), **trl_contenders(task)}


def _arithmetic(task: Task, shape: Shape) -> tuple[float, int]:
    """Return the operations that one token of the file needs on average, and the tokens of a step."""
    from transformers import AutoTokenizer

    from scripts.benchmarks.contenders.rows import examples_in_order

    examples = examples_in_order(task, AutoTokenizer.from_pretrained(task.model))
    lengths = [len(example.token_ids) for example in examples]
    supervised = sum(example.supervised_tokens for example in examples)
    flops = shape.training_flops(lengths, supervised=supervised, is_causal=True)
    return flops / sum(lengths), round(sum(lengths) / task.steps)


def _speeds(outcomes: dict[str, Outcome], task: Task, flops_per_token: float, rate: float) -> Table:
    rows: list[list[Cell]] = []
    ours = per_second(outcomes[OURS], task, "tokens")
    for name, outcome in outcomes.items():
        tokens = per_second(outcome, task, "tokens")
        share = tokens and f"{100 * tokens * flops_per_token / rate:.0f} %"
        ratio = ours and tokens and f"{ours / tokens:.2f} x"
        supervised = per_second(outcome, task, "supervised")
        rows.append([name, tokens, supervised, ratio, share, *memory_mib(outcome)])
    columns = ["", "tokens/s", "supervised tokens/s", "ours is faster by", "share of products"]
    columns += ["RSS before (MiB)", "peak RSS (MiB)"]
    return Table(f"Throughput; products: {rate / GIGA:.0f} GFLOP/s", columns, rows)


if __name__ == "__main__":
    main()
