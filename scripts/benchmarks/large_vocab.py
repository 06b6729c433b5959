"""A vocabulary of 151,936 on a small body, a quarter of the tokens supervised: ours and the stock Trainer.

What is told: the time of a step, and the most memory above that of the process with the model loaded.
"""

import tempfile
from pathlib import Path

from scripts.benchmarks.comparison import HF, MEBI, OURS, facts_of, parity
from scripts.benchmarks.contenders.task import Task
from scripts.benchmarks.results import Cell, Table, median, parser_for, publish
from scripts.benchmarks.shapes import SHAPES, build_model
from scripts.benchmarks.turns import Outcome, compare
from scripts.benchmarks.workload import Workload, write_rows

ROWS_PER_STEP = 8
WORKLOAD = Workload(longest_tokens=250, prompt_share=0.7, multi_turn_share=0.0)


def main() -> None:
    """Measure, print tables, write JSON."""
    options = parser_for("large_vocab", __doc__).parse_args()
    with tempfile.TemporaryDirectory(prefix="large-vocab-") as folder:
        model = build_model(Path(folder) / "model", SHAPES["large-vocabulary"])
        file = Path(folder) / "rows.jsonl"

        def task(name: str) -> Task:
            return Task(
                model=str(model),
                file=str(file),
                folder=str(Path(folder) / name),
                rows_per_step=ROWS_PER_STEP,
                threads=options.threads,
                first_steps=1,
                turns=2 if options.quick else 4,
                steps_per_turn=1 if options.quick else 4,
            )

        tasks = {OURS: ("ours", task("ours")), HF: ("hf_trainer", task("hf"))}
        write_rows(file, tasks[OURS][1].rows, WORKLOAD)
        outcomes = compare(tasks)
    tables = [_costs(outcomes, tasks[OURS][1]), parity(outcomes)]
    publish("large_vocab", options, tables, {"contenders": facts_of(outcomes)})


def _costs(outcomes: dict[str, Outcome], task: Task) -> Table:
    rows: list[list[Cell]] = []
    for name, outcome in outcomes.items():
        facts = outcome.facts
        seconds = median([seconds / task.steps_per_turn for seconds in outcome.turn_s])
        above = (facts["rss_peak_bytes"] - facts["rss_before_bytes"]) / MEBI if facts else None
        supervised = f"{100 * sum(facts['supervised']) / sum(facts['tokens']):.0f} %" if facts else None
        rows.append([name, seconds, above, supervised])
    columns = ["", "seconds per step", "peak memory above the model (MiB)", "supervised"]
    return Table("Vocabulary of 151,936, 8 rows per step", columns, rows)


if __name__ == "__main__":
    main()
