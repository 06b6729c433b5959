"""Show what the model answers to the fixed prompts, and how its answers have changed."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from trainer.protocol.text import printable

if TYPE_CHECKING:
    from rich.console import RenderableType

    from daemon.client.results import PreviewHistory
    from trainer.config.schema import PreviewSettings

LONGEST = 2_000  # characters of a text that are shown to people; JSON has all
EMPTY = "(an empty answer)"
ENDED = {"end": "", "tokens": " (cut off at previews.max_new_tokens)", "time": " (cut off, out of time)"}


def previews_json(histories: Sequence["PreviewHistory"]) -> str:
    """Return everything for programs."""
    return json.dumps([asdict(history) for history in histories], indent=2)


def none_yet(wanted: "PreviewSettings | None", *, step: int) -> str:
    """Return what to say where no prompt has been answered.

    Args:
        wanted: None if the settings are invalid.
        step: the global step that the model is at.
    """
    if wanted is None:
        return "no previews yet; when they come cannot be said, because the settings are invalid"
    if not wanted.prompts and wanted.file is None:
        return (
            "no previews: previews.prompts and previews.file are not set in config.json; once one is, the "
            "answers come every previews.interval_steps steps"
        )
    first = (step // wanted.interval_steps + 1) * wanted.interval_steps
    every = f"previews.interval_steps is {wanted.interval_steps:,}"
    return f"no previews yet; the first come at global step {first:,}, and the model is at {step:,} ({every})"


def draw_previews(histories: Sequence["PreviewHistory"]) -> "RenderableType":
    """Return a table for people, with everything a terminal could obey escaped."""
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    for history in histories:
        for name, value in _lines(history):
            table.add_row(Text(name, style="dim"), Text(value))
        table.add_row()
    return table


def _lines(history: "PreviewHistory") -> list[tuple[str, str]]:
    lines = [
        ("prompt", printable(history.prompt, limit=LONGEST)),
        (f"step {history.global_step:,}", _answer(history.text) + ENDED[history.ended_by]),
    ]
    if history.before is None:
        lines.append(("change", f"unchanged since the first answer, at step {history.unchanged_since:,}"))
    else:
        lines.append((f"step {history.before_step or 0:,}", _answer(history.before)))
        lines.append(("change", f"changed at step {history.unchanged_since:,}"))
    if history.metrics:
        shown = (f"{printable(name)} {value:.4g}" for name, value in history.metrics.items())
        lines.append(("metrics", "   ".join(shown)))
    return lines


def _answer(text: str) -> str:
    return printable(text, limit=LONGEST) if text.strip(" ") else EMPTY
