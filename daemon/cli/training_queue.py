"""The command `training_queue`: put files into the queue, see them, move them. Needs no daemon."""

import json
import time
from pathlib import Path
from typing import Annotated

import typer

from daemon.cli.options import BaseDir, CommandFailed, Json, layout_of, run, use_base_dir
from daemon.cli.queue_view import QueuedFile, find_file, finished_files, queued_files
from daemon.folder import REASON_SUFFIX, note_beside
from daemon.intake import find_files
from daemon.job_queue import write_reason
from daemon.settling import is_training_file
from trainer.protocol.files import UnreadableFile, copy_durably, move_durably, read_json
from trainer.protocol.job import FaultKind, Outcome, Priority, Reason
from trainer.protocol.layout import Layout
from trainer.protocol.text import printable, utc_text

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True)

ROWS_SHOWN = 50

Name = Annotated[
    str, typer.Argument(metavar="NAME", help="A file's name, as `training_queue list` shows it.")
]


@app.callback()
def _training_queue(base_dir: BaseDir = None) -> None:
    """Put files into the queue, see them, and move them about."""
    use_base_dir(base_dir)


@app.command(epilog="Example:\n\n\b\n  training_queue add corrections.jsonl --priority high")
def add(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="JSONL files; they stay where they are.")
    ],
    priority: Annotated[Priority, typer.Option("--priority", help="How urgent they are.")] = Priority.NORMAL,
    base_dir: BaseDir = None,
    as_json: Json = False,
) -> None:
    """Copy files into the inbox. Your own copies are never touched."""
    layout = layout_of(base_dir)
    for file in files:
        if not file.is_file():
            raise CommandFailed(f"{_shown(file)} is not a file; nothing was added")
        if not is_training_file(file.name):
            raise CommandFailed(f"{_shown(file)}: expected a name that ends in .jsonl; nothing was added")
    added = []
    for file in files:
        copy = copy_durably(file.resolve(), layout.inbox / priority.value, file.name)
        added.append({"file": _shown(file), "added_as": printable(copy.name), "priority": priority.value})
    _tell(added, as_json, [f"added {item['added_as']} ({priority.value})" for item in added])


@app.command(
    "list",
    epilog="Examples:\n\n\b\n  training_queue list\n  training_queue list --all --json",
)
def list_files(
    show_all: Annotated[
        bool, typer.Option("--all", help=f"Show every file, not only the first {ROWS_SHOWN}.")
    ] = False,
    base_dir: BaseDir = None,
    as_json: Json = False,
) -> None:
    """Show the files in the order in which they will be trained."""
    layout = layout_of(base_dir)
    files = queued_files(layout)
    if as_json:
        print(json.dumps([file._asdict() for file in files]))
        return
    if dropped := sum(is_training_file(path.name) for path in find_files(layout.inbox)):
        print(f"{dropped:,} more in inbox/, not taken in yet")
    if not files:
        print("the queue is empty")
        return
    _print_table(files if show_all else files[:ROWS_SHOWN])
    if len(files) > ROWS_SHOWN and not show_all:
        print(f"… and {len(files) - ROWS_SHOWN:,} more (--all shows them)")


@app.command("status", epilog="Example:\n\n\b\n  training_queue status --json")
def show_status(base_dir: BaseDir = None, as_json: Json = False) -> None:
    """Count the files in each folder of the queue."""
    layout = layout_of(base_dir)
    files = queued_files(layout)
    counts = {priority.value: sum(_waits(file, priority) for file in files) for priority in Priority}
    counts["processing"] = sum(file.state == "processing" for file in files)
    for outcome in Outcome:
        counts[layout.finished(outcome).name] = len(finished_files(layout, outcome))
    _tell(counts, as_json, [f"{name:20} {count:,}" for name, count in counts.items()])


@app.command("set-priority", epilog="Example:\n\n\b\n  training_queue set-priority chat.jsonl high")
def set_priority(
    name: Name,
    priority: Annotated[Priority, typer.Argument(help="high, normal or low.")],
    base_dir: BaseDir = None,
    as_json: Json = False,
) -> None:
    """Make a waiting file more or less urgent. It keeps its place among files of that priority by arrival."""
    layout = layout_of(base_dir)
    path = _waiting_file(layout, name)
    if path.parent != layout.waiting(priority):
        path = _move(path, layout.waiting(priority))
    _tell(
        {"name": printable(path.name), "priority": priority.value},
        as_json,
        [f"{printable(path.name)}: {priority}"],
    )


