"""`training_data flag`: flag rows to inspect, list them, export them to correct them."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from daemon.cli.data_files import Force
from daemon.cli.options import BaseDir, Json, WrongUsage, client_of, say
from trainer.protocol.text import num_of, printable

if TYPE_CHECKING:
    from daemon.client.flags import Flags

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
        str | None, typer.Argument(metavar="NAME", help="A file in the queue, or FOLDER/NAME.")
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
    """Flag a row to inspect later. Content and note go to status/flagged_examples.jsonl."""
    flags = client_of(base_dir).flags
    parts = {"NAME": name, "--row": row, "--note": note}
    missing = [part for part, value in parts.items() if value is None]
    if (len(missing) < len(parts)) + show_list + (export is not None) != 1:
        raise WrongUsage("give one of: NAME with --row and --note, --list, --export OUT")
    if show_list:
        _list(flags, as_json=as_json)
    elif export is not None:
        count, shown = flags.export(export, replace=force), printable(str(export))
        line = f"wrote {num_of(count, 'row')} to {shown}"
        print(json.dumps({"file": shown, "rows": count}) if as_json else line)
    elif name is None or row is None or note is None:
        are = "is" if len(missing) == 1 else "are"
        raise WrongUsage(f"{' and '.join(missing)} {are} missing; expected NAME, --row N and --note TEXT")
    else:
        entry = flags.add(name, row, note)
        shown = f"{entry.file}:{entry.line}"
        print(json.dumps({"flagged": shown}) if as_json else f"flagged {shown}; training is not affected")


def _list(flags: "Flags", *, as_json: bool) -> None:
    entries = flags.entries()
    if as_json:
        print(json.dumps([asdict(entry) for entry in entries]))
    elif not entries:
        say("nothing has been flagged")
    for entry in [] if as_json else entries:
        note = printable(entry.note, limit=NOTE_SHOWN)
        say(f"{entry.at}  {printable(entry.file)}:{entry.line}  {note}")
