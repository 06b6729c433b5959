"""Rows of the ledger's tables of evaluations, as trackers show them. Pure."""

import json
import math
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from daemon.tracking.place import Seen
from daemon.tracking.rows import Kind


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What was measured at a step."""

    step: int
    key: str
    """Tells it from others of its table at this step."""
    kind: Kind = "metrics"
    values: dict[str, float] = field(default_factory=dict)
    name: str = ""
    text: str = ""


def new_evaluations(
    table: str, found: Sequence[sqlite3.Row], seen: Seen
) -> Iterator[tuple[Evaluation, Seen]]:
    """Yield what has not been seen yet, each with how far one has come after it.

    Args:
        found: rows of the table from the step of `seen` on, in order.
    """
    for row in found:
        evaluation = OF_TABLES[table](row)
        if evaluation.step == seen.step and evaluation.key in seen.keys:
            continue
        before = seen.keys if evaluation.step == seen.step else ()
        seen = Seen(step=evaluation.step, keys=(*before, evaluation.key))
        yield evaluation, seen


def _validation(row: sqlite3.Row) -> Evaluation:
    values = {"validation/loss": row["loss"]}
    if row["other_loss"] is not None:
        other = "average" if row["weights"] == "last" else "last"
        values |= {f"validation/loss_of_{row['weights']}": row["loss"]}
        values |= {f"validation/loss_of_{other}": row["other_loss"]}
    return Evaluation(step=row["global_step"], key="", values=_finite(values))


def _score(row: sqlite3.Row) -> Evaluation:
    place = "/".join(["suites", row["suite"], *([row["difficulty"]] if row["difficulty"] else [])])
    metrics = {**json.loads(row["metrics"]), "exact_match": row["exact_match"], "loss": row["loss"]}
    values = {f"{place}/{name}": value for name, value in metrics.items()}
    key = f"{row['suite']}\n{row['difficulty']}"
    return Evaluation(step=row["global_step"], key=key, values=_finite(values))


def _preview(row: sqlite3.Row) -> Evaluation:
    prompt = row["prompt"]
    return Evaluation(step=row["global_step"], key=prompt, kind="answer", name=prompt, text=row["text"])


def _finite(values: Mapping[str, float | None]) -> dict[str, float]:
    return {
        name: float(value) for name, value in values.items() if value is not None and math.isfinite(value)
    }


OF_TABLES: dict[str, Callable[[sqlite3.Row], Evaluation]] = {
    "validations": _validation,
    "suite_scores": _score,
    "previews": _preview,
}
