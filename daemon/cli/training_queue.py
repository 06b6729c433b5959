"""The command `training_queue`: add files to the queue, list them, and move them. Needs no daemon."""

import gc
import json
import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from daemon.cli.options import BaseDir, CommandFailed, Json, client_of, run, terminal_columns, use_base_dir
from daemon.cli.queue_view import ROWS_SHOWN, finished_lines, queued_lines
from trainer.protocol.job import Outcome, Priority
from trainer.protocol.text import num_of

if TYPE_CHECKING:
    from daemon.client import Client
    from daemon.client.queue import AddedFile

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True)

Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME", help="As `training_queue list` shows it; high/NAME if several files have this name."
    ),
]


@app.callback()
def _training_queue(base_dir: BaseDir = None) -> None:
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
    _show(facts, as_json, [f"added {file.added_as} ({priority.value}){_origin(file)}" for file in added])


def _create_for(files: list[Path], client: "Client") -> None:
    """Make the folder a working directory, once it is clear that there is something to add."""
    from daemon.client.converted_copy import is_converted

    for file in files:
        is_converted(file)  # raises if it can neither be trained nor converted
    made = client.create()
    print(
        f"{made.base_dir} is now a working directory; start it: "
        f"training_daemon start --base-dir {made.base_dir}",
        file=sys.stderr,
    )


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
    base_dir: BaseDir = None,
    as_json: Json = False,
) -> None:
    """Show the files in the order of training."""
    queue = client_of(base_dir).queue
    limit = None if show_all or as_json else ROWS_SHOWN
    if outcomes := [Outcome.FAILED] * failed + [Outcome.SKIPPED] * skipped:
        finished, number = queue.finished(outcomes, limit=limit)
        _show(
            [file._asdict() for file in finished],
            as_json,
            finished_lines(finished, number, columns=terminal_columns()),
        )
        return
    files = queue.files()
    if as_json:
        print(json.dumps([file._asdict() for file in files]))
        return
    if dropped := queue.count_dropped():
        print(f"{dropped:,} more in inbox/, not taken in yet")
    for line in queued_lines(files[:limit], len(files), columns=terminal_columns()):
        print(line)


@app.command("status", epilog="Example:\n\n\b\n  training_queue status --json")
def show_status(base_dir: BaseDir = None, as_json: Json = False) -> None:
    """Count the files in each folder of the queue.

    Those waiting or in training are also counted by the format of their rows.
    """
    counts = asdict(client_of(base_dir).queue.counts())
    formats = counts.pop("formats")
    counts |= {f"format_{name}": count for name, count in formats.items()}
    _show(counts, as_json, [f"{name:24} {count:,}" for name, count in counts.items()])


@app.command("set-priority", epilog="Example:\n\n\b\n  training_queue set-priority chat.jsonl high")
def set_priority(
    name: Name,
    priority: Annotated[Priority, typer.Argument(help="high, normal or low.")],
    base_dir: BaseDir = None,
    as_json: Json = False,
) -> None:
    """Make a waiting file more or less urgent. Among files of one priority the oldest comes first."""
    shown = client_of(base_dir).queue.set_priority(name, priority)
    _show({"name": shown, "priority": priority.value}, as_json, [f"{shown}: {priority}"])


@app.command(
    epilog="Examples:\n\n\b\n"
    "  training_queue retry chat.jsonl\n"
    "  training_queue retry chat.jsonl --admit   train it whatever its data report says\n"
    "  training_queue retry --failed"
)
def retry(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="A file in failed/ or skipped/; or failed/NAME."),
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
    if failed == (name is not None):
        raise CommandFailed("give either a NAME or --failed")
    if must_admit and name is None:
        raise CommandFailed("--admit needs a NAME; admit files one by one, after inspecting each")
    back = queue.retry_failed() if name is None else [queue.retry(name, must_admit=must_admit)]
    _show(back, as_json, [f"{shown} is queued again" for shown in back] or ["nothing to do"])


@app.command(epilog="Example:\n\n\b\n  training_queue remove chat.jsonl")
def remove(name: Name, base_dir: BaseDir = None, as_json: Json = False) -> None:
    """Take a waiting file out of the queue. It is moved to queue/skipped/, not deleted.

    While no daemon runs, this works for a file that was started, too.
    """
    shown = client_of(base_dir).queue.remove(name)
    _show({"name": shown, "moved_to": "queue/skipped"}, as_json, [f"{shown} is now in queue/skipped/"])


def _show(value: object, as_json: bool, lines: Iterable[str]) -> None:
    for line in [json.dumps(value)] if as_json else lines:
        print(line)


def main() -> None:
    """Entry point."""
    gc.disable()  # with 100,000 files it takes half the time, and nothing here lives long enough to need it
    run(app)


if __name__ == "__main__":
    main()
