"""bf16 on a processor: how much faster than fp32, beside the peers in bf16, and whether the loss is the same.

First, tokens per second of the same rows in turns, as in `throughput`. Then the embedded model is trained
with several seeds in both formats, and the loss on rows that were not trained is compared. Puzzles are
learned in leaps, whose moment depends on the last bits: a run in fp32 with its rows grouped otherwise shows
how much.
"""

import argparse
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import mean
from typing import Any

from scripts.benchmarks.comparison import HF, OURS, facts_of, memory_mib, parity, per_second
from scripts.benchmarks.contenders.task import Task
from scripts.benchmarks.product_rate import product_rate
from scripts.benchmarks.results import Cell, Table, parser_for, publish
from scripts.benchmarks.shapes import SHAPES, build_model
from scripts.benchmarks.turns import Outcome, compare, tell
from scripts.benchmarks.workload import Workload, make_rows, write_rows

GIGA = 1e9
IN_FP32 = "ours, fp32"
PEERS_IN_BF16: dict[str, Any] = {"bf16": True, "gradient_checkpointing": False}
FORMATS = {"fp32": "float32", "bf16": "bfloat16"}
STEPS = 500
KINDS = ("texts", "puzzles")
OTHERWISE = "fp32, rows grouped otherwise"
ARITHMETIC = {"fp32": ("fp32", 8_192), "bf16": ("bf16", 8_192), OTHERWISE: ("fp32", 1_024)}
"""Precision, and tokens of a micro-batch. The last one computes the same as the first but for rounding."""
TOKENS_OF_A_STEP = 1_300  # about as many as in the skewed rows


def main() -> None:
    """Measure, print tables, write JSON."""
    parser = parser_for("bf16", __doc__)
    parser.add_argument("--seeds", type=int, default=5, help="of the runs whose losses are compared")
    options = parser.parse_args()
    tables, data = [], {}
    for shape in ("6M", "60M"):
        outcomes, task = _race(shape, options)
        tables += [_speeds(shape, outcomes, task, options.threads), parity(outcomes)]
        data[shape] = facts_of(outcomes)
    losses = _losses(options)
    tables += [_loss_table(kind, of_kind) for kind, of_kind in losses.items()]
    publish("bf16", options, tables, {"contenders": data, "losses": losses})


def _race(shape: str, options: argparse.Namespace) -> tuple[dict[str, Outcome], Task]:
    """Train the same rows in turns. The large shape is trained without peers, which would take hours."""
    with tempfile.TemporaryDirectory(prefix="bf16-") as name:
        folder = Path(name)
        model = build_model(folder / "model", SHAPES[shape])
        file = folder / "rows.jsonl"

        def task(name: str, **of_contender: Any) -> Task:
            return Task(
                model=str(model),
                file=str(file),
                folder=str(folder / name),
                threads=options.threads,
                turns=2 if options.quick else 4,
                steps_per_turn=2 if options.quick or shape != "6M" else 8,
                options=of_contender,
            )

        write_rows(file, task("rows").rows)
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


def _losses(options: argparse.Namespace) -> dict[str, list[dict[str, float]]]:
    """Return the loss on new rows by what was computed with, for each seed, of each kind of rows."""
    steps, seeds = (20, 2) if options.quick else (STEPS, options.seeds)
    asked = [(kind, seed, steps, name) for kind in KINDS for seed in range(seeds) for name in ARITHMETIC]
    found: dict[str, list[dict[str, float]]] = {kind: [{} for _ in range(seeds)] for kind in KINDS}
    # Several at once, as losses do not depend on the time they take
    with ProcessPoolExecutor(options.threads, mp_context=get_context("spawn")) as pool:
        for (kind, seed, _, name), loss in zip(asked, pool.map(_loss_after, asked), strict=True):
            found[kind][seed][name] = loss
            tell(f"{kind}, seed {seed}, {name}: {loss:.4f}")
    return found


def _loss_after(asked: tuple[str, int, int, str]) -> float:
    from daemon.data_tools.puzzles.skills import Skill
    from scripts.benchmarks.skill_run import SkillRun, puzzles  # here, because it loads torch

    kind, seed, steps, name = asked
    precision, max_tokens = ARITHMETIC[name]
    make = puzzles(Skill.SYLLO) if kind == "puzzles" else _texts
    with tempfile.TemporaryDirectory(prefix="bf16-") as folder:
        run = SkillRun(
            Path(folder),
            make,
            seed,
            steps,
            threads=1,
            max_tokens=max_tokens,
            precision=precision,
            device="cpu",
        )
        run.train(0, steps)
        return run.marks().loss


def _texts(seed: int, number: int) -> Iterator[dict[str, Any]]:
    return make_rows(number, Workload(seed=seed, longest_tokens=300))


def _loss_table(kind: str, losses: list[dict[str, float]]) -> Table:
    rows: list[list[Cell]] = [[str(seed), *_cells(of)] for seed, of in enumerate(losses)]
    rows.append(["mean", *_cells({name: mean(of[name] for of in losses) for name in ARITHMETIC})])
    columns = ["seed", *ARITHMETIC, *(f"{name} against fp32" for name in list(ARITHMETIC)[1:])]
    return Table(f"Loss on new rows after {STEPS} steps: {kind}", columns, rows)


def _cells(of: dict[str, float]) -> list[Cell]:
    in_fp32, *others = of.values()
    return [*of.values(), *(f"{100 * (loss / in_fp32 - 1):+.2f} %" for loss in others)]


if __name__ == "__main__":
    main()
