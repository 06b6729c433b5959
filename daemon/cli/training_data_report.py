"""`training_data validate | report`: what a file looks like as training data, in the queue or before."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from daemon.cli.data_files import In
from daemon.cli.options import BaseDir, CommandFailed, Json, any_layout_of, layout_of, settings_in
from trainer.protocol.layout import Layout
from trainer.protocol.text import printable

if TYPE_CHECKING:
    from trainer.config.loader import Effective
    from trainer.protocol.data_report import DataReport

app = typer.Typer()

INSPECTION = "trainer.mains.inspect_file"


@app.command(
    epilog="Examples:\n\n\b\n"
    "  training_data validate chat.jsonl\n"
    "  training_data validate chat.jsonl --deep\n"
    "  training_data validate chat.jsonl --auto-adjust          propose a data.max_length that fits\n"
    "  training_data validate chat.jsonl --auto-adjust --yes    and write it into config.json"
)
def validate(
    file: In,
    deep: Annotated[
        bool, typer.Option("--deep", help="Look at every row, and compare it with others.")
    ] = False,
    auto_adjust: Annotated[
        bool, typer.Option("--auto-adjust", help="Propose a data.max_length that fits the file.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Write what is proposed into config.json.")] = False,
    base_dir: BaseDir = None,
    as_json: Json = False,
) -> None:
    """Look at a file as the worker would before training it. Exit code 1 if it would not be trained."""
    if yes and not auto_adjust:
        raise CommandFailed("--yes is for --auto-adjust; give both, or neither")
    layout = any_layout_of(base_dir)
    effective = settings_in(layout)
    report = _inspect(layout, file, effective, deep=deep, shows_progress=sys.stderr.isatty() and not as_json)
    adjusted = _adjust(layout, report, effective, writes=yes) if auto_adjust else {}
    if as_json:
        print(
            json.dumps(report.model_dump(mode="json") | {"max_length_adjusted": adjusted or None}, indent=2)
        )
    else:
        _show(report, is_in_queue=file.resolve().is_relative_to(layout.queue.resolve()))
        for line in _adjusted_lines(adjusted):
            print(line)
    if report.is_blocked or adjusted.get("obstacle"):
        raise typer.Exit(1)


@app.command(epilog="Example:\n\n\b\n  training_data report chat.jsonl")
def report(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A file that was begun, or was refused.")],
    base_dir: BaseDir = None,
    as_json: Json = False,
) -> None:
    """Show what the worker found in a file before it was trained."""
    from daemon.status.data_reports import read_report
    from trainer.protocol.files import UnreadableFile

    layout = layout_of(base_dir)
    try:
        found = read_report(layout, name.rpartition("/")[2])
    except FileNotFoundError as error:
        raise CommandFailed(
            f"there is no report on {printable(name)}; a file has one once its turn has come, unless "
            "data.validation is quick; to look at one now: training_data validate FILE"
        ) from error
    except UnreadableFile as error:
        raise CommandFailed(str(error)) from error
    if as_json:
        print(json.dumps(found.model_dump(mode="json"), indent=2))
    else:
        _show(found, is_in_queue=True)


def _show(report: "DataReport", *, is_in_queue: bool) -> None:
    from daemon.status.data_reports import report_lines

    for line in report_lines(report, is_in_queue=is_in_queue):
        print(line)


def _inspect(
    layout: Layout, file: Path, effective: "Effective", *, deep: bool, shows_progress: bool
) -> "DataReport":
    from daemon.client.helper_process import HelperFailed, ask
    from trainer.protocol.data_report import DataReport, InspectionOrder

    if not file.is_file():
        raise CommandFailed(f"{printable(str(file))} is not a file; expected one with rows")
    order = InspectionOrder(
        file=str(file.resolve()),
        settings=effective.settings.model_dump(mode="json"),
        base=str(layout.base),
        deep=deep,
    )
    with progress_words(f"looking at {printable(file.name)}", is_shown=shows_progress) as tell:
        try:
            return ask(INSPECTION, order, DataReport, tell=tell)
        except HelperFailed as error:
            raise CommandFailed(str(error), exit_code=error.exit_code) from error


@contextmanager
def progress_words(text: str, *, is_shown: bool) -> Iterator[Callable[[str], None]]:
    """Yield a function that is told in words how far something is."""
    if not is_shown:
        yield lambda words: None
        return
    from rich.console import Console
    from rich.text import Text

    with Console(stderr=True).status(Text(text)) as status:
        yield lambda words: status.update(Text(f"{text}: {words}"))


# ---- data.max_length


def _adjust(layout: Layout, report: "DataReport", effective: "Effective", *, writes: bool) -> dict[str, Any]:
    """Propose a length, and write it if that is wanted; return what was done as facts for programs."""
    from daemon.settings.fitting_length import CannotAdjust, model_limit, propose, refuse_locked, write_length

    current = effective.settings.data.max_length
    limit = model_limit(layout, effective.settings.model.base_model)
    proposal = propose(report.tokens, current=current, model_limit=limit) if report.tokens else None
    facts: dict[str, Any] = {"current": current, "proposed": None, "is_written": False, "obstacle": None}
    if proposal is None:
        return facts
    facts |= {"proposed": proposal.length, "reason": proposal.reason}
    try:
        refuse_locked(layout, proposal.length)
        if writes:
            write_length(layout, effective, proposal.length)
            facts["is_written"] = True
    except CannotAdjust as error:
        facts["obstacle"] = str(error)
    return facts


def _adjusted_lines(facts: dict[str, Any]) -> Iterator[str]:
    if not facts:
        return
    yield ""
    if facts["proposed"] is None:
        yield f"data.max_length is {facts['current']:,}, which fits; nothing to change"
        return
    yield f"data.max_length: {facts['current']:,} -> {facts['proposed']:,} would fit: {facts['reason']}"
    if facts["obstacle"]:
        yield f"not written: {facts['obstacle']}"
    elif facts["is_written"]:
        yield "written to config.json; it is in force from the next file on"
    else:
        yield "add --yes to write it into config.json"
