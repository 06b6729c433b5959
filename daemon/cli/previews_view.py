"""Show what the model answers to the fixed prompts, and how its answers have changed."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from trainer.protocol.text import printable

if TYPE_CHECKING:
    from rich.console import RenderableType

    from daemon.client.results import PreviewHistory

LONGEST = 2_000  # characters of a text that are shown to people; JSON has all
EMPTY = "(an empty answer)"
NONE_YET = (
    "no previews yet; with previews.prompts or previews.file in config.json, the first come after "
    "previews.interval_steps steps"
)
ENDED = {"end": "", "tokens": " (cut off at previews.max_new_tokens)", "time": " (cut off, out of time)"}


def previews_json(histories: Sequence["PreviewHistory"]) -> str:
    """Return everything for programs."""
    return json.dumps([asdict(history) for history in histories], indent=2)


def draw_previews(histories: Sequence["PreviewHistory"]) -> "RenderableType":
    """Return a table for people, with everything a terminal could obey escaped."""
    from rich.table import Table
    from rich.text import Text

    if not histories:
        return Text(NONE_YET)
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
