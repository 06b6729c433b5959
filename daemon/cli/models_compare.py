"""`training_models compare`: how two versions differ, measured on the same rows and prompts."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from daemon.cli.options import BaseDir, Json, client_of, say, terminal_columns
from daemon.cli.progress import progress_words

app = typer.Typer()

VERSION_HELP = "Its id, such as v003, an alias, latest, or current."


@app.command(
    epilog="Examples:\n\n\b\n"
    "  training_models compare v001 v003\n"
    "  training_models compare deployed current --rows 200\n"
    "  training_models compare v001 v003 --prompts questions.jsonl"
)
def compare(
    before: Annotated[str, typer.Argument(metavar="VERSION", help=VERSION_HELP)],
    after: Annotated[str, typer.Argument(metavar="VERSION")],
    rows: Annotated[
        int | None, typer.Option("--rows", metavar="N", min=1, help="At most so many validation rows.")
    ] = None,
    validation: Annotated[
        Path | None, typer.Option("--validation", metavar="FILE", help="Instead of validation.file.")
    ] = None,
    prompts: Annotated[
        Path | None,
        typer.Option("--prompts", metavar="FILE", help="Instead of previews.prompts and previews.file."),
    ] = None,
    base_dir: BaseDir = None,
    as_json: Json = False,
) -> None:
    """Compare two versions. Their losses on the same rows, and their answers."""
    client = client_of(base_dir)
    models = client.models
    old, new = models.find(before), models.find(after)
    from daemon.cli.compare_view import compare_lines
    from daemon.client.compare import WantedComparison

    wanted = WantedComparison(rows=rows, validation=validation, prompts=prompts)
    text, is_shown = f"comparing {old.id} and {new.id}", sys.stderr.isatty() and not as_json
    with progress_words(text, is_shown=is_shown) as advance:
        found = client.comparisons.compare(old, new, wanted, on_progress=advance)
    if as_json:
        print(json.dumps(found.as_json, indent=2))
        return
    for line in compare_lines(found, columns=terminal_columns()):
        say(line)