@app.command(epilog="Examples:\n\n\b\n  training_queue retry chat.jsonl\n  training_queue retry --failed")
def retry(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="A file in failed/ or skipped/.")
    ] = None,
    failed: Annotated[bool, typer.Option("--failed", help="Every file in failed/.")] = False,
    base_dir: BaseDir = None,
    as_json: Json = False,
) -> None:
    """Put files back that failed or were skipped. They are trained from their first row."""
    layout = layout_of(base_dir)
    folders = [layout.finished(Outcome.FAILED), layout.finished(Outcome.SKIPPED)]
    if failed == (name is not None):
        raise CommandFailed("give either a NAME or --failed")
    if name is not None:
        path = find_file(folders, name)
        if path is None:
            raise CommandFailed(f"no file named {printable(name)} in queue/failed/ or queue/skipped/")
        paths = [path]
    else:
        paths = [folders[0] / found for found in finished_files(layout, Outcome.FAILED)]
    back = [_put_back(layout, path) for path in paths]
    _tell(
        [printable(path.name) for path in back],
        as_json,
        [f"{printable(path.name)} waits again" for path in back],
    )


@app.command(epilog="Example:\n\n\b\n  training_queue remove chat.jsonl")
def remove(name: Name, base_dir: BaseDir = None, as_json: Json = False) -> None:
    """Take a waiting file out of the queue. It is moved to queue/skipped/, not deleted."""
    layout = layout_of(base_dir)
    path = _waiting_file(layout, name)
    target = _move(path, layout.finished(Outcome.SKIPPED))
    reason = Reason(
        kind=FaultKind.REQUEST,
        message="removed with training_queue",
        file=printable(target.name),
        at=utc_text(time.time()),
        priority=Priority(path.parent.name),
    )
    write_reason(target, reason)
    shown = printable(target.name)
    _tell({"name": shown, "moved_to": "queue/skipped"}, as_json, [f"{shown} is in queue/skipped/ now"])


def _waits(file: QueuedFile, priority: Priority) -> bool:
    return file.state != "processing" and file.priority == priority.value


def _waiting_file(layout: Layout, name: str) -> Path:
    if path := find_file([layout.waiting(priority) for priority in Priority], name):
        return path
    if find_file([layout.processing], name):
        raise CommandFailed(f"{printable(name)} is being trained; to put it aside: training_controller skip")
    raise CommandFailed(f"no file named {printable(name)} waits in the queue; training_queue list shows them")


def _put_back(layout: Layout, path: Path) -> Path:
    note = note_beside(path, REASON_SUFFIX)
    try:
        priority = Priority(read_json(note)["priority"])
    except (OSError, UnreadableFile, KeyError, TypeError, ValueError):
        priority = Priority.NORMAL
    target = _move(path, layout.waiting(priority))
    note.unlink(missing_ok=True)  # its content stays in the ledger
    return target


def _move(path: Path, folder: Path) -> Path:
    try:
        return move_durably(path, folder)
    except FileNotFoundError as error:
        raise CommandFailed(
            f"{_shown(path)} has just been taken by the daemon; nothing was changed"
        ) from error


def _print_table(files: list[QueuedFile]) -> None:
    width = min(60, max(len(file.name) for file in files))
    print(f"{'FILE':{width}}  {'STATE':10}  {'PRIORITY':8}  {'ROWS':>10}")
    for file in files:
        rows = f"{file.rows:,}" if file.rows is not None else "-"
        print(f"{file.name:{width}}  {file.state:10}  {file.priority or '-':8}  {rows:>10}")


def _tell(value: object, as_json: bool, lines: list[str]) -> None:
    if as_json:
        print(json.dumps(value))
    else:
        print("\n".join(lines) if lines else "nothing to do")


def _shown(path: Path) -> str:
    return printable(str(path))


def main() -> None:
    """Entry point."""
    run(app)


if __name__ == "__main__":
    main()
