"""The command `training_controller`: control a running daemon, or show its status."""

import json
import sys
import time
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from daemon.cli import training_controller_plot
from daemon.cli.options import (
    BaseDir,
    CommandFailed,
    Json,
    Version,
    client_of,
    run,
    say,
    say_problem,
    use_base_dir,
)
from daemon.cli.status_view import draw
from daemon.client import Client
from daemon.client.client import DEFAULT_WAIT_S
from daemon.client.errors import InvalidSettings, NoDaemon
from trainer.protocol.text import printable

if TYPE_CHECKING:
    from daemon.client.requests import Obeyed

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True)
app.add_typer(training_controller_plot.app)

WATCH_INTERVAL_S = 0.5
LOG_ENTRIES = 50

Reason = Annotated[
    str | None,
    typer.Option(
        "--reason", metavar="TEXT", help="Why; kept in the log, and of a pause shown in the status."
    ),
]
Wait = Annotated[
    float | None,
    typer.Option(
        "--wait", metavar="SECONDS", min=0, help="Seconds to wait for the daemon to obey. [default: 30]"
    ),
]


@app.callback()
def _training_controller(base_dir: BaseDir = None, version: Version = False) -> None:
    """Control a running daemon, or show its status."""
    use_base_dir(base_dir)


@app.command(epilog="Example:\n\n\b\n  training_controller pause --reason 'the GPU is needed for a demo'")
def pause(base_dir: BaseDir = None, reason: Reason = None, wait: Wait = None, as_json: Json = False) -> None:
    """Pause training at the next optimizer step. The pause lasts until resume, even across restarts."""
    _show(client_of(base_dir).pause(reason, wait_s=_seconds(wait)), as_json)


@app.command(epilog="Example:\n\n\b\n  training_controller resume")
def resume(base_dir: BaseDir = None, reason: Reason = None, wait: Wait = None, as_json: Json = False) -> None:
    """Continue training with the next step."""
    _show(client_of(base_dir).resume(reason, wait_s=_seconds(wait)), as_json)


@app.command(epilog="Example:\n\n\b\n  training_controller skip --reason 'wrong export'")
def skip(base_dir: BaseDir = None, reason: Reason = None, wait: Wait = None, as_json: Json = False) -> None:
    """Skip the current file and continue with the next one. It is moved to queue/skipped/."""
    _show(client_of(base_dir).skip(reason, wait_s=_seconds(wait)), as_json)


@app.command(
    epilog="Examples:\n\n\b\n"
    "  training_controller stop                  finish the current file, then stop\n"
    "  training_controller stop --wait 3600      the same, and wait for it\n"
    "  training_controller stop --now            save at the next step and stop"
)
def stop(
    base_dir: BaseDir = None,
    now: Annotated[
        bool, typer.Option("--now", help="Do not finish the file; the next start continues it.")
    ] = False,
    reason: Reason = None,
    wait: Wait = None,
    as_json: Json = False,
) -> None:
    """Stop the daemon. Returns once the daemon has accepted it; with --now or --wait, once it has exited."""
    until_gone = now or wait is not None
    client = client_of(base_dir)
    answer = client.stop(reason, now=now, until_gone=until_gone, wait_s=_seconds(wait))
    _show(answer, as_json)
    if not as_json and (left := client.forgetting.unfinished(is_stopping=True)):
        say_problem("note", f"{left.text}: {left.command}")


