"""The command `training_health`: is all well, what would a restart do, what went wrong. Needs no daemon."""

import dataclasses
import json
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Annotated, Any

import typer

from daemon.cli.options import BaseDir, CommandFailed, Json, layout_of, run, use_base_dir
from trainer.protocol.layout import Layout, find_base_dir
from trainer.protocol.text import printable, utc_text

if TYPE_CHECKING:
    from daemon.checkpoints.review import Blocked, Reviewed, Whole
    from daemon.health.restart_plan import NoPlan, RestartPlan

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True)

DAMAGED_EXIT_CODE = 1
BLOCKED_EXIT_CODE = 2
DEATHS_READ = 1000

Name = Annotated[
    str, typer.Argument(metavar="NAME", help="As `training_health verify` shows it; or: current")
]


@app.callback()
def _training_health(base_dir: BaseDir = None) -> None:
    """Is all well, what would a restart do, and what went wrong?"""
    use_base_dir(base_dir)


@app.command(
    epilog="Examples:\n\n\b\n"
    "  training_health check\n"
    "  training_health check --fix               repair what can be repaired without any risk"
)
def check(
    fix: Annotated[
        bool,
        typer.Option("--fix", help="First create missing folders, close open ones, remove left-overs."),
    ] = False,
    base_dir: BaseDir = None,
    as_json: Json = False,
) -> None:
    """Look at everything, and say what to do. Exit code 1 if there is a problem."""
    layout = _layout_to_check(base_dir)
    from daemon.cli.health_view import finding_lines
    from daemon.health.checkup import examine
    from daemon.health.finding import Level
    from daemon.health.repair import repair
    from daemon.status.reader import read_status

    repaired = repair(layout) if fix else []
    findings = examine(layout, read_status(layout), now=time.time())
    if as_json:
        listed = [dataclasses.asdict(finding) for finding in findings]
        print(json.dumps({"repaired": repaired, "findings": listed}, indent=2))
    else:
        _print([*repaired, *finding_lines(findings)])
    if any(finding.level is Level.PROBLEM for finding in findings):
        raise typer.Exit(1)


def _layout_to_check(base_dir: BaseDir) -> Layout:
    """Return the working directory; unlike for other commands it may lack any of its folders, but not all."""
    layout = Layout(find_base_dir(base_dir))
    return layout if any(folder.exists() for folder in layout.folders()) else layout_of(base_dir)


# ---- verify


@app.command(epilog="Example:\n\n\b\n  training_health verify")
def verify(base_dir: BaseDir = None, as_json: Json = False) -> None:
    """Read every checkpoint, and say what a restart would do. Exit code 1 if one is damaged, 2 if blocked."""
    layout = layout_of(base_dir)
    from daemon.checkpoints.review import Blocked, Whole, corrupt_names, current_name, starting_point
    from daemon.cli.health_view import checkpoint_line, restart_lines

    current = current_name(layout.models)
    reviewed = []
    for item in _verified(layout, shows_progress=sys.stdout.isatty() and not as_json):
        reviewed.append(item)
        if not as_json:
            print(checkpoint_line(item, current=current), flush=True)
    start = starting_point(reviewed, has_corrupt=bool(corrupt_names(layout.models)))
    plan = None if isinstance(start, Blocked) else _plan(layout, start)
    if as_json:
        checkpoints = [_as_json(item, current) for item in reviewed]
        print(json.dumps({"checkpoints": checkpoints, "restart": _restart_as_json(start, plan)}, indent=2))
    else:
        _print(restart_lines(start, plan, is_paused=layout.pause_file.exists()))
    if isinstance(start, Blocked):
        raise typer.Exit(BLOCKED_EXIT_CODE)
    if not all(isinstance(item, Whole) for item in reviewed):
        raise typer.Exit(DAMAGED_EXIT_CODE)


def _verified(layout: Layout, *, shows_progress: bool) -> "Iterator[Reviewed]":
    """Read one checkpoint after the other, newest first."""
    from daemon.checkpoints.review import list_checkpoints, review
    from trainer.protocol.checkpoints import verify

    paths = list_checkpoints(layout.models)
    for number, path in enumerate(paths, start=1):
        with _progress(f"reading {printable(path.name)} ({number} of {len(paths)})", shows_progress):
            item = review(path, verify)
        if item:
            yield item


def _progress(text: str, is_shown: bool) -> AbstractContextManager[object]:
    if not is_shown:
        return nullcontext()
    from rich.console import Console
    from rich.text import Text

    return Console().status(Text(text))


def _plan(layout: Layout, start: "Whole | None") -> "RestartPlan | NoPlan":
    from daemon.health.restart_plan import NoPlan, plan_restart, processed_inodes
    from daemon.ledger.reader import UnreadableLedger, read_completed, read_jobs
    from trainer.config.loader import BadConfig, load_settings
    from trainer.protocol.manifest import Progress

    try:
        settings = load_settings(layout.config_file).settings
        jobs = read_jobs(layout.ledger_file, inodes=processed_inodes(layout))
        completed = read_completed(layout.ledger_file) if settings.training.replay_fraction else ()
        progress = start.manifest.progress if start else Progress()
        return plan_restart(layout, jobs, progress, settings, completed=completed)
    except (BadConfig, UnreadableLedger, OSError) as error:
        return NoPlan(printable(str(error)))


