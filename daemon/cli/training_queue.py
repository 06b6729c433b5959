"""The command `training_queue`: put files into the queue, see them, move them. Needs no daemon."""

import gc
import json
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from daemon.cli.options import BaseDir, CommandFailed, Json, layout_of, run, use_base_dir
from daemon.cli.queue_view import (
    FinishedFile,
    QueuedFile,
    find_named,
    finished_file,
    finished_names,
    queued_files,
)
from daemon.files.names import TRAINING_SUFFIXES, is_training_file
from daemon.files.notes import REASON_SUFFIX, note_beside
from daemon.intake.inbox import find_files
from daemon.jobs.admission import admit
from daemon.jobs.reasons import refusal_at_intake, write_reason
from daemon.status.reader import read_status
from trainer.protocol.files import UnreadableFile, copy_durably, move_durably, read_json
from trainer.protocol.job import FaultKind, Outcome, Priority, Reason
from trainer.protocol.layout import Layout
from trainer.protocol.text import printable, utc_text

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True)

ROWS_SHOWN = 50
SUFFIXES = " or ".join(TRAINING_SUFFIXES)

Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME", help="As `training_queue list` shows it; high/NAME if several files are called so."
    ),
]


@app.callback()
def _training_queue(base_dir: BaseDir = None) -> None:
    """Put files into the queue, see them, and move them about."""
    use_base_dir(base_dir)


@app.command(epilog="Example:\n\n\b\n  training_queue add corrections.jsonl --priority high")
def add(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="JSONL files, packed or not; they stay where they are."),
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
            raise CommandFailed(f"{_shown(file)}: expected a name that ends in {SUFFIXES}; nothing was added")
    added = []
    for file in files:
        copy = copy_durably(file.resolve(), layout.inbox / priority.value, file.name)
        added.append({"file": _shown(file), "added_as": printable(copy.name), "priority": priority.value})
    _tell(added, as_json, [f"added {item['added_as']} ({priority.value})" for item in added])


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
    layout = layout_of(base_dir)
    wanted = [Outcome.FAILED] * failed + [Outcome.SKIPPED] * skipped
    if wanted:
        _list_finished(layout, wanted, show_all=show_all, as_json=as_json)
        return
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
    _tell_of_more(len(files), show_all=show_all)


@app.command("status", epilog="Example:\n\n\b\n  training_queue status --json")
def show_status(base_dir: BaseDir = None, as_json: Json = False) -> None:
    """Count the files in each folder of the queue.

    Those that wait or are trained are also counted by the format of their rows.
    """
    layout = layout_of(base_dir)
    files = queued_files(layout)
    counts = {priority.value: sum(_waits(file, priority) for file in files) for priority in Priority}
    counts["processing"] = sum(_is_begun(file) for file in files)
    for outcome in Outcome:
        counts[layout.finished(outcome).name] = len(finished_names(layout, outcome))
    formats = Counter(f"format_{file.format}" for file in files if file.format)
    counts |= dict(sorted(formats.items()))
    _tell(counts, as_json, [f"{name:24} {count:,}" for name, count in counts.items()])


@app.command("set-priority", epilog="Example:\n\n\b\n  training_queue set-priority chat.jsonl high")
def set_priority(
    name: Name,
    priority: Annotated[Priority, typer.Argument(help="high, normal or low.")],
    base_dir: BaseDir = None,
    as_json: Json = False,
) -> None:
    """Make a waiting file more or less urgent. Among files of one priority the oldest comes first."""
    layout = layout_of(base_dir)
    path = _waiting_file(layout, name)
    if path.parent != layout.waiting(priority):
        path = _move(path, layout.waiting(priority))
    _tell(
        {"name": printable(path.name), "priority": priority.value},
        as_json,
        [f"{printable(path.name)}: {priority}"],
    )


@app.command(
    epilog="Examples:\n\n\b\n"
    "  training_queue retry chat.jsonl\n"
    "  training_queue retry chat.jsonl --admit   train it whatever its data report says\n"
    "  training_queue retry --failed"
)
def retry(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="A file in failed/ or skipped/; or failed/NAME."),
    ] = None,
    failed: Annotated[bool, typer.Option("--failed", help="Every file in failed/.")] = False,
    must_admit: Annotated[
        bool,
        typer.Option("--admit", help="Train it although too much of it is too long, or nothing to learn."),
    ] = False,
    base_dir: BaseDir = None,
    as_json: Json = False,
) -> None:
    """Put files back that failed or were skipped. They are trained from their first row."""
    layout = layout_of(base_dir)
    folders = [layout.finished(Outcome.FAILED), layout.finished(Outcome.SKIPPED)]
    if failed == (name is not None):
        raise CommandFailed("give either a NAME or --failed")
    if must_admit and name is None:
        raise CommandFailed("--admit needs a NAME; admit files one by one, so that each was looked at")
    if name is not None:
        paths = [_the_file(layout, folders, name)]
    else:
        paths = [folders[0] / found for found in finished_names(layout, Outcome.FAILED)]
    if must_admit:
        _admit(layout, paths[0])
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


def _is_begun(file: QueuedFile) -> bool:
    return file.state in ("processing", "saving")


def _waits(file: QueuedFile, priority: Priority) -> bool:
    return not _is_begun(file) and file.priority == priority.value


