"""The command `training_health`: check everything, preview a restart, see what went wrong."""

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from daemon.cli.asking import confirm
from daemon.cli.options import (
    BaseDir,
    Json,
    Version,
    WrongUsage,
    client_of,
    run,
    say,
    use_base_dir,
)
from trainer.protocol.text import printable

if TYPE_CHECKING:
    from daemon.client.checkpoints import Checkpoints
    from daemon.client.results import Reviewed

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True)

DAMAGED_EXIT_CODE = 1
BLOCKED_EXIT_CODE = 2
CRASHES_READ = 1000

Name = Annotated[
    str, typer.Argument(metavar="NAME", help="As `training_health verify` shows it; or: current")
]


@app.callback()
def _training_health(base_dir: BaseDir = None, version: Version = False) -> None:
    """Check everything, preview a restart, and see what went wrong."""
    use_base_dir(base_dir)


@app.command(
    epilog="Examples:\n\n\b\n"
    "  training_health check\n"
    "  training_health check --fix           repair what is safe to repair"
)
def check(
    fix: Annotated[
        bool,
        typer.Option("--fix", help="First create missing folders, close open ones, and remove leftovers."),
    ] = False,
    base_dir: BaseDir = None,
    as_json: Json = False,
) -> None:
    """Check everything, and say what to do. Exit code 1 if there is a problem."""
    health = client_of(base_dir).health
    from daemon.cli.health_view import finding_indent, finding_lines

    repaired = health.repair() if fix else []
    findings = health.check()
    if as_json:
        print(json.dumps({"repaired": repaired, "findings": [asdict(found) for found in findings]}, indent=2))
    else:
        _print(repaired)
        _print(finding_lines(findings), indent=finding_indent(findings))
    if any(found.is_problem for found in findings):
        raise typer.Exit(1)


# ---- verify


@app.command(epilog="Example:\n\n\b\n  training_health verify")
def verify(base_dir: BaseDir = None, as_json: Json = False) -> None:
    """Read every checkpoint, and say what a restart would do. Exit code 1 if one is damaged, 2 if blocked."""
    client = client_of(base_dir)
    checkpoints = client.checkpoints
    from daemon.cli.health_view import checkpoint_line
    from daemon.cli.restart_view import restart_lines
    from daemon.client.checkpoints import Verification
    from daemon.client.restart import ImpossibleRestart

    reviewed, described = [], []
    for item in _verified(checkpoints, shows_progress=sys.stdout.isatty() and not as_json):
        reviewed.append(item)
        described.append(checkpoints.describe(item))
        if not as_json:
            _print([checkpoint_line(described[-1])])
    found = Verification(tuple(described), checkpoints.restart(reviewed))
    if as_json:
        print(json.dumps(asdict(found), indent=2))
    else:
        runs = client.status().is_running
        dropped = client.queue.count_dropped()
        paused = checkpoints.is_paused
        left = bool(client.health.workers_left())
        _print(
            restart_lines(
                found.restart, is_paused=paused, daemon_runs=runs, worker_runs=left, in_inbox=dropped
            )
        )
    if isinstance(found.restart, ImpossibleRestart):
        raise typer.Exit(BLOCKED_EXIT_CODE)
    if any(item.state != "ok" for item in described):
        raise typer.Exit(DAMAGED_EXIT_CODE)


def _verified(checkpoints: "Checkpoints", *, shows_progress: bool) -> "Iterator[Reviewed]":
    """Read one checkpoint after the other, newest first."""
    paths = checkpoints.paths()
    for number, path in enumerate(paths, start=1):
        with _progress(f"reading {printable(path.name)} ({number} of {len(paths)})", shows_progress):
            item = checkpoints.verify(path)
        if item:
            yield item


def _progress(text: str, is_shown: bool) -> AbstractContextManager[object]:
    if not is_shown:
        return nullcontext()
    from rich.console import Console
    from rich.text import Text

    return Console().status(Text(text))


