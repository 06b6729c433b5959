"""The command `training_queue`: add files to the queue, list them, move them, look back. Needs no daemon."""

import gc
import json
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from daemon.cli.options import (
    BaseDir,
    Json,
    Version,
    WrongUsage,
    client_of,
    completing,
    run,
    say,
    seconds_of,
    terminal_columns,
    typed_here,
    use_base_dir,
)
from daemon.cli.queue_view import ROWS_SHOWN, cleared_lines, finished_lines, queued_lines
from daemon.client.offered_names import all_names, ended_names, retryable_names, waiting_names
from trainer.protocol.places import Outcome, Priority
from trainer.protocol.text import num_of

if TYPE_CHECKING:
    from daemon.client import Client
    from daemon.client.queue import AddedFile

COMPLETED_SHOWN = 20

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True)


def _waiting_names(ctx: typer.Context, incomplete: str) -> list[str]:
    return waiting_names(completing(ctx), incomplete)


def _retryable_names(ctx: typer.Context, incomplete: str) -> list[str]:
    return retryable_names(completing(ctx), incomplete)


def _ended_names(ctx: typer.Context, incomplete: str) -> list[str]:
    return ended_names(completing(ctx), incomplete)


def _all_names(ctx: typer.Context, incomplete: str) -> list[str]:
    return all_names(completing(ctx), incomplete)


Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="As `training_queue list` shows it; high/NAME if several files have this name.",
        autocompletion=_waiting_names,
    ),
]

KnownName = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="A file in any state; failed/NAME; or a job id.",
        autocompletion=_all_names,
    ),
]


@app.callback()
def _training_queue(base_dir: BaseDir = None, version: Version = False) -> None:
    """Add files to the queue, list them, and move them."""
    use_base_dir(base_dir)


@app.command(
    epilog="Examples:\n\n\b\n"
    "  training_queue add corrections.jsonl --priority high\n"
    "  training_queue add table.csv             becomes table.jsonl"
)
def add(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE", help="JSONL files or tables, compressed or not; they stay where they are."
        ),
    ],
    priority: Annotated[Priority, typer.Option("--priority", help="How urgent they are.")] = Priority.NORMAL,
    base_dir: BaseDir = None,
    as_json: Json = False,
) -> None:
    """Copy files into the inbox. Your own copies are never touched.

    CSV, TSV, JSON arrays, NDJSON, Parquet, Arrow and folders that datasets has saved become JSON Lines.
    A folder where no daemon has run yet becomes a working directory first.
    """
    client = client_of(base_dir)
    if not client.is_working_directory:
        _create_for(files, client)
    added = client.queue.add_all(files, priority=priority)
    facts = [
        {
            "file": file.file,
            "added_as": file.added_as,
            "priority": file.priority,
            "converted_rows": file.converted_rows,
        }
        for file in added
    ]
    _show(facts, as_json, [f"added {_names(file)} ({priority.value}){_origin(file)}" for file in added])
    for place in filter(None, map(client.queue.unaccepted_place, files)):
        until = "until you move it out of inbox/"
        say(f"{place} stays where it is, and so does its alert, {until}", file=sys.stderr)
    for word in filter(None, map(client.queue.ended_place, files)):
        say(f"{word} stays there; to move it away: training_queue clear {word}", file=sys.stderr)


def _create_for(files: list[Path], client: "Client") -> None:
    """Make the folder a working directory, once it is clear that there is something to add."""
    from daemon.client.converted_copy import is_converted

    for file in files:
        is_converted(file)  # raises if it can neither be trained nor converted
    made = client.create()
    say(f"{made.base_dir} is now a working directory; start it: training_daemon start", file=sys.stderr)


def _names(file: "AddedFile") -> str:
    """Return what a file is called now, and what it was called if that name was taken."""
    given = file.file.rpartition("/")[2]
    is_renamed = file.converted_rows is None and given != file.added_as
    return f"{given} as {file.added_as}" if is_renamed else file.added_as


def _origin(file: "AddedFile") -> str:
    if file.converted_rows is None:
        return ""
    return f", {num_of(file.converted_rows, 'row')} converted from {file.file}"


