"""The subcommands `training_models disk` and `training_models gc`: what takes space, and freeing some."""

import re
from dataclasses import asdict
from typing import Annotated

import typer

from daemon.cli.asking import DryRun, Yes, is_meant, show
from daemon.cli.options import BaseDir, CommandFailed, Json, client_of
from trainer.protocol.text import printable

app = typer.Typer()

SIZE = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)\s?([KMGT])B?", re.IGNORECASE | re.ASCII)
UNITS = {"K": 1000, "M": 1000**2, "G": 1000**3, "T": 1000**4}


@app.command(epilog="Example:\n\n\b\n  training_models disk")
def disk(base_dir: BaseDir = None, as_json: Json = False) -> None:
    """Show what takes disk space. How fast it grows, and what could be freed."""
    found = client_of(base_dir).disk.usage()
    from daemon.cli.disk_view import usage_lines

    document = {**asdict(found), "usage": found.usage.model_dump(mode="json")}
    show(document, usage_lines(found), as_json=as_json)


@app.command(
    epilog="Examples:\n\n\b\n"
    "  training_models gc --dry-run      what would be removed\n"
    "  training_models gc                what was deleted, more if needed\n"
    "  training_models gc --free 20GB    until so much is free\n"
    "  training_models gc --all          everything that may go"
)
def gc(
    free: Annotated[
        str | None,
        typer.Option("--free", metavar="SIZE", help="Continue until so much is free, such as 20GB."),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Remove everything that may go.")] = False,
    yes: Yes = False,
    dry_run: DryRun = False,
    base_dir: BaseDir = None,
    as_json: Json = False,
) -> None:
    """Free disk space. Deleted versions first, then caches, optimizer states, checkpoints."""
    if free is not None and everything:
        raise CommandFailed("expected one of --free and --all")
    client = client_of(base_dir)
    part = client.disk
    if everything:
        wanted = None
    elif free is not None:
        wanted = _bytes_of(free)
    else:
        wanted = part.usual_bytes()
    plan = part.plan(wanted_bytes=wanted)
    from daemon.cli.disk_view import done_lines, plan_lines

    document, lines = plan.model_dump(mode="json"), plan_lines(plan)
    if not plan.acts:
        show(document, lines, as_json=as_json)
        return
    if not is_meant(document, lines, yes=yes, dry_run=dry_run, as_json=as_json):
        return
    done = part.carry_out(plan)
    show(done.model_dump(mode="json"), done_lines(plan, done), as_json=as_json)


def _bytes_of(text: str) -> int:
    found = SIZE.fullmatch(text)
    if found is None:
        raise CommandFailed(
            f'--free is "{printable(text)}"; expected a number with KB, MB, GB or TB, such as 20GB or 1.5TB'
        )
    return int(float(found[1]) * UNITS[found[2].upper()])
