"""Ask a process that may load torch what training a file would be like, and show it. Changes nothing."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from daemon.cli.options import CommandFailed, settings_in
from daemon.cli.status_view import duration_text
from daemon.client.helper_process import HelperFailed, ask
from daemon.health.finding import size_text
from daemon.jobs.replay import choose
from daemon.ledger.reader import UnreadableLedger, read_completed, recent_speed
from daemon.status.reader import read_status
from trainer.config.schema import Settings
from trainer.protocol.dry_run import DryRunOrder, Planned
from trainer.protocol.files import file_sha256
from trainer.protocol.job import EarlierFile, Outcome
from trainer.protocol.layout import Layout
from trainer.protocol.text import printable

if TYPE_CHECKING:
    from rich.console import RenderableType

PLANNING = "trainer.mains.dry_run"


@dataclass(frozen=True)
class Speed:
    """How fast training will probably be."""

    tokens_per_s: float
    source: str
    """Where that is known from."""


def dry_run(layout: Layout, file: Path, overrides: list[str]) -> tuple[Planned, Speed | None]:
    """Return what training `file` would be like, and how fast; None if that cannot be said.

    Raises:
        CommandFailed: it would not be trained.
    """
    settings = settings_in(layout, overrides).settings
    order = DryRunOrder(
        base_dir=str(layout.base),
        file=str(file.resolve()),
        settings=settings.model_dump(mode="json"),
        daemon_runs=read_status(layout).is_running,
        replayed=_replayed(layout, file, settings),
        replay_folder=str(layout.finished(Outcome.COMPLETED)),
    )
    try:
        planned = ask(PLANNING, order, Planned)
    except HelperFailed as error:
        raise CommandFailed(str(error), exit_code=error.exit_code) from error
    return planned, _speed(layout, planned)


def _replayed(layout: Layout, file: Path, settings: Settings) -> tuple[EarlierFile, ...]:
    """Choose the completed files that a daemon would have `file` replay, each by its name."""
    if not settings.training.replay_fraction or not file.is_file():
        return ()
    try:
        completed = read_completed(layout.ledger_file)
        chosen = choose(completed, layout, sha256=file_sha256(file))
    except (UnreadableLedger, OSError):
        return ()  # a damaged ledger is begun anew, and a file that cannot be read is refused
    return tuple(item.file.model_copy(update={"job_id": item.name}) for item in chosen)


def _speed(layout: Layout, planned: Planned) -> Speed | None:
    try:
        # Without a checkpoint the ledger's steps, if it has any, are another model's
        if planned.checkpoint and (known := recent_speed(layout.ledger_file)):
            return Speed(known, "as in the last steps of this model")
    except UnreadableLedger:
        pass  # training would go on without it, too
    if planned.trial_steps:
        return Speed(
            planned.trial_steps.tokens_per_s, f"measured in {planned.trial_steps.steps} steps just now"
        )
    return None


def as_json(planned: Planned, speed: Speed | None) -> dict[str, object]:
    """Return everything for programs."""
    return planned.model_dump(mode="json", by_alias=True, exclude={"kind"}) | {
        "tokens_per_s": speed.tokens_per_s if speed else None,
        "speed_source": speed.source if speed else None,
        "seconds": _seconds(planned, speed) if speed else None,
    }


def _seconds(planned: Planned, speed: Speed) -> float:
    return planned.tokens * planned.epochs / speed.tokens_per_s


def draw(planned: Planned, speed: Speed | None) -> "RenderableType":
    """Return a panel that shows the plan to a person."""
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    for name, value in _lines(planned, speed):
        table.add_row(Text(name, style="dim"), Text(printable(value)))
    return Panel(table, title=Text(f"plan for {printable(Path(planned.file).name)}", style="bold"))


def _lines(planned: Planned, speed: Speed | None) -> Iterator[tuple[str, str]]:
    start = planned.checkpoint
    yield "model", f"{planned.model_name} ({planned.method}, on {planned.device})"
    yield "goes on from", f"{start.path}, step {start.step:,}" if start else "the base model"
    yield "rows", f"{planned.rows:,}, and {planned.rejected_rows:,} rejected"
    for rejection in planned.first_rejections:
        yield "", rejection
    yield "tokens", f"{planned.tokens:,} an epoch, {planned.supervised_tokens:,} of them learned"
    without = f"without anything to learn: {planned.rows_without_target:,}"
    cut = f"{planned.truncated_rows:,} rows, {planned.split_rows:,} split, {planned.dropped_rows:,} dropped"
    yield "truncated", f"{cut}; {without}"
    yield "steps", f"{planned.steps:,} of {planned.rows_per_step} rows, {planned.epochs} x over the file"
    yield "micro-batches", _micro_batches(planned)
    rates = (planned.first_learning_rate, planned.last_learning_rate)
    yield "learning rate", " at first, ".join(f"{rate:.3g}" for rate in rates) + " at last"
    yield "memory", _memory(planned)
    yield "time", _time(planned, speed)
    for notice in planned.notices:
        yield "a start says", notice


def _micro_batches(planned: Planned) -> str:
    if planned.micro_batch_tokens is None:
        return "found when training starts"
    return (
        f"{planned.micro_batches_per_step:.1f} a step, of at most {planned.micro_batch_tokens:,} tokens, "
        f"{planned.padding_fraction:.1%} padding"
    )


def _memory(planned: Planned) -> str:
    if planned.trial_steps is None:
        return "not measured, because a daemon runs here and its worker needs the GPU"
    place = "GPU memory" if planned.device == "cuda" else "memory"
    return f"{size_text(planned.trial_steps.peak_bytes)} of {place} at most"


def _time(planned: Planned, speed: Speed | None) -> str:
    if speed is None:
        return "unknown: this model has taken no steps yet, and none could be tried beside a running daemon"
    return f"{duration_text(_seconds(planned, speed))} at {speed.tokens_per_s:,.0f} tokens/s ({speed.source})"