@app.command(
    "list",
    epilog="Examples:\n\n\b\n"
    "  training_queue list\n"
    "  training_queue list --all --json\n"
    "  training_queue list --failed              what failed, and why",
)
def list_files(
    show_all: Annotated[
        bool, typer.Option("--all", help=f"Show every file, not only the first {ROWS_SHOWN}.")
    ] = False,
    failed: Annotated[bool, typer.Option("--failed", help="Show the files in failed/ instead.")] = False,
    skipped: Annotated[bool, typer.Option("--skipped", help="Show the files in skipped/ instead.")] = False,
    trash: Annotated[bool, typer.Option("--trash", help="Show the files that were cleared away.")] = False,
    base_dir: BaseDir = None,
    as_json: Json = False,
) -> None:
    """Show the files in the order of training."""
    queue = client_of(base_dir).queue
    limit = None if show_all or as_json else ROWS_SHOWN
    outcomes = _outcomes(failed, skipped)
    if trash and outcomes:
        raise WrongUsage("--trash goes with neither --failed nor --skipped; give one of them")
    if trash or outcomes:
        finished, number = queue.trashed(limit=limit) if trash else queue.finished(outcomes, limit=limit)
        shown = [file._replace(reason=file.reason and typed_here(file.reason)) for file in finished]
        _show(
            [file._asdict() for file in finished],
            as_json,
            finished_lines(
                shown,
                number,
                kind="cleared" if trash else " or ".join(outcomes),
                columns=terminal_columns(),
            ),
        )
        return
    files = queue.files()
    if as_json:
        print(json.dumps([file._asdict() for file in files]))
        return
    if not files:
        _print_empty(base_dir)
        return
    if dropped := queue.count_dropped():
        print(f"{dropped:,} more in inbox/, not taken in yet")
    is_gone = client_of(base_dir).status().is_gone
    for line in queued_lines(files[:limit], len(files), columns=terminal_columns(), is_daemon_gone=is_gone):
        say(line)


def _outcomes(failed: bool, skipped: bool) -> list[Outcome]:
    return [Outcome.FAILED] * failed + [Outcome.SKIPPED] * skipped


def _print_empty(base_dir: Path | None) -> None:
    """Say that nothing waits, and what happened to those that did."""
    from daemon.cli.history_view import empty_text

    client = client_of(base_dir)
    _, failed = client.queue.finished([Outcome.FAILED], limit=0)
    newest, completed = client.history.completed(limit=1), client.history.count_completed()
    say(empty_text(newest, completed, failed, dropped=client.queue.count_dropped(), now=time.time()))


@app.command("status", epilog="Example:\n\n\b\n  training_queue status --json")
def show_status(base_dir: BaseDir = None, as_json: Json = False) -> None:
    """Count the files in each folder of the queue.

    Those waiting or in training are also counted by the format of their rows.
    """
    found = client_of(base_dir).queue.counts()
    counts = asdict(found)
    formats = counts.pop("formats")
    counts |= {f"format_{name}": count for name, count in formats.items()}
    _show(counts, as_json, [f"{name:24} {count:,}" for name, count in counts.items()])
    if found.is_empty and not as_json:
        _print_empty(base_dir)


@app.command(epilog="Examples:\n\n\b\n  training_queue history\n  training_queue history --limit 100 --json")
def history(
    limit: Annotated[
        int, typer.Option("--limit", metavar="N", min=1, help="Files to show.")
    ] = COMPLETED_SHOWN,
    base_dir: BaseDir = None,
    as_json: Json = False,
) -> None:
    """Show what completed files have brought."""
    found = client_of(base_dir).history
    files = found.completed(limit=limit)
    if as_json:
        print(json.dumps([asdict(file) for file in files]))
        return
    from daemon.cli.history_view import history_lines

    for line in history_lines(files, found.count_completed(), now=time.time(), columns=terminal_columns()):
        say(line)


@app.command(
    epilog="Examples:\n\n\b\n  training_queue show chat.jsonl\n  training_queue show failed/chat.jsonl --json"
)
def show(
    name: KnownName,
    base_dir: BaseDir = None,
    as_json: Json = False,
) -> None:
    """Show all that is known of one file."""
    client = client_of(base_dir)
    found = client.history.file(name)
    if as_json:
        print(json.dumps(asdict(found)))
        return
    from daemon.cli.known_file_view import known_file_lines

    for line in known_file_lines(found, columns=terminal_columns(), is_daemon_gone=client.status().is_gone):
        say(line)


@app.command("set-priority", epilog="Example:\n\n\b\n  training_queue set-priority chat.jsonl high")
def set_priority(
    name: Name,
    priority: Annotated[Priority, typer.Argument(metavar="PRIORITY", help="How urgent it is.")],
    base_dir: BaseDir = None,
    as_json: Json = False,
) -> None:
    """Make a waiting file more or less urgent. Among files of one priority the oldest comes first."""
    shown = client_of(base_dir).queue.set_priority(name, priority)
    _show({"name": shown, "priority": priority.value}, as_json, [f"{shown}: {priority}"])


