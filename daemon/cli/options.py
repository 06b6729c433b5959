"""Options that several commands have, and how a command ends when something is wrong."""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from typer.exceptions import Abort, TyperException

from trainer.protocol.layout import BASE_DIR_VARIABLE, Layout, find_base_dir

if TYPE_CHECKING:
    from trainer.config.loader import Effective

BAD_CONFIG_EXIT_CODE = 78  # EX_CONFIG: no use in starting again
PRIVATE_UMASK = 0o077  # notes and copies hold training data, which is nobody else's business

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


def any_layout_of(base_dir: Path | None) -> Layout:
    """Return the folder a command is about, whether or not a daemon has ever run there."""
    return Layout(find_base_dir(base_dir))


def layout_of(base_dir: Path | None) -> Layout:
    """Return the working directory a command is about.

    Raises:
        CommandFailed: nothing looks like one there.
    """
    layout = any_layout_of(base_dir)
    if not layout.queue.is_dir():
        raise CommandFailed(
            f"{layout.base} is not a working directory (it has no queue/); "
            "give one with --base-dir, or create one by starting training_daemon there"
        )
    return layout


def settings_in(layout: Layout, overrides: Sequence[str] = ()) -> "Effective":
    """Return the settings that a daemon would have; the defaults where there is no config.json.

    Raises:
        CommandFailed: they are invalid.
    """
    from trainer.config.loader import BadConfig, load_settings  # not every command needs them

    try:
        return load_settings(layout.config_file, overrides=overrides)
    except BadConfig as error:
        raise CommandFailed(str(error), exit_code=BAD_CONFIG_EXIT_CODE) from error


def run(app: typer.Typer) -> NoReturn:
    """Run a command line and end the process; an expected failure is one message and an exit code."""
    os.umask(PRIVATE_UMASK)
    as_json = "--json" in sys.argv[1:]  # also where the command line cannot be understood
    try:
        sys.exit(app(standalone_mode=False))
    except TyperException as error:
        error.message = error.message.removeprefix("Value error, ")  # pydantic's words
        if not as_json:
            error.show()  # type: ignore[attr-defined]  # all that a command line raises have it
            sys.exit(error.exit_code)
        _fail(error.format_message(), error.exit_code, as_json=as_json)
    except Abort:
        _fail("given up", 1, as_json=as_json)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains when it ends
        sys.exit(1)
    except (CommandFailed, OSError) as error:
        code = error.exit_code if isinstance(error, CommandFailed) else 1
        _fail(str(error), code, as_json=as_json)


def _fail(message: str, exit_code: int, *, as_json: bool) -> NoReturn:
    """Say what is wrong where its reader looks: people on standard error, programs on standard output."""
    if as_json:
        print(json.dumps({"error": message}))
    else:
        print(f"error: {message}", file=sys.stderr)
    sys.exit(exit_code)
