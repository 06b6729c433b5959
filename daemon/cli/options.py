"""Options that several commands have, and how a command ends when something is wrong."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from trainer.protocol.layout import BASE_DIR_VARIABLE, Layout, find_base_dir

BaseDir = Annotated[
    Path | None,
    typer.Option(
        "--base-dir", help=f"Working directory. [default: ${BASE_DIR_VARIABLE}, else the current folder]"
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs instead of text for people.")]


class CommandFailed(RuntimeError):
    """A command cannot do what was asked; the message is all a person needs."""

    def __init__(self, message: str, *, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def use_base_dir(base_dir: Path | None) -> None:
    """Let `--base-dir` stand before the subcommand, too."""
    if base_dir is not None:
        os.environ[BASE_DIR_VARIABLE] = str(base_dir)


def layout_of(base_dir: Path | None) -> Layout:
    """Return the working directory a command is about.

    Raises:
        CommandFailed: nothing looks like one there.
    """
    layout = Layout(find_base_dir(base_dir))
    if not layout.queue.is_dir():
        raise CommandFailed(
            f"{layout.base} is not a working directory (it has no queue/); "
            "give one with --base-dir, or create one by starting training_daemon there"
        )
    return layout


def run(app: Callable[[], Any]) -> None:
    """Run a command line; an expected failure is one line on standard error and an exit code."""
    try:
        app()
    except (CommandFailed, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code if isinstance(error, CommandFailed) else 1)
