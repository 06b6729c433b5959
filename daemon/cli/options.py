"""Options shared by several commands, and how a command exits when something is wrong."""

import io
import json
import math
import os
import re
import signal
import sys
from pathlib import Path
from textwrap import wrap
from typing import Annotated, Any, NoReturn, TextIO

import typer
from typer.core import TyperArgument, TyperOption
from typer.exceptions import Abort, TyperException

from daemon.cli.light_pydantic import leave_out_plugins
from daemon.cli.usage_words import is_bare_group, usage_words
from daemon.client import Client, ClientError
from daemon.client.advice import is_shells_folder
from trainer import __version__
from trainer.protocol.child_process import EXIT_CODE_OF_SIGNALS
from trainer.protocol.layout import BASE_DIR_VARIABLE, Layout
from trainer.protocol.text import printable, shell_word, system_words

leave_out_plugins()

# A command in a text, unless the text has its folder
COMMAND = re.compile(
    r"(?<![\w/.-])training_(?:controller|daemon|data|health|models|queue)"
    r"(?= (?:[a-z]|--check-config))(?![^;\n]*--base-dir)"
)
DURATION = re.compile(r"(\d{1,6})([mhdw])", re.ASCII)
UNITS_S = {"m": 60.0, "h": 3_600.0, "d": 86_400.0, "w": 604_800.0}
LARGEST_INTEGER = 2**63 - 1  # of a database; as a limit it says nothing to a person
ENDING_SIGNALS = (signal.SIGTERM, signal.SIGHUP)
NARROWEST_TERMINAL = 80  # columns, where a terminal does not say
NARROWEST_TEXT = 20
HANGING = 2  # columns by which what does not fit on a line of a terminal is indented further
PRIVATE_UMASK = 0o077  # notes and copies hold training data, which is nobody else's business

