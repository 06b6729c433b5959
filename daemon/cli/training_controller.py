"""The command `training_controller`: tell a running daemon what to do, or ask how it is."""

import json
import os
import time
from collections.abc import Callable
from typing import Annotated, Any

import typer

from daemon.cli.options import BaseDir, CommandFailed, Json, layout_of, run, use_base_dir
from daemon.cli.status_view import draw
from daemon.status.reader import Status, read_status
from trainer.protocol.files import write_json
from trainer.protocol.layout import Layout
from trainer.protocol.text import printable

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True)

POLL_INTERVAL_S = 0.02
WATCH_INTERVAL_S = 0.5
DEFAULT_WAIT_S = 30.0
NO_DAEMON_EXIT_CODE = 3

Reason = Annotated[
    str | None, typer.Option("--reason", help="Why; shown in the status and kept in the history.")
]
Wait = Annotated[
    float | None,
    typer.Option(
        "--wait", metavar="SECONDS", min=0, help="Seconds to wait until it is obeyed. [default: 30]"
    ),
]


@app.callback()
def _training_controller(base_dir: BaseDir = None) -> None:
    """Tell a running daemon what to do, or ask how it is."""
    use_base_dir(base_dir)


@app.command(epilog="Example:\n\n\b\n  training_controller pause --reason 'the GPU is needed for a demo'")
def pause(base_dir: BaseDir = None, reason: Reason = None, wait: Wait = None, as_json: Json = False) -> None:
    """Hold training at the next optimizer step. Only resume ends the pause, not a restart."""
    _ask(layout_of(base_dir), ".pause", {"reason": reason}, wait, as_json)


@app.command(epilog="Example:\n\n\b\n  training_controller resume")
def resume(base_dir: BaseDir = None, reason: Reason = None, wait: Wait = None, as_json: Json = False) -> None:
    """Go on with the step after the pause."""
    _ask(layout_of(base_dir), ".resume", {"reason": reason}, wait, as_json)


@app.command(epilog="Example:\n\n\b\n  training_controller skip --reason 'wrong export'")
def skip(base_dir: BaseDir = None, reason: Reason = None, wait: Wait = None, as_json: Json = False) -> None:
    """Put the current file aside and go on with the next. It is moved to queue/skipped/."""
    _ask(layout_of(base_dir), ".skip", {"reason": reason}, wait, as_json)


@app.command(
    epilog="Examples:\n\n\b\n"
    "  training_controller stop                  finish the current file, then stop\n"
    "  training_controller stop --wait 3600      the same, and wait for it\n"
    "  training_controller stop --now            save at the next step and stop"
)
def stop(
    base_dir: BaseDir = None,
    now: Annotated[
        bool, typer.Option("--now", help="Do not finish the file; it goes on at the next start.")
    ] = False,
    reason: Reason = None,
    wait: Wait = None,
    as_json: Json = False,
) -> None:
    """Stop the daemon. Returns when it has understood; with --now or --wait, when it has gone."""
    layout = layout_of(base_dir)
    _ask(layout, ".stop", {"reason": reason, "now": now}, wait, as_json, is_last=now or wait is not None)


@app.command(
    epilog="Examples:\n\n\b\n"
    "  training_controller status\n"
    "  training_controller status --watch\n"
    "  training_controller status --previews     what the model answers to previews.prompts"
)
def status(
    base_dir: BaseDir = None,
    watch: Annotated[bool, typer.Option("--watch", help="Keep showing it, until Ctrl-C.")] = False,
    previews: Annotated[
        bool, typer.Option("--previews", help="Show the answers to fixed prompts, and how they changed.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show what the daemon is doing. Exit code 0 if it runs, 3 if not (but with --previews always 0)."""
    layout = layout_of(base_dir)
    if previews:
        _show_previews(layout, as_json)
        return
    if watch:
        _watch(layout)
        return
    found = read_status(layout)
    if as_json:
        print(
            json.dumps(
                {**found.fields, "daemon": found.life, "heartbeat_age_s": round(found.age_s, 1)}, indent=2
            )
        )
    else:
        from rich.console import Console

        Console().print(draw(found))
    if not found.is_running:
        raise typer.Exit(NO_DAEMON_EXIT_CODE)


def _show_previews(layout: Layout, as_json: bool) -> None:
    from daemon.cli.previews_view import draw_previews, previews_json
    from daemon.ledger.evaluations import read_previews
    from daemon.ledger.reader import UnreadableLedger

    try:
        histories = read_previews(layout.ledger_file)
    except UnreadableLedger as error:
        raise CommandFailed(str(error)) from error
    if as_json:
        print(previews_json(histories))
        return
    from rich.console import Console

    console = Console()
    with console.capture() as captured:
        console.print(draw_previews(histories))
    for line in captured.get().splitlines():
        print(line.rstrip())  # a table fills its lines with blanks


def _watch(layout: Layout) -> None:
    from rich.console import Console
    from rich.live import Live

    with Live(draw(read_status(layout)), console=Console(), auto_refresh=False) as live:
        try:
            while True:
                time.sleep(WATCH_INTERVAL_S)
                live.update(draw(read_status(layout)), refresh=True)
        except KeyboardInterrupt:
            return


def _ask(
    layout: Layout,
    file_name: str,
    request: dict[str, Any],
    wait_s: float | None,
    as_json: bool,
    *,
    is_last: bool = False,
) -> None:
    """Give a command and wait for the answer; for the last one, wait until the daemon is gone."""
    before = read_status(layout)
    if not before.is_running:
        raise CommandFailed(
            f"the daemon is {before.life_text()}; start one with: training_daemon --base-dir {layout.base}",
            exit_code=NO_DAEMON_EXIT_CODE,
        )
    request_id = f"{os.getpid()}-{time.time_ns()}"
    write_json(layout.control / file_name, {"id": request_id, **request}, durable=False)
    wait_s = DEFAULT_WAIT_S if wait_s is None else wait_s

    def answer() -> Status | None:
        found = read_status(layout)
        last = found.fields.get("last_command") or {}
        is_done = last.get("id") == request_id if not is_last else not found.is_running
        return found if is_done else None

    found = _wait_for(answer, wait_s)
    if found is None:
        raise CommandFailed(
            f"the daemon has not obeyed within {wait_s:g} s; it will when the current step is done"
        )
    last = found.fields.get("last_command") or {}
    result = "the daemon has stopped" if is_last else printable(str(last.get("result")))
    print(json.dumps({"result": result, "status": found.fields.get("status")}) if as_json else result)


def _wait_for(condition: Callable[[], Status | None], wait_s: float) -> Status | None:
    deadline = time.monotonic() + wait_s
    while True:
        if found := condition():
            return found
        if time.monotonic() >= deadline:
            return None
        time.sleep(POLL_INTERVAL_S)


def main() -> None:
    """Entry point."""
    run(app)


if __name__ == "__main__":
    main()
