"""The command `training`, the one front door: all other commands, each loaded only when it is used."""

import json
import sys
import time
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from daemon.cli.command_names import MODULES, owners_of
from daemon.cli.options import (
    BaseDir,
    Json,
    Version,
    WrongUsage,
    client_of,
    run,
    same_folder,
    say,
    use_base_dir,
)
from daemon.cli.usage_words import did_you_mean
from daemon.client import Client
from trainer.protocol.text import printable

# Subcommands of the controller that need no second word
SHORTCUTS = {
    "status": "Show what the daemon is doing.",
    "logs": "Show the daemon's log, also while no daemon runs.",
    "plot": "Plot how the loss or another metric has changed.",
    "pause": "Pause training at the next optimizer step.",
    "resume": "Continue training with the next step.",
    "skip": "Skip the current file and continue with the next one.",
    "stop": "Stop the daemon.",
}
OF_ONE_NAME = ("install_completion", "show_completion")  # they would work for a command called `queue`
LOOK_INTERVAL_S = 0.5


class LoadedWhenUsed(TyperGroup):
    """Takes what is needed to list a command from here, and the command itself from its module."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Return the command that is meant, and what is left for it.

        Raises:
            WrongUsage: there is none here, but one of this name under another command.
        """
        if args[0] not in self.commands and (owners := owners_of(args[0])):
            near = did_you_mean([f"training {owner} {args[0]}" for owner in owners])
            raise WrongUsage(f'unknown command "{args[0]}"{near}')
        name, command, rest = super().resolve_command(ctx, args)
        if name in MODULES:
            command = get_command(import_module(MODULES[name]).app)
            command.params = [option for option in command.params if option.name not in OF_ONE_NAME]
        if name in SHORTCUTS:
            controller: Any = get_command(import_module(MODULES["controller"]).app)
            command = controller.commands[name]
        return name, command, rest


app = typer.Typer(
    cls=LoadedWhenUsed,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    epilog="Examples:\n\n\b\n"
    "  training                                where things stand, and what to do\n"
    "  training daemon --base-dir ~/training   the same as training_daemon\n"
    "  training queue add chat.jsonl           the same as training_queue add\n"
    "  training status --watch                 as training_controller status\n"
    "  training follow json_lines",
)


@app.callback(invoke_without_command=True)
def _training(
    context: typer.Context, base_dir: BaseDir = None, as_json: Json = False, version: Version = False
) -> None:
    """Train from files: all commands under one name. Alone, it says where things stand."""
    use_base_dir(base_dir)
    if context.invoked_subcommand is None:
        _show_overview(client_of(base_dir), as_json=as_json)
    elif as_json:
        raise WrongUsage(f"put --json behind {context.invoked_subcommand}")


def _show_overview(client: Client, *, as_json: bool) -> None:
    from daemon.cli.overview import lines_without_directory, overview_document, overview_lines

    base = str(client.any_layout.base)
    status = client.status() if client.is_working_directory else None
    dropped = client.queue.count_dropped() if status else 0
    version = client.models.current_id() if status else None
    here = same_folder(client)
    if as_json:
        document = overview_document(base, status, dropped=dropped, version=version, here=here)
        print(json.dumps(document, indent=2))
    else:
        lines = (
            overview_lines(base, status, dropped=dropped, version=version, here=here)
            if status
            else lines_without_directory(base, here=here)
        )
        for line in lines:
            say(line, indent=8)


def _listed_only() -> None:
    """Stand in the list of commands; the command itself comes from its module."""


for _name, _summary in SHORTCUTS.items():
    app.command(_name, help=_summary)(_listed_only)


@app.command()
def daemon() -> None:
    """Watch inbox/ and train what is dropped there."""


@app.command()
def controller() -> None:
    """Control a running daemon, or show its status."""


@app.command()
def queue() -> None:
    """Add files to the queue, list them, and move them."""


@app.command()
def health() -> None:
    """Check everything, preview a restart, and see what went wrong."""


@app.command()
def data() -> None:
    """Inspect data files, prepare them, and see what they achieved."""


@app.command()
def models() -> None:
    """Keep versions of the model, compare them, and go back."""


@app.command()
def monitor() -> None:
    """Serve a web page to watch and control training."""


@app.command(epilog="Example:\n\n\b\n  training follow json_lines")
def follow(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Name of a follower; json_lines writes logs/events.jsonl.")
    ],
    once: Annotated[
        bool, typer.Option("--once", help="Pass on what has happened so far, then exit.")
    ] = False,
    base_dir: BaseDir = None,
) -> None:
    """Pass events on to a follower until Ctrl-C. No event is missed or repeated."""

    def wait() -> bool:
        if not once:
            time.sleep(LOOK_INTERVAL_S)
        return not once

    client = client_of(base_dir)

    def tell(text: str) -> None:
        say(text, file=sys.stderr)  # standard output belongs to the follower

    def started() -> None:
        where = printable(str(client.layout.logs / "events.jsonl")) if name == "json_lines" else name
        tell(f"passing events on to {where}" + ("" if once else " until Ctrl-C"))

    try:
        client.follow(name, wait=wait, report=tell, started=started)
    except KeyboardInterrupt:
        return


def main() -> None:
    """Entry point."""
    run(app)


if __name__ == "__main__":
    main()