BaseDir = Annotated[
    Path | None,
    typer.Option(
        "--base-dir",
        metavar="FOLDER",
        help=f"Working directory. [default: ${BASE_DIR_VARIABLE}, otherwise the current folder]",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs instead of text for people.")]


def _show_version(is_wanted: bool) -> None:
    if is_wanted:
        print(f"training-daemon {__version__}")
        raise typer.Exit


Version = Annotated[
    bool,
    typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit."),
]


def _choices(argument: TyperArgument, ctx: Any) -> str | None:
    """Return what `--help` shows beside an argument: no Python type, such as `list[Path]`."""
    return argument.display_type(ctx).strip("<>") if argument.type_descriptor.is_choice else None


def _in_usage(argument: TyperArgument) -> str:
    """Return how a usage line names an argument: NAME, [NAME] if it may be left out, NAME... if repeated."""
    name = argument.display_name_raw
    has_dots = argument.nargs != 1 and "..." not in name
    return (name if argument.required else f"[{name}]") + "..." * has_dots


def _metavar(option: TyperOption, ctx: Any) -> str | None:
    """Return what `--help` shows beside an option."""
    shown = _typers_metavar(option, ctx)
    return shown.strip("<>") if shown and option.type_descriptor.is_choice else shown


def _range(option: TyperOption) -> str | None:
    """Return in words which numbers an option takes."""
    if option.min is None or option.count:
        return None
    if option.max is None or option.max >= LARGEST_INTEGER:
        return f"at least {option.min}"
    return f"{option.min} to {option.max}"


TyperArgument.display_type_rich = _choices  # type: ignore[method-assign, assignment]
TyperArgument._usage_display_name = _in_usage  # type: ignore[method-assign, assignment]
_typers_metavar = TyperOption.display_type_rich
TyperOption.display_type_rich = _metavar  # type: ignore[method-assign, assignment]
TyperOption._get_number_range_help_str = _range  # type: ignore[method-assign, assignment]


class CommandFailed(ClientError):
    """A command cannot do what it is asked; the message is all a person needs."""


class WrongUsage(CommandFailed):
    """A command line asks for what cannot be meant."""

    exit_code = 2  # as for an option that there is not


def seconds_of(option: str, text: str | None) -> float:
    """Return a duration that was typed, in seconds; 0 for none."""
    if text is None:
        return 0.0
    found = DURATION.fullmatch(text)
    if found is None:
        raise WrongUsage(
            f'{option} is "{printable(text)}"; expected a number with m, h, d or w, such as 12h, 7d or 2w'
        )
    return int(found[1]) * UNITS_S[found[2]]


def share_of(option: str, text: str) -> float:
    """Return a share that was typed, as 0.02 or as 2%."""
    number, is_percentage = text.removesuffix("%").strip(), text.endswith("%")
    try:
        share = float(number) / (100 if is_percentage else 1)
    except ValueError:
        share = math.nan
    if not 0 < share < 1:
        raise WrongUsage(
            f'{option} is "{printable(text)}"; expected a share between 0 and 1, such as 0.02 or 2%'
        )
    return share


def use_base_dir(base_dir: Path | None) -> None:
    """Let `--base-dir` stand before the subcommand, too."""
    if base_dir is not None:
        os.environ[BASE_DIR_VARIABLE] = str(base_dir)


# Of the command that runs, for what it says when it fails
_layouts: list[Layout] = []


def client_of(base_dir: Path | None) -> Client:
    """Return the client of the folder a command is about."""
    client = Client(base_dir)
    _layouts[:] = [client.any_layout]
    return client


def same_folder(client: Client) -> str:
    """Return what makes a command of the user be about the client's folder; nothing, if it is anyway."""
    return _folder_option(client.any_layout)


def _folder_option(layout: Layout) -> str:
    return "" if is_shells_folder(layout) else _option_for(layout)


def _option_for(layout: Layout) -> str:
    return f" --base-dir {shell_word(str(layout.base))}"


def typed_here(text: str) -> str:
    """Return a text in which every command is about the folder of this one, however that was named.

    Where a command is about it without the option, the option is left out, also if a daemon had written it.
    """
    if not _layouts:
        return text
    if option := _folder_option(_layouts[0]):
        return COMMAND.sub(lambda found: found[0] + option, text)
    return re.sub(rf"{re.escape(_option_for(_layouts[0]))}(?![^\s;,)])", "", text)


def say(text: str, *, indent: int | None = None, file: TextIO | None = None) -> None:
    """Print for a person what the client says, so that its commands can be typed as they stand.

    On a terminal a line that is too wide is broken between words.

    Args:
        indent: columns before what does not fit on a line; two more than before the line if it is None.
        file: standard output if it is None.
    """
    stream = sys.stdout if file is None else file
    columns = columns_of(stream)
    for line in typed_here(text).split("\n"):
        below = len(line) - len(line.lstrip()) + HANGING if indent is None else indent
        for part in in_words(line, columns, indent=below):
            print(part, file=stream, flush=True)


def completing(ctx: typer.Context) -> Layout:
    """Return the working directory that a half-typed command line is about, whether or not it is one."""
    contexts: list[Any] = [ctx]
    while contexts[-1].parent is not None:
        contexts.append(contexts[-1].parent)
    given = (context.params.get("base_dir") for context in contexts)
    return Client(next(filter(None, given), None)).any_layout


def terminal_columns() -> int | None:
    """Return how wide the terminal is; None if the output goes elsewhere."""
    return columns_of(sys.stdout)


def columns_of(stream: TextIO) -> int | None:
    """Return how wide a stream's terminal is; None if it is none."""
    if not stream.isatty():
        return None
    if given := os.environ.get("COLUMNS", ""):
        return int(given) if given.isdecimal() else NARROWEST_TERMINAL
    return os.get_terminal_size(stream.fileno()).columns or NARROWEST_TERMINAL


def in_words(text: str, columns: int | None, *, indent: int = 0) -> list[str]:
    """Return the lines of a text, none wider than the terminal, broken between words.

    A word that is wider than the terminal, such as a path, stays whole, so that it can be copied.

    Args:
        columns: of the terminal; None if it is none, then nothing is broken.
        indent: columns to leave free in all lines but the first.
    """
    if columns is None:
        return [text]
    room = max(columns, indent + NARROWEST_TEXT)
    return [
        part
        for line in text.split("\n")
        for part in wrap(
            line, room, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False
        )
        or [""]
    ]


def say_problem(start: str, message: str) -> None:
    """Tell a person on standard error what is wrong.

    Args:
        start: what kind of a message it is, such as `error`.
    """
    say(f"{start}: {message}", indent=len(start) + 2, file=sys.stderr)


def run(app: typer.Typer) -> NoReturn:
    """Run a command line and end the process; an expected failure is one message and an exit code."""
    os.umask(PRIVATE_UMASK)
    _layouts.clear()  # in case another one ran in this process
    _unwind_on_signals()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # not every terminal can show every character
    as_json = "--json" in sys.argv[1:]  # also where the command line cannot be understood
    try:
        sys.exit(app(standalone_mode=False))
    except TyperException as error:
        if is_bare_group(error) and not as_json:
            error.show()  # type: ignore[attr-defined]  # this kind has it
            sys.exit(error.exit_code)
        _fail(usage_words(error), error.exit_code, as_json=as_json)
    except Abort:
        _fail("aborted", 1, as_json=as_json)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains when it ends
        sys.exit(1)
    except (ClientError, OSError) as error:
        if isinstance(error, ClientError):
            _fail(str(error), error.exit_code, as_json=as_json)
        _fail(system_words(error), 1, as_json=as_json)


def _unwind_on_signals() -> None:
    """Let signals that end a command run its `finally` blocks, which remove unfinished files."""
    for number in ENDING_SIGNALS:
        if signal.getsignal(number) is signal.SIG_DFL:  # nohup, for one, ignores the end of the terminal
            signal.signal(number, _leave)


def _leave(number: int, _: object) -> NoReturn:
    sys.exit(EXIT_CODE_OF_SIGNALS + number)


def _fail(message: str, exit_code: int, *, as_json: bool) -> NoReturn:
    """Say what is wrong where its reader looks: people on standard error, programs on standard output."""
    if as_json:
        print(json.dumps({"error": typed_here(message)}))
    else:
        say_problem("error", message)
    sys.exit(exit_code)