@app.command(
    epilog="Examples:\n\n\b\n"
    "  training_queue retry chat.jsonl puzzles.jsonl\n"
    "  training_queue retry chat.jsonl --admit   train it despite its report\n"
    "  training_queue retry --failed"
)
def retry(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME",
            help="Files in failed/, skipped/ or the trash; or failed/NAME.",
            autocompletion=_retryable_names,
        ),
    ] = None,
    failed: Annotated[bool, typer.Option("--failed", help="Every file in failed/.")] = False,
    must_admit: Annotated[
        bool,
        typer.Option("--admit", help="Train it even if the check of its rows would block it."),
    ] = False,
    base_dir: BaseDir = None,
    as_json: Json = False,
) -> None:
    """Queue failed or skipped files again. They are trained from their first row."""
    queue = client_of(base_dir).queue
    if failed == bool(names):
        raise WrongUsage("give either a NAME or --failed")
    if not must_admit:
        back = queue.retry_all(names) if names else queue.retry_failed()
    elif names and len(names) == 1:
        back = [queue.retry(names[0], must_admit=True)]
    else:
        raise WrongUsage("--admit needs one NAME; admit files one by one, after inspecting each")
    _show(back, as_json, [f"{shown} is queued again" for shown in back] or ["nothing to do"])


@app.command(epilog="Example:\n\n\b\n  training_queue unadmit chat.jsonl")
def unadmit(
    name: KnownName,
    base_dir: BaseDir = None,
    as_json: Json = False,
) -> None:
    """Take back that a file was admitted.

    Files with its content are checked again when they start. What was trained of it stays in the model.
    """
    shown = client_of(base_dir).queue.unadmit(name)
    then = "when a file with its content starts, it is checked like any other"
    _show({"name": shown}, as_json, [f"{shown} is no longer admitted: {then}"])


@app.command(epilog="Example:\n\n\b\n  training_queue remove chat.jsonl")
def remove(name: Name, base_dir: BaseDir = None, as_json: Json = False) -> None:
    """Take a waiting file out of the queue. It is moved to queue/skipped/, not deleted.

    While no daemon runs, this works for a file that was started, too.
    """
    shown = client_of(base_dir).queue.remove(name)
    _show({"name": shown, "moved_to": "queue/skipped"}, as_json, [f"{shown} is now in queue/skipped/"])


@app.command(
    epilog="Examples:\n\n\b\n"
    "  training_queue clear chat.jsonl\n"
    "  training_queue clear --failed --skipped --older-than 7d\n"
    "  training_queue list --trash               what was cleared away"
)
def clear(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME", help="Files in failed/ or skipped/; or failed/NAME.", autocompletion=_ended_names
        ),
    ] = None,
    failed: Annotated[bool, typer.Option("--failed", help="All files in failed/.")] = False,
    skipped: Annotated[bool, typer.Option("--skipped", help="All files in skipped/.")] = False,
    older_than: Annotated[
        str | None,
        typer.Option("--older-than", metavar="AGE", help="Only what ended longer ago, such as 12h or 7d."),
    ] = None,
    base_dir: BaseDir = None,
    as_json: Json = False,
) -> None:
    """Move failed or skipped files out of sight.

    They go to queue/.trash/ with their notes and stay there, unless disk.queue_trash_kept_s is set.
    `training_queue retry NAME` puts a file back. If you need the space, delete what you do not want yourself.
    """
    outcomes = _outcomes(failed, skipped)
    if bool(names) == bool(outcomes):
        raise WrongUsage("give either a NAME, or --failed, --skipped or both")
    if names and older_than is not None:
        raise WrongUsage("--older-than is for --failed and --skipped, not for a NAME")
    queue = client_of(base_dir).queue
    if names:
        cleared = queue.clear_files(names)
    else:
        age_s = seconds_of("--older-than", older_than)
        cleared = {outcome: queue.clear(outcome, older_than_s=age_s) for outcome in outcomes}
    if as_json:
        print(json.dumps({outcome.value: asdict(found) for outcome, found in cleared.items()}))
        return
    for line in cleared_lines(cleared):
        say(line)


def _show(value: object, as_json: bool, lines: Iterable[str]) -> None:
    if as_json:
        print(json.dumps(value))
    else:
        for line in lines:
            say(line)


def main() -> None:
    """Entry point."""
    gc.disable()  # with 100,000 files it takes half the time, and nothing here lives long enough to need it
    run(app)


if __name__ == "__main__":
    main()