# ---- crashes


@app.command(epilog="Example:\n\n\b\n  training_health crashes --limit 100")
def crashes(
    limit: Annotated[
        int, typer.Option("--limit", metavar="N", min=1, help="Show only the newest N.")
    ] = CRASHES_READ,
    base_dir: BaseDir = None,
    as_json: Json = False,
) -> None:
    """Show why workers crashed, and what to do about it."""
    groups = client_of(base_dir).history.crashes(limit=limit)
    from daemon.cli.health_view import crash_lines

    if as_json:
        print(json.dumps([asdict(group) for group in groups], indent=2))
    else:
        _print(crash_lines(groups))


# ---- diagnose


@app.command(epilog="Examples:\n\n\b\n  training_health diagnose\n  training_health diagnose --json")
def diagnose(base_dir: BaseDir = None, as_json: Json = False) -> None:
    """Say what ails the training so far, such as overfitting. Exit code 1 if there is something."""
    diagnosis = client_of(base_dir).health.diagnose()
    if as_json:
        print(json.dumps(asdict(diagnosis), indent=2))
    else:
        from daemon.cli.diagnosis_view import diagnosis_lines

        for line, indent in diagnosis_lines(diagnosis):
            if indent is None:
                print(line)
            else:
                say(line, indent=indent)
    if diagnosis.findings:
        raise typer.Exit(1)


# ---- what a person may change


@app.command(epilog="Example:\n\n\b\n  training_health unlock data.max_length")
def unlock(
    setting: Annotated[str, typer.Argument(metavar="SETTING", help="Such as data.max_length.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    base_dir: BaseDir = None,
    as_json: Json = False,
) -> None:
    """Allow a locked setting to take its new value."""
    client = client_of(base_dir)
    _ = client.layout  # there is nothing to unlock where no daemon has ever run
    change = client.settings.locked_change(setting)
    if not yes:
        _ask(change.text, as_json=as_json)
    result = "allowed" if client.settings.unlock(change) else "was already allowed"
    status, more = client.status(), ""
    if status.is_running and status.fields.get("status") == "blocked":
        more = "; a blocked daemon continues on its own; to continue immediately: training_controller resume"
    _show(
        {"setting": setting, "was": change.was, "becomes": change.becomes, "result": result},
        f"{change.text}: {result}{more}",
        as_json=as_json,
    )


def _ask(values: str, *, as_json: bool) -> None:
    if as_json:
        raise WrongUsage("--json does not ask; add --yes; nothing was changed")
    print(values)
    print("The model has been trained with the old value; files from before can no longer be forgotten then.")
    confirm("Change it anyway?")


@app.command(epilog="Examples:\n\n\b\n  training_health pin current\n  training_health pin step-000001200")
def pin(name: Name, base_dir: BaseDir = None, as_json: Json = False) -> None:
    """Keep a checkpoint, whatever the retention settings say. Only training_models forget may erase it."""
    shown, is_new = client_of(base_dir).checkpoints.pin(name)
    result = "pinned" if is_new else "was already pinned"
    _show({"name": shown, "result": result}, f"{shown} {result}", as_json=as_json)


@app.command(epilog="Example:\n\n\b\n  training_health unpin step-000001200")
def unpin(name: Name, base_dir: BaseDir = None, as_json: Json = False) -> None:
    """Let the retention settings decide about a checkpoint again."""
    shown, was_pinned = client_of(base_dir).checkpoints.unpin(name)
    result = "is no longer pinned" if was_pinned else "was not pinned"
    _show({"name": shown, "result": result}, f"{shown} {result}", as_json=as_json)


def _show(value: object, line: str, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(value))
    else:
        say(line)


def _print(lines: Iterable[str], *, indent: int = 8) -> None:
    for line in lines:
        say(line, indent=indent)


def main() -> None:
    """Entry point."""
    run(app)


if __name__ == "__main__":
    main()