def _as_json(item: "Reviewed", current: str | None) -> dict[str, Any]:
    from daemon.checkpoints.review import Whole
    from trainer.protocol.pins import is_pinned

    facts = {
        "name": printable(item.path.name),
        "state": "ok" if isinstance(item, Whole) else type(item).__name__.lower(),
        "is_current": item.path.name == current,
        "is_pinned": is_pinned(item.path),
    }
    if not isinstance(item, Whole):
        return facts | {"reason": item.reason}
    step, at = item.manifest.progress.global_step, item.manifest.written_at
    return facts | {"global_step": step, "written_at": at, "bytes": item.manifest.total_bytes}


def _restart_as_json(start: "Whole | Blocked | None", plan: "RestartPlan | NoPlan | None") -> dict[str, Any]:
    from daemon.checkpoints.review import Blocked

    if isinstance(start, Blocked):
        return {"blocked": start.reason}
    return {
        "checkpoint": printable(start.path.name) if start else None,
        "global_step": start.manifest.progress.global_step if start else 0,
        "files": dataclasses.asdict(plan) if plan else None,
    }


# ---- crashes


@app.command(epilog="Example:\n\n\b\n  training_health crashes --limit 100")
def crashes(
    limit: Annotated[
        int, typer.Option("--limit", metavar="N", min=1, help="Look at the newest N only.")
    ] = DEATHS_READ,
    base_dir: BaseDir = None,
    as_json: Json = False,
) -> None:
    """Show what has ended workers so far, and what to do about it."""
    layout = layout_of(base_dir)
    from daemon.cli.health_view import death_lines
    from daemon.ledger.crashes import read_crashes
    from daemon.ledger.reader import UnreadableLedger

    try:
        groups = read_crashes(layout.ledger_file, limit=limit)
    except UnreadableLedger as error:
        raise CommandFailed(str(error)) from error
    if as_json:
        print(json.dumps([dataclasses.asdict(group) for group in groups], indent=2))
    else:
        _print(death_lines(groups))


# ---- what a person may change


@app.command(epilog="Example:\n\n\b\n  training_health unlock data.max_length")
def unlock(
    setting: Annotated[str, typer.Argument(metavar="SETTING", help="Such as data.max_length.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    base_dir: BaseDir = None,
    as_json: Json = False,
) -> None:
    """Allow a locked setting to take its value in config.json."""
    layout = layout_of(base_dir)
    from daemon.settings.unlocking import CannotUnlock, find_change, value_text
    from trainer.config.loader import BadConfig
    from trainer.protocol.files import UnreadableFile
    from trainer.protocol.permissions import give_permission

    try:
        was, becomes = find_change(layout, setting)
        values = f"{setting}: from {value_text(was)} to {value_text(becomes)}"
        if not yes:
            _ask(values, as_json=as_json)
        is_new = give_permission(layout.models, setting, was, becomes, at=utc_text(time.time()))
    except (CannotUnlock, BadConfig, UnreadableFile) as error:
        raise CommandFailed(str(error)) from error
    result = "allowed" if is_new else "was allowed already"
    facts = {"setting": setting, "was": was, "becomes": becomes, "result": result}
    _tell(
        facts,
        f"{values}: {result}; a blocked daemon goes on by itself, at once with: training_controller resume",
        as_json=as_json,
    )


def _ask(values: str, *, as_json: bool) -> None:
    if as_json:
        raise CommandFailed("with --json nobody is asked; give --yes, too; nothing was changed")
    print(values)
    typer.confirm("The model has been trained with the old value. Change it nevertheless?", abort=True)


@app.command(epilog="Examples:\n\n\b\n  training_health pin current\n  training_health pin step-000001200")
def pin(name: Name, base_dir: BaseDir = None, as_json: Json = False) -> None:
    """Keep a checkpoint for ever, whatever the rules for old ones say."""
    layout = layout_of(base_dir)
    from daemon.checkpoints.pins import NoSuchCheckpoint, find_checkpoint
    from trainer.protocol.pins import pin as keep

    try:
        path = find_checkpoint(layout.models, name)
    except NoSuchCheckpoint as error:
        raise CommandFailed(str(error)) from error
    result = "pinned" if keep(path) else "was pinned already"
    shown = printable(path.name)
    _tell({"name": shown, "result": result}, f"{shown} {result}", as_json=as_json)


@app.command(epilog="Example:\n\n\b\n  training_health unpin step-000001200")
def unpin(name: Name, base_dir: BaseDir = None, as_json: Json = False) -> None:
    """Leave a checkpoint to the rules for old ones again."""
    layout = layout_of(base_dir)
    from daemon.checkpoints.pins import NoSuchCheckpoint
    from daemon.checkpoints.pins import unpin as release

    try:
        result = "is not pinned any more" if release(layout.models, name) else "was not pinned"
    except NoSuchCheckpoint as error:
        raise CommandFailed(str(error)) from error
    shown = printable(name)
    _tell({"name": shown, "result": result}, f"{shown} {result}", as_json=as_json)


def _tell(value: object, line: str, *, as_json: bool) -> None:
    print(json.dumps(value) if as_json else line)


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        print(line)


def main() -> None:
    """Entry point."""
    run(app)


if __name__ == "__main__":
    main()
