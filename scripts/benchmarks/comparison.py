"""What comparisons show: speeds, memory, seconds of each phase, and whether the losses agree."""

from typing import Any

from scripts.benchmarks.contenders.task import Task
from scripts.benchmarks.results import Cell, Table, median
from scripts.benchmarks.turns import Outcome

MEBI = 1024**2
OURS, HF = "ours", "HF Trainer"
PHASES = ("import", "load", "prepare", "first_step", "save")


def per_second(outcome: Outcome, task: Task, what: str) -> float | None:
    """Return the median over the turns of tokens per second.

    Args:
        what: `tokens` or `supervised`.
    """
    counts = outcome.facts.get(what)
    if not counts:
        return None
    rates = []
    for turn, seconds in enumerate(outcome.turn_s):
        first = task.first_steps + turn * task.steps_per_turn
        rates.append(sum(counts[first : first + task.steps_per_turn]) / seconds)
    return median(rates)


def memory_mib(outcome: Outcome) -> list[Cell]:
    """Return the memory before training, and at the highest."""
    facts = outcome.facts
    return [round(facts[name] / MEBI) if facts else None for name in ("rss_before_bytes", "rss_peak_bytes")]


def phases(outcomes: dict[str, Outcome]) -> Table:
    """Return what each contender spent its seconds on besides the steps that were measured."""
    rows = [
        [name, *(outcome.facts.get(f"{phase}_s") for phase in PHASES)] for name, outcome in outcomes.items()
    ]
    columns = ["seconds", *(phase.replace("_", " ") for phase in PHASES)]
    return Table("Seconds apart; the first step includes what precedes it in train()", columns, rows)


def parity(outcomes: dict[str, Outcome]) -> Table:
    """Return each contender's loss at its first and last step, and how far it ever is from ours."""
    ours = outcomes[OURS].facts.get("losses", [])
    rows: list[list[Cell]] = []
    for name, outcome in outcomes.items():
        losses = outcome.facts.get("losses", [])
        differences = [abs(a - b) for a, b in zip(ours, losses, strict=False)]
        first, last = (f"{losses[i]:.6f}" if losses else None for i in (0, -1))
        rows.append([name, first, last, f"{max(differences):.1e}" if differences else None])
    return Table("Loss", ["", "first step", "last step", "largest difference from ours"], rows)


def facts_of(outcomes: dict[str, Outcome]) -> dict[str, Any]:
    """Return all that was noted, for the JSON."""
    return {
        name: {"turn_s": outcome.turn_s, "why_not": outcome.why_not, **outcome.facts}
        for name, outcome in outcomes.items()
    }
