"""Whether one commit trains faster or slower than another: both in turns, on the same rows.

python -m scripts.benchmarks.compare BASE [HEAD]

Each commit is checked out into a folder of its own; without HEAD, it is this checkout as it is. The turns of
both alternate, so that what else the machine does meets both alike. Ends with 1 if HEAD is slower beyond
noise: by more than 1 %, and so that the 95 % confidence interval of the ratio (of the mean logarithm of the
turns' ratios, by Student's t) excludes 1; with 2 if it could not be measured.
"""

import argparse
import math
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import NoReturn

from scripts.benchmarks.race import prepare
from scripts.benchmarks.results import Cell, Table, parser_for, publish
from scripts.benchmarks.shapes import SHAPES
from scripts.benchmarks.turns import compare

ROOT = Path(__file__).parents[2]
LEAST_SLOWDOWN = 0.01
TURNS = 12
RACES = {("tiny", "fp32"): 40, ("6M", "fp32"): 4, ("6M", "bf16"): 4}
"""Shape and precision, and the steps of a turn."""
STUDENTS_T = {1: 12.71, 2: 4.30, 3: 3.18, 5: 2.57, 11: 2.20}
"""97.5th percentile by degrees of freedom."""


@dataclass(frozen=True)
class Ratio:
    """How many times as long HEAD takes as BASE, with its 95 % confidence interval."""

    value: float
    low: float
    high: float

    @property
    def is_slower(self) -> bool:
        return self.value > 1 + LEAST_SLOWDOWN and self.low > 1


def main() -> None:
    """Measure, print a table, and end with 1 if HEAD is slower beyond noise."""
    parser = parser_for("compare", __doc__)
    parser.add_argument("base", metavar="BASE", help="a commit")
    parser.add_argument("head", metavar="HEAD", nargs="?", help="another; without it, this checkout as it is")
    options = parser.parse_args()
    with ExitStack() as stack:
        roots = {name: stack.enter_context(_checkout(commit)) for name, commit in _commits(options).items()}
        ratios = {race: _race(race, roots, options) for race in RACES}
    rows: list[list[Cell]] = [
        [", ".join(race), f"{ratio.value:.3f}", f"{ratio.low:.3f} to {ratio.high:.3f}", _verdict(ratio)]
        for race, ratio in ratios.items()
    ]
    columns = ["", "time of HEAD / BASE", "95 % confidence", "so HEAD is"]
    publish("compare", options, [Table("A step", columns, rows)])
    if any(ratio.is_slower for ratio in ratios.values()):
        sys.exit(1)


def _commits(options: argparse.Namespace) -> dict[str, str | None]:
    return {"BASE": options.base, "HEAD": options.head}


@contextmanager
def _checkout(commit: str | None) -> Iterator[Path]:
    """Give a folder with the files of a commit; this checkout if it is None."""
    if commit is None:
        yield ROOT
        return
    with tempfile.TemporaryDirectory(prefix="compare-") as parent:
        folder = Path(parent) / "checkout"
        _git("worktree", "add", "--quiet", "--detach", str(folder), commit)
        try:
            yield folder
        finally:
            _git("worktree", "remove", "--force", str(folder))


def _git(*words: str) -> None:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        _fail(f"git {words[0]}: {done.stderr.strip()}; give a commit of this checkout")


def _fail(why: str) -> NoReturn:
    print(f"error: {why}", file=sys.stderr)
    sys.exit(2)


def _race(race: tuple[str, str], roots: dict[str, Path], options: argparse.Namespace) -> Ratio:
    shape, precision = race
    with tempfile.TemporaryDirectory(prefix="compare-") as name:
        task = prepare(Path(name), SHAPES[shape], options, turns=TURNS, steps_per_turn=RACES[race])
        tasks = {side: task(side, training={"precision": precision}) for side in roots}
        outcomes = compare({side: ("ours", task) for side, task in tasks.items()}, roots)
    for side, outcome in outcomes.items():
        if outcome.why_not:
            _fail(f"{side} ended before it had trained all steps: {outcome.why_not}")
    return ratio_of(outcomes["BASE"].turn_s, outcomes["HEAD"].turn_s)


def ratio_of(base_s: Sequence[float], head_s: Sequence[float]) -> Ratio:
    """Return how the seconds of turns compare that were taken side by side."""
    logarithms = [math.log(head / base) for base, head in zip(base_s, head_s, strict=True)]
    freedom = len(logarithms) - 1
    t = STUDENTS_T[max(known for known in STUDENTS_T if known <= freedom)]
    middle, margin = mean(logarithms), t * stdev(logarithms) / math.sqrt(len(logarithms))
    return Ratio(*(math.exp(value) for value in (middle, middle - margin, middle + margin)))


def _verdict(ratio: Ratio) -> str:
    if ratio.is_slower:
        return "slower"
    return "faster" if ratio.high < 1 else "neither, beyond noise"


if __name__ == "__main__":
    main()