# ---- which file is meant


def _waiting_file(layout: Layout, name: str) -> Path:
    return _the_file(layout, [layout.waiting(priority) for priority in Priority], name)


def _the_file(layout: Layout, folders: Sequence[Path], name: str) -> Path:
    """Return the one file in `folders` that is meant by `name`.

    Raises:
        CommandFailed: there is none, or there are several.
    """
    found = find_named(folders, name)
    if len(found) == 1:
        return found[0]
    if found:
        places = " and ".join(map(_place, found))
        raise CommandFailed(f"{printable(name)} may be {places}; say which, such as {_place(found[0])}")
    waiting = [layout.waiting(priority) for priority in Priority]
    finished = [layout.finished(outcome) for outcome in (Outcome.FAILED, Outcome.SKIPPED, Outcome.COMPLETED)]
    if elsewhere := find_named([layout.processing, *waiting, *finished], name):
        raise CommandFailed(_what_to_do(layout, elsewhere[0]))
    places = ", ".join(f"queue/{folder.name}/" for folder in folders)
    raise CommandFailed(f"no file is named {printable(name)} in {places}; training_queue list shows them")


def _what_to_do(layout: Layout, path: Path) -> str:
    """Say why a command cannot be done to the file in this place, and what can be."""
    place = _place(path)
    if path.parent == layout.processing:
        return _what_to_do_while_processed(layout, path)
    if path.parent == layout.finished(Outcome.COMPLETED):
        return (
            f"{place} has been trained; to retry it, add a copy: "
            f"training_queue add {layout.base}/queue/{place}"
        )
    if path.parent in (layout.finished(Outcome.FAILED), layout.finished(Outcome.SKIPPED)):
        return f"{place} does not wait any more; to put it back: training_queue retry {place}"
    return f"{place} waits already; nothing was changed"


def _what_to_do_while_processed(layout: Layout, path: Path) -> str:
    shown = printable(path.name)
    if not read_status(layout).is_running:
        return f"{shown} has been begun, and goes on when a daemon runs; start one with: training_daemon"
    begun = [file for file in queued_files(layout) if _is_begun(file)]
    if any(file.name == shown and file.state == "saving" for file in begun):
        return f"{shown} is trained to its end and waits for its checkpoint; wait for it"
    in_training = next((file.name for file in begun if file.state == "processing"), None)
    if shown == in_training:
        return f"{shown} is being trained; to put it aside: training_controller skip"
    return f"{shown} has been begun, and goes on after {in_training}; wait until it is its turn"


def _place(path: Path) -> str:
    return printable(f"{path.parent.name}/{path.name}")


# ---- moving and showing


def _admit(layout: Layout, path: Path) -> None:
    if path.is_symlink() or not path.is_file():  # reading a pipe would wait for its writer
        raise CommandFailed(f"{_shown(path)} is not a regular file, so it cannot be admitted; add a copy")
    if refusal := refusal_at_intake(path):
        raise CommandFailed(
            f"{_place(path)} was refused before its rows were looked at, so it cannot be admitted: "
            f"{printable(refusal)}; correct the file or the setting, then retry it without --admit"
        )
    admit(layout, path)


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


def _list_finished(layout: Layout, outcomes: list[Outcome], *, show_all: bool, as_json: bool) -> None:
    names = [(outcome, name) for outcome in outcomes for name in finished_names(layout, outcome)]
    shown = names if show_all or as_json else names[:ROWS_SHOWN]
    files = [finished_file(layout, outcome, name) for outcome, name in shown]
    if as_json:
        print(json.dumps([file._asdict() for file in files]))
    elif not files:
        print("there are none")
    else:
        _print_reasons(files)
        _tell_of_more(len(names), show_all=show_all)


def _print_reasons(files: list[FinishedFile]) -> None:
    width = _name_width([file.name for file in files])
    print(f"{'FILE':{width}}  {'STATE':7}  REASON")
    for file in files:
        print(f"{file.name:{width}}  {file.state:7}  {file.reason or '-'}")


def _print_table(files: list[QueuedFile]) -> None:
    width = _name_width([file.name for file in files])
    print(f"{'FILE':{width}}  {'STATE':10}  {'PRIORITY':8}  {'ROWS':>10}  FORMAT")
    for file in files:
        rows = f"{file.rows:,}" if file.rows is not None else "-"
        place = f"{file.state:10}  {file.priority or '-':8}"
        print(f"{file.name:{width}}  {place}  {rows:>10}  {file.format or '-'}")


def _name_width(names: list[str]) -> int:
    return min(60, max(len("FILE"), *map(len, names)))


def _tell_of_more(number: int, *, show_all: bool) -> None:
    if number > ROWS_SHOWN and not show_all:
        print(f"… and {number - ROWS_SHOWN:,} more (--all shows them)")


def _tell(value: object, as_json: bool, lines: list[str]) -> None:
    if as_json:
        print(json.dumps(value))
    else:
        print("\n".join(lines) if lines else "nothing to do")


def _shown(path: Path) -> str:
    return printable(str(path))


def main() -> None:
    """Entry point."""
    gc.disable()  # with 100,000 files it takes half the time, and nothing here lives long enough to need it
    run(app)


if __name__ == "__main__":
    main()