@app.command(
    epilog="Examples:\n\n\b\n"
    "  training_controller status\n"
    "  training_controller status --watch\n"
    "  training_controller status --previews     answers to previews.prompts"
)
def status(
    base_dir: BaseDir = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Refresh until Ctrl-C; with --json, print a line for each change.")
    ] = False,
    previews: Annotated[
        bool, typer.Option("--previews", help="Show the answers to fixed prompts, and how they changed.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show what the daemon is doing. Exit code 0 if it is running, 3 if not (with --previews always 0)."""
    client = client_of(base_dir)
    if previews:
        _show_previews(client, as_json)
        return
    if watch:
        _watch(client, as_json=as_json)
        return
    found = client.status()
    if as_json:
        print(json.dumps(found.document(), indent=2))
    else:
        from rich.console import Console

        Console().print(draw(found))
    if not found.is_running:
        raise typer.Exit(NoDaemon.exit_code)


def _show_previews(client: Client, as_json: bool) -> None:
    from daemon.cli.previews_view import draw_previews, none_yet, previews_json

    histories = client.history.previews()
    if as_json:
        print(previews_json(histories))
        return
    if not histories:
        wanted = None
        with suppress(InvalidSettings):  # which a start says, and --check-config
            wanted = client.settings.effective(client.overrides()).settings.previews
        step = client.status().fields.get("current_step") or 0
        say(none_yet(wanted, step=step))
        return
    from rich.console import Console

    console = Console()
    with console.capture() as captured:
        console.print(draw_previews(histories))
    for line in captured.get().splitlines():
        print(line.rstrip())  # a table fills its lines with blanks


def _watch(client: Client, *, as_json: bool) -> None:
    """Show the status until Ctrl-C: in place, or a line of JSON for each change."""
    with suppress(KeyboardInterrupt):
        if as_json:
            _print_changes(client)
        else:
            _redraw(client)


def _print_changes(client: Client) -> None:
    shown = None
    while True:
        found = client.status()
        document = found.document()
        if (compared := document | {"heartbeat_age_s": None}) != shown:
            shown = compared
            print(json.dumps(document), flush=True)
        time.sleep(WATCH_INTERVAL_S)


def _redraw(client: Client) -> None:
    from rich.console import Console
    from rich.live import Live

    from daemon.cli.silent_keys import silent_keys

    console = Console()
    terminal = console if console.is_terminal else None
    shown = Live(draw(client.status(), within=terminal), console=console, auto_refresh=False)
    with silent_keys(), shown as live:
        while True:
            time.sleep(WATCH_INTERVAL_S)
            live.update(draw(client.status(), within=terminal), refresh=True)


@app.command(
    epilog="Examples:\n\n\b\n"
    "  training_controller logs\n"
    "  training_controller logs -f               and what is added, until Ctrl-C\n"
    "  training_controller logs chat.jsonl       only what is about this file"
)
def logs(
    file: Annotated[
        str | None, typer.Argument(metavar="FILE", help="A file in the queue, or the id of its job.")
    ] = None,
    follow: Annotated[
        bool,
        typer.Option(
            "--follow", "-f", help="Go on until Ctrl-C; with --json, print a document for each entry."
        ),
    ] = False,
    lines: Annotated[
        int, typer.Option("--lines", "-n", metavar="N", min=0, help="How many entries, the newest ones.")
    ] = LOG_ENTRIES,
    base_dir: BaseDir = None,
    as_json: Json = False,
) -> None:
    """Show the daemon's log, also while no daemon runs."""
    from daemon.cli.logs_view import print_entries

    found = client_of(base_dir).logs
    if follow:
        if file and not found.has_any(about=file):
            waits = f"nothing about {printable(file)} yet; waiting for it, until Ctrl-C"
            say(f"{waits}{found.names_like(file)}", file=sys.stderr)
        with suppress(KeyboardInterrupt):
            print_entries(found.follow(lines, about=file, wait=_wait), as_json=as_json)
        return
    entries = found.last(lines, about=file)
    if as_json:
        print(json.dumps([asdict(entry) for entry in entries], indent=2))
    elif not print_entries(entries, as_json=False) and lines:
        if file:
            raise CommandFailed(
                f"the log has nothing about {printable(file)}; expected a name or a job id of the log"
                f"{found.names_like(file)}"
            )
        print("the log has nothing")


def _wait() -> bool:
    time.sleep(WATCH_INTERVAL_S)
    return True


def _seconds(wait: float | None) -> float:
    return DEFAULT_WAIT_S if wait is None else wait


def _show(answer: "Obeyed", as_json: bool) -> None:
    if as_json:
        print(json.dumps(asdict(answer)))
    else:
        say(answer.result)


def main() -> None:
    """Entry point."""
    run(app)


if __name__ == "__main__":
    main()
