"""`training_data analyze`: say what a data file consists of, in figures and charts."""

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from daemon.cli.data_files import Force, In, open_files
from daemon.cli.options import BaseDir, CommandFailed, Json, say
from daemon.client.errors import raising
from daemon.data_tools.reading import DataFile, LeftOut
from daemon.data_tools.writing import BadOutput, new_file, refuse_output
from trainer.protocol.text import printable

if TYPE_CHECKING:
    from daemon.data_tools.analysis.findings import Analysis

app = typer.Typer()

PAGE, PICTURE = ".html", ".png"


@app.command(
    epilog="Examples:\n\n\b\n"
    "  training_data analyze chat.jsonl\n"
    "  training_data analyze chat.jsonl --html chat.html"
)
def analyze(
    file: In,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="OUT", help="Also write a self-contained HTML page.")
    ] = None,
    png: Annotated[
        Path | None, typer.Option("--png", metavar="OUT", help="Also draw a picture (needs matplotlib).")
    ] = None,
    force: Force = False,
    base_dir: BaseDir = None,
    as_json: Json = False,
) -> None:
    """Show lengths, words, languages, topics and duplicates of a file."""
    _refuse_outputs(file, html, png, replace=force)
    left_out = LeftOut()
    name = printable(file.name)
    with open_files([file], base_dir, as_json=as_json) as [source]:
        analysis = _survey(source, left_out)
        if html:
            from daemon.data_tools.analysis.page import page

            with new_file(html, replace=force, inputs=[file], suffix=PAGE) as out:
                out.write(page(name, analysis, left_out).encode())
        if png:
            from daemon.data_tools.analysis.picture import picture

            with new_file(png, replace=force, inputs=[file], suffix=PICTURE) as out:
                out.write(picture(name, analysis))
    if as_json:
        found = dataclasses.asdict(analysis)
        print(json.dumps({"file": name, **found, "left_out": dataclasses.asdict(left_out)}))
    else:
        from daemon.data_tools.analysis.text import lines_of

        say("\n".join(lines_of(name, analysis, left_out)))
        for written in filter(None, (html, png)):
            say(f"wrote {printable(str(written))}")


def _refuse_outputs(file: Path, html: Path | None, png: Path | None, *, replace: bool) -> None:
    """Say before the file is read what would be in the way of writing.

    Raises:
        CommandFailed: a name cannot be used, or a library is missing.
    """
    with raising(CommandFailed, BadOutput):
        for out, suffix in ((html, PAGE), (png, PICTURE)):
            if out is not None:
                refuse_output(out, replace=replace, inputs=[file], suffix=suffix)
    if png is not None:
        from daemon.data_tools.analysis.picture import has_matplotlib

        if not has_matplotlib():
            raise CommandFailed(
                "--png needs matplotlib, which is not installed; install it (scripts/setup plots), "
                "or use --html; nothing was written"
            )


def _survey(source: DataFile, left_out: LeftOut) -> "Analysis":
    from daemon.data_tools.analysis.survey import Survey

    survey = Survey()
    rows = 0
    for row in source.rows(left_out):
        survey.add(row.line, row.format, row.conversation)
        rows += 1
    if not rows:
        reason = left_out.first[0] if left_out.first else f"{source.name} is empty"
        raise CommandFailed(f"there are no rows to analyze: {reason}; expected one JSON object per line")
    return survey.result()
