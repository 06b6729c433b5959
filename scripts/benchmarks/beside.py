"""What training loses beside busy programs: tokens/s alone, beside one and beside two of them.

Two engines take turns: one whose threads always spin while they wait for each other, and one whose threads
hardly spin beside other programs. Before each turn the number of busy programs changes, so alone and beside
are measured within the same minute.
"""

import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from scripts.benchmarks.contenders.task import Task
from scripts.benchmarks.race import prepare
from scripts.benchmarks.results import Cell, Table, median, parser_for, publish
from scripts.benchmarks.shapes import SHAPES
from scripts.benchmarks.turns import Contender, tell

BUSY = [sys.executable, "-c", "while True: pass"]
ALONE, ONE, TWO = ROUND = (0, 1, 2)
ROUNDS = 3
SIDES = {"spinning": True, "spinning only alone": False}
BEFORE_S = 5.0  # in which threads have come to spin, or not to, after the load has changed
TURN_S = 3.0

Rates = dict[tuple[str, int], list[float]]
"""Side and number of busy programs -> tokens per second in each turn."""


def main() -> None:
    """Measure, print a table, write JSON."""
    parser = parser_for("beside", __doc__)
    parser.add_argument("--shape", choices=SHAPES, default="tiny", help="the model (default: tiny)")
    options = parser.parse_args()
    rates: Rates = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="beside-") as name, ExitStack() as stack:
        task = prepare(Path(name), SHAPES[options.shape], options)
        seconds = {"before_s": BEFORE_S, "turn_s": TURN_S}
        sides = {
            side: stack.enter_context(_started(task(side, is_spinning=is_spinning, **seconds)))
            for side, is_spinning in SIDES.items()
        }
        for number in ROUND if options.quick else ROUND * ROUNDS:
            with busy_programs(number):
                for side, contender in sides.items():
                    contender.go()
                    said = contender.listen()
                    rates[side, number].append(said["tokens"] / said["seconds"])
                    tell(f"beside {number}: {side}, {rates[side, number][-1]:,.0f} tokens/s")
    data = {f"{side}, beside {number}": turns for (side, number), turns in rates.items()}
    publish("beside", options, [table(rates, f"{options.shape}, {options.threads} threads")], data)


@contextmanager
def _started(task: Task) -> Iterator[Contender]:
    contender = Contender("timed", task)
    try:
        contender.listen()  # its first steps
        yield contender
    finally:
        contender.close()


@contextmanager
def busy_programs(number: int) -> Iterator[None]:
    """Keep as many processors busy as there are programs, each in a session of its own like a user's."""
    programs = [subprocess.Popen(BUSY, start_new_session=True) for _ in range(number)]
    try:
        yield
    finally:
        for program in programs:
            program.kill()
            program.wait()


def table(rates: Rates, what: str) -> Table:
    """Return the medians, and which part of the speed alone is kept beside others."""
    rows: list[list[Cell]] = []
    for side in SIDES:
        alone, *beside = (median(rates[side, number]) for number in (ALONE, ONE, TWO))
        shares = [f"{rate / alone:.0%}" if rate and alone else None for rate in beside]
        rows.append([side, alone, *beside, *shares])
    columns = ["tokens/s", "alone", "beside one", "beside two", "kept beside one", "kept beside two"]
    return Table(f"Beside busy programs, {what}", columns, rows)


if __name__ == "__main__":
    main()
