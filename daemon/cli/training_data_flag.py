"""`training_data flag`: note rows that somebody should look at, list them, take them out to correct them."""

import dataclasses
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from daemon.cli.data_files import Force
from daemon.cli.options import BaseDir, CommandFailed, Json, layout_of, settings_in
from daemon.cli.queue_view import find_named
from daemon.data_tools.express import to_line
from daemon.data_tools.flagged import FILE_NAME, Flagged, add_flagged, read_flagged
from daemon.data_tools.reading import BadInput, DataFile
from daemon.data_tools.writing import BadOutput, new_file
from trainer.protocol.files import UnreadableFile
from trainer.protocol.job import Outcome, Priority
from trainer.protocol.layout import Layout
from trainer.protocol.text import printable, utc_text

app = typer.Typer()

NOTE_SHOWN = 80  # characters


@app.command(
    epilog="Examples:\n\n\b\n"
    "  training_data flag chat.jsonl --row 17 --note 'the answer is wrong'\n"
    "  training_data flag --list\n"
    "  training_data flag --export flagged.jsonl"
)
def flag(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="A file in the queue, or FOLDER/NAME.")
    ] = None,
    row: Annotated[
        int | None, typer.Option("--row", metavar="N", min=1, help="Its line in the file, counted from 1.")
    ] = None,
    note: Annotated[str | None, typer.Option("--note", metavar="TEXT", help="What is wrong with it.")] = None,
    show_list: Annotated[bool, typer.Option("--list", help="Show what has been flagged.")] = False,
    export: Annotated[
        Path | None, typer.Option("--export", metavar="OUT", help="Write the rows to a new JSONL file.")
    ] = None,
    force: Force = False,
    base_dir: BaseDir = None,
    as_json: Json = False,
) -> None:
    """Flag a row for a later look. Content and note go to status/flagged_examples.jsonl."""
    layout = layout_of(base_dir)
    if (name is not None) + show_list + (export is not None) != 1:
        raise CommandFailed("give one of: NAME with --row and --note, --list, --export OUT")
    with _as_failures():
        if show_list:
            _list(layout, as_json=as_json)
        elif export is not None:
            _export(layout, export, force=force, as_json=as_json)
        elif name is None or row is None or note is None:
            raise CommandFailed("--row or --note is missing; expected both beside NAME")
        else:
            _flag(layout, name, row, note, as_json=as_json)


@contextmanager
def _as_failures() -> Iterator[None]:
    try:
        yield
    except (BadInput, BadOutput, UnreadableFile) as error:
        raise CommandFailed(str(error)) from error


def _flag(layout: Layout, name: str, line: int, note: str, *, as_json: bool) -> None:
    path = _the_file(layout, name)
    found = DataFile(path, settings_in(layout).settings.data).row_at(line)
    place = printable(f"{path.parent.name}/{path.name}")
    entry = Flagged(at=utc_text(time.time()), file=place, line=line, note=note, row=json.loads(found.content))
    add_flagged(_file(layout), entry)
    shown = f"{place}:{line}"
    print(json.dumps({"flagged": shown}) if as_json else f"flagged {shown}; training goes on as before")


def _the_file(layout: Layout, name: str) -> Path:
    """Return the one file in the queue that is meant.

    Raises:
        CommandFailed: there is none, or there are several.
    """
    folders = [layout.processing, *map(layout.waiting, Priority), *map(layout.finished, Outcome)]
    found = find_named(folders, name)
    places = [printable(f"{path.parent.name}/{path.name}") for path in found]
    if not found:
        raise CommandFailed(
            f"no file in the queue is named {printable(name)}; training_queue list shows them"
        )
    if len(found) > 1:
        raise CommandFailed(f"{printable(name)} may be {' or '.join(places)}; say which, such as {places[0]}")
    return found[0]


def _list(layout: Layout, *, as_json: bool) -> None:
    entries = list(read_flagged(_file(layout)))
    if as_json:
        print(json.dumps([dataclasses.asdict(entry) for entry in entries]))
    elif not entries:
        print("nothing has been flagged")
    else:
        for entry in entries:
            note = printable(entry.note, limit=NOTE_SHOWN)
            print(f"{entry.at}  {printable(entry.file)}:{entry.line}  {note}")


def _export(layout: Layout, out: Path, *, force: bool, as_json: bool) -> None:
    """Write the rows as they were, each with what was noted under `flagged`, which training does not read."""
    count = 0
    with new_file(out, replace=force, inputs=[_file(layout)]) as target:
        for entry in read_flagged(_file(layout)):
            count += 1
            noted = {"at": entry.at, "file": entry.file, "line": entry.line, "note": entry.note}
            target.write(to_line(entry.row | {"flagged": noted}))
        if not count:
            raise CommandFailed("nothing has been flagged, so there is nothing to write")
    shown = printable(str(out))
    print(json.dumps({"file": shown, "rows": count}) if as_json else f"wrote {count:,} rows to {shown}")


def _file(layout: Layout) -> Path:
    return layout.status / FILE_NAME
