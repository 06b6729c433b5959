"""Ask before something changes: the plan, `--dry-run`, `--yes`, `--json`, and the question."""

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from daemon.cli.options import WrongUsage, say
from daemon.client import Client
from trainer.protocol.text import printable

YES, NO = ("y", "yes"), ("n", "no", "")

Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show what would be done.")]


def is_meant(
    plan: object,
    lines: Iterable[str],
    *,
    yes: bool,
    dry_run: bool,
    as_json: bool,
    is_possible: bool = True,
) -> bool:
    """Show what would be done, and ask unless the answer is given; return whether to do it.

    Args:
        plan: the document that `--dry-run --json` prints.
        lines: the same for people.
        is_possible: if not, the plan says so, and there is nothing to ask; who carries it out says why.
    Raises:
        WrongUsage: nobody can be asked, because a program reads along.
    """
    if dry_run:
        show(plan, lines, as_json=as_json)
        return False
    if as_json and not yes:
        raise WrongUsage("--json does not ask; add --yes or --dry-run; nothing was changed")
    if not as_json:
        show(plan, lines, as_json=False)
    if is_possible and not yes:
        confirm("Go ahead?")
    return True


def confirm(question: str) -> None:
    """Ask until the answer is yes or no; only yes lets the command go on.

    Raises:
        typer.Abort: it is no, or there is none.
    """
    while True:
        answer = typer.prompt(f"{question} [y/N]", default="", show_default=False).strip().lower()
        if answer in YES:
            return
        if answer in NO:
            raise typer.Abort
        say(f'"{printable(answer)}" is neither yes nor no; type y or n')


@contextmanager
def explained_if_interrupted(client: Client, *, with_daemon: str, without: str) -> Iterator[None]:
    """Let a person who presses Ctrl-C know what becomes of what was asked for.

    Args:
        with_daemon: what to say if a daemon does it, which hears nothing of that.
        without: what to say if this command did it.
    """
    try:
        yield
    except KeyboardInterrupt:
        say(with_daemon if client.status().is_running else without, file=sys.stderr)
        raise


def show(document: object, lines: Iterable[str], *, as_json: bool) -> None:
    """Print a document for programs, or the same for people."""
    if as_json:
        print(json.dumps(document, indent=2))
    else:
        for line in lines:
            say(line)
