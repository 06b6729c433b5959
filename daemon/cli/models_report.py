"""`training_models report`: one page for whoever takes over."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from daemon.cli.options import DURATION, BaseDir, CommandFailed, Json, client_of, say, seconds_of
from trainer.protocol.text import printable

if TYPE_CHECKING:
    from daemon.client import Client
    from daemon.client.results import ModelsReport, Since

app = typer.Typer()

PAGE = ".html"
FEWEST_COLUMNS, PAGE_POINTS = 72, 500
DEFAULT_SINCE = "24h"


def _since_words(ctx: typer.Context, incomplete: str) -> list[str]:
    from daemon.cli.options import completing
    from daemon.client.offered_versions import version_names

    usual = [word for word in ("24h", "7d", "12h") if word.startswith(incomplete)]
    return [*usual, *version_names(completing(ctx), incomplete)]


@app.command(
    epilog="Examples:\n\n\b\n"
    "  training_models report\n"
    "  training_models report --since 7d\n"
    "  training_models report --since v003 --html monday.html"
)
def report(
    since: Annotated[
        str,
        typer.Option(
            "--since",
            metavar="TIME|VERSION",
            help="A time that lies back, such as 12h or 7d, or a version.",
            autocompletion=_since_words,
        ),
    ] = DEFAULT_SINCE,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="OUT", help="Write a self-contained HTML page instead.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the output file if it exists.")] = False,
    base_dir: BaseDir = None,
    as_json: Json = False,
) -> None:
    """Say what has happened to the model, and what to do next."""
    from daemon.client.errors import raising
    from daemon.data_tools.writing import BadOutput, refuse_output

    client = client_of(base_dir)
    if html is not None:
        with raising(CommandFailed, BadOutput):
            refuse_output(html, replace=force, suffix=PAGE)
    size = shutil.get_terminal_size()
    columns = max(FEWEST_COLUMNS, size.columns)
    in_terminal = not (html or as_json)
    found = client.report(_since(client, since), points=columns if in_terminal else PAGE_POINTS)
    if html is not None:
        _write(found, html, replace=force)
    if as_json:
        print(json.dumps(asdict(found), indent=2))
    elif html is not None:
        say(f"wrote {printable(str(html))}")
    else:
        from daemon.cli.models_report_view import report_lines

        for line in report_lines(found, columns=columns):
            say(line)


def _since(client: "Client", text: str) -> "Since":
    from daemon.client.models_report import since_seconds, since_version

    if DURATION.fullmatch(text):
        return since_seconds(seconds_of("--since", text))
    from daemon.client.errors import NoSuchVersion

    try:
        return since_version(client.models.find(text))
    except NoSuchVersion as error:
        raise CommandFailed(
            f"--since is {printable(text)}, which is neither a time that lies back, such as 24h or 7d, nor a "
            f"version: {error}"
        ) from error


def _write(report: "ModelsReport", html: Path, *, replace: bool) -> None:
    from daemon.cli.models_report_page import page
    from daemon.client.errors import raising
    from daemon.data_tools.writing import BadOutput, new_file

    with raising(CommandFailed, BadOutput), new_file(html, replace=replace, suffix=PAGE) as out:
        out.write(page(report).encode())
