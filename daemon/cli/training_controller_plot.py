"""`training_controller plot`: a curve in the terminal, as a picture, or as a page."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from daemon.cli.options import (
    HANGING,
    BaseDir,
    CommandFailed,
    Json,
    client_of,
    in_words,
    say,
    terminal_columns,
)
from daemon.client.curves import Metric
from trainer.protocol.text import printable

if TYPE_CHECKING:
    from daemon.client.curves import Curve

app = typer.Typer()

PAGE, PICTURE = ".html", ".png"
MOST_LINES, FEWEST_LINES, FEWEST_COLUMNS = 30, 8, 40
LINES_AROUND = 2  # of the terminal: the command that was typed, and the prompt
PICTURE_POINTS = 1_000

Force = Annotated[bool, typer.Option("--force", help="Replace the output file if it exists.")]


@app.command(
    epilog="Examples:\n\n\b\n"
    "  training_controller plot\n"
    "  training_controller plot lr --last 1000\n"
    "  training_controller plot loss --file chat.jsonl --html loss.html"
)
def plot(
    metric: Annotated[
        Metric, typer.Argument(metavar="METRIC", help=f"{', '.join(Metric)}.", show_default=True)
    ] = Metric.LOSS,
    last: Annotated[
        int | None, typer.Option("--last", metavar="N", min=1, help="Only the newest N steps.")
    ] = None,
    file: Annotated[
        str | None, typer.Option("--file", metavar="NAME", help="Only the steps of this file.")
    ] = None,
    png: Annotated[
        Path | None, typer.Option("--png", metavar="OUT", help="Draw a picture instead (needs matplotlib).")
    ] = None,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="OUT", help="Write a self-contained HTML page instead.")
    ] = None,
    force: Force = False,
    base_dir: BaseDir = None,
    as_json: Json = False,
) -> None:
    """Plot how the loss or another metric has changed. Each point shows the least and the greatest value."""
    history = client_of(base_dir).history
    size = shutil.get_terminal_size()
    columns = max(FEWEST_COLUMNS, size.columns)
    in_terminal = not (png or html or as_json)
    _refuse_what_cannot_be_drawn(png, html, in_terminal=in_terminal, replace=force)
    points = columns if in_terminal else PICTURE_POINTS
    curve = history.curve(metric, max_points=points, file=file, last=last)
    if as_json:
        print(json.dumps(asdict(curve)))
    if not curve.points and not as_json:
        say(_nothing(metric, file))
    elif in_terminal:
        _draw(curve, columns=columns, lines=min(MOST_LINES, max(FEWEST_LINES, size.lines - LINES_AROUND)))
    if curve.points:
        _write(curve, png, html, replace=force, is_silent=as_json)


def _draw(curve: "Curve", *, columns: int, lines: int) -> None:
    """Draw a curve in the terminal, in so many lines with what is said above and below it."""
    from daemon.cli.plot_view import drawn_lines, heading, summary

    above, below = heading(curve), summary(curve)
    texts = sum(len(in_words(text, terminal_columns(), indent=HANGING)) for text in (above, below))
    say(above)
    for line in drawn_lines(curve, columns=columns, rows=lines - texts):
        print(line)
    say(below)


def _refuse_what_cannot_be_drawn(
    png: Path | None, html: Path | None, *, in_terminal: bool, replace: bool
) -> None:
    """Say before the ledger is read what would be in the way.

    Raises:
        CommandFailed: a name cannot be used, or a library is missing.
    """
    from daemon.cli.plot_view import is_installed
    from daemon.client.errors import raising
    from daemon.data_tools.writing import BadOutput, refuse_output

    with raising(CommandFailed, BadOutput):
        for out, suffix in ((png, PICTURE), (html, PAGE)):
            if out is not None:
                refuse_output(out, replace=replace, suffix=suffix)
    if png is not None and not is_installed("matplotlib"):
        raise CommandFailed(
            "--png needs matplotlib, which is not installed; install it (scripts/setup plots), "
            "or use --html; nothing was written"
        )
    if in_terminal and not is_installed("plotext"):
        raise CommandFailed(
            "a curve in the terminal needs plotext, which is not installed; install it (scripts/setup), "
            "or use --html"
        )


def _write(curve: "Curve", png: Path | None, html: Path | None, *, replace: bool, is_silent: bool) -> None:
    from daemon.client.errors import raising
    from daemon.data_tools.writing import BadOutput, new_file

    with raising(CommandFailed, BadOutput):
        if png:
            from daemon.cli.plot_view import png as drawn

            with new_file(png, replace=replace, suffix=PICTURE) as out:
                out.write(drawn(curve))
        if html:
            from daemon.cli.plot_page import page

            with new_file(html, replace=replace, suffix=PAGE) as out:
                out.write(page(curve).encode())
    for written in filter(None, [png, html]):
        if not is_silent:
            say(f"wrote {printable(str(written))}")


def _nothing(metric: Metric, file: str | None) -> str:
    """Return why there is no curve, and what to do."""
    of = f" of {printable(file)}" if file else ""
    if metric is Metric.VALIDATION:
        return (
            f"there is no {metric.words}{of} yet; validation.file in config.json names what it is measured on"
        )
    return f"there is no {metric.words}{of} yet; it begins with the first step that is trained"
