"""Draw the plan for training a file."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from trainer.protocol.text import duration_text, num_of, printable, size_text

if TYPE_CHECKING:
    from rich.console import RenderableType

    from daemon.client.dry_run import DryRun
    from trainer.protocol.dry_run import Planned


def as_json(found: "DryRun") -> dict[str, object]:
    """Return everything for programs."""
    return found.planned.model_dump(mode="json", by_alias=True, exclude={"kind"}) | {
        "tokens_per_s": found.speed.tokens_per_s if found.speed else None,
        "speed_source": found.speed.source if found.speed else None,
        "seconds": found.seconds,
    }


def draw(found: "DryRun") -> "RenderableType":
    """Return a panel that shows the plan to a person."""
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    for name, value in _lines(found):
        table.add_row(Text(name, style="dim"), Text(printable(value)))
    return Panel(table, title=Text(f"plan for {printable(Path(found.planned.file).name)}", style="bold"))


def _lines(found: "DryRun") -> Iterator[tuple[str, str]]:
    planned = found.planned
    start = planned.checkpoint
    yield "model", f"{planned.model_name} ({planned.method}, on {planned.device})"
    yield "continues from", f"{start.path}, step {start.step:,}" if start else "the base model"
    yield "rows", f"{planned.rows:,}, and {planned.rejected_rows:,} rejected"
    for rejection in planned.first_rejections:
        yield "", rejection
    yield "tokens", f"{planned.tokens:,} per epoch, {planned.supervised_tokens:,} of them supervised"
    without = f"untrainable: {planned.rows_without_target:,}"
    truncated = num_of(planned.truncated_rows, "row")
    cut = f"{truncated}, {planned.split_rows:,} split, {planned.dropped_rows:,} dropped"
    yield "truncated", f"{cut}; {without}"
    rows = num_of(planned.rows_per_step, "row")
    yield "steps", f"{planned.steps:,} of at most {rows} each, {num_of(planned.epochs, 'epoch')}"
    yield "micro-batches", _micro_batches(planned)
    rates = (planned.first_learning_rate, planned.last_learning_rate)
    yield "learning rate", " at first, ".join(f"{rate:.3g}" for rate in rates) + " at the end"
    yield "memory", _memory(planned)
    yield "time", _time(found)
    for notice in planned.notices:
        yield "note", notice


def _micro_batches(planned: "Planned") -> str:
    if planned.micro_batch_tokens is None:
        return "measured when training starts"
    return (
        f"{planned.micro_batches_per_step:.1f} per step, at most {planned.micro_batch_tokens:,} tokens each, "
        f"{planned.padding_fraction:.1%} padding"
    )


def _memory(planned: "Planned") -> str:
    if planned.trial_steps is None:
        return "not measured, because a daemon is running and its worker needs the GPU"
    place = " of GPU memory" if planned.device == "cuda" else ""
    return f"{size_text(planned.trial_steps.peak_bytes)}{place} at most"


def _time(found: "DryRun") -> str:
    if found.speed is None or found.seconds is None:
        return "unknown: this model has taken no steps yet, and none can be tried while a daemon is running"
    return (
        f"{duration_text(found.seconds)} at {found.speed.tokens_per_s:,.0f} tokens/s ({found.speed.source})"
    )
