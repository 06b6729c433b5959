"""Whether training in bf16 ends with the loss of training in fp32, on rows that were not trained.

The embedded model is trained with several seeds in both formats. The loss of puzzles falls in leaps, whose
moment depends on the last bits: a run in fp32 with its rows grouped otherwise shows how much.
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from typing import Any

from scripts.benchmarks.parts import Asked, measured_in_parts
from scripts.benchmarks.results import Cell, Table, parser_for, publish
from scripts.benchmarks.workload import Workload, make_rows

STEPS = 500
KINDS = ("texts", "puzzles")
OTHERWISE = "fp32, rows grouped otherwise"
ARITHMETIC = {"fp32": ("fp32", 8_192), "bf16": ("bf16", 8_192), OTHERWISE: ("fp32", 1_024)}
"""Precision, and tokens of a micro-batch. The last one computes the same as the first but for rounding."""


def main() -> None:
    """Measure, print tables, write JSON."""
    parser = parser_for("bf16_losses", __doc__)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    losses = _losses(options)
    tables = [_loss_table(kind, of_kind) for kind, of_kind in losses.items()]
    publish("bf16_losses", options, tables, {"losses": losses})


def _losses(options: argparse.Namespace) -> dict[str, list[dict[str, float]]]:
    """Return the loss on new rows by what was computed with, for each seed, of each kind of rows."""
    steps, seeds = (20, 2) if options.quick else (STEPS, options.seeds)
    of_kinds = [(kind, seed, name) for kind in KINDS for seed in range(seeds) for name in ARITHMETIC]
    found: dict[str, list[dict[str, float]]] = {kind: [{} for _ in range(seeds)] for kind in KINDS}
    parts = options.out and options.out / "bf16_losses.parts"
    asked: list[Asked] = [(kind, seed, steps, name) for kind, seed, name in of_kinds]
    # Several at once, as losses do not depend on the time they take
    losses = measured_in_parts(_loss_after, asked, folder=parts, processes=options.threads)
    for (kind, seed, name), loss in zip(of_kinds, losses, strict=True):
        found[kind][seed][name] = loss
    return found


def _loss_after(asked: Asked) -> float:
    from daemon.data_tools.puzzles.skills import Skill  # here, as this and the next load torch
    from scripts.benchmarks.skill_run import SkillRun, puzzles

    kind, seed, steps, name = asked
    precision, max_tokens = ARITHMETIC[str(name)]
    make = puzzles(Skill.SYLLO) if kind == "puzzles" else _texts
    with tempfile.TemporaryDirectory(prefix="bf16-") as folder:
        run = SkillRun(
            Path(folder),
            make,
            int(seed),
            int(steps),
            threads=1,
            max_tokens=max_tokens,
            precision=precision,
            device="cpu",
        )
        run.train(0, int(steps))
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
    shown = [f"{loss:.4f}" for loss in of.values()]
    return [*shown, *(f"{100 * (loss / in_fp32 - 1):+.2f} %" for loss in others)]


if __name__ == "__main__":
    main()
