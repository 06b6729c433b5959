"""`training_data validate | report`: what a file looks like as training data, in the queue or outside."""

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from daemon.cli.data_files import In
from daemon.cli.options import HANGING, BaseDir, Json, WrongUsage, client_of, say
from daemon.cli.progress import progress_words
from trainer.protocol.text import printable

if TYPE_CHECKING:
    from daemon.client.results import FittingLength, ProposedLength
    from trainer.protocol.data_report import DataReport

app = typer.Typer()


@app.command(
    epilog="Examples:\n\n\b\n"
    "  training_data validate chat.jsonl\n"
    "  training_data validate chat.jsonl --deep\n"
    "  training_data validate chat.jsonl --auto-adjust         propose a limit\n"
    "  training_data validate chat.jsonl --auto-adjust --yes   and write it down"
)
def validate(
    file: In,
    deep: Annotated[
        bool, typer.Option("--deep", help="Inspect every row, and compare it with others.")
    ] = False,
    auto_adjust: Annotated[
        bool, typer.Option("--auto-adjust", help="Propose a data.max_length that fits the file.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Write what is proposed into config.json.")] = False,
    base_dir: BaseDir = None,
    as_json: Json = False,
) -> None:
    """Check a file as the worker would before training it. Exit code 1 if it would not be trained."""
    if yes and not auto_adjust:
        raise WrongUsage("--yes is for --auto-adjust; give both, or neither")
    client = client_of(base_dir)
    text, is_shown = f"inspecting {printable(file.name)}", sys.stderr.isatty() and not as_json
    with progress_words(text, is_shown=is_shown) as advance:
        report = client.data.inspect(file, deep=deep, on_progress=advance)
    adjusted = client.data.fit_max_length(report, writes=yes) if auto_adjust else None
    if as_json:
        length = asdict(adjusted) if adjusted else None
        print(json.dumps(report.model_dump(mode="json") | {"max_length_adjusted": length}, indent=2))
    else:
        name = client.data.name_in_queue(file)
        _show(report, is_in_queue=client.data.is_in_queue(file), queued_as=name)
        for line in _adjusted_lines(adjusted, was_inspected=report.tokens is not None):
            say(line)
    if report.is_blocked or (adjusted and adjusted.obstacle):
        raise typer.Exit(1)


@app.command(epilog="Example:\n\n\b\n  training_data report chat.jsonl")
def report(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A file that was started, or its job id.")],
    base_dir: BaseDir = None,
    as_json: Json = False,
) -> None:
    """Show what the worker found in a file before it was trained."""
    client = client_of(base_dir)
    _ = client.layout  # there are no reports where no daemon has ever run
    found = client.data.report(name)
    if as_json:
        print(json.dumps(found.model_dump(mode="json"), indent=2))
    else:
        _show(found, is_in_queue=True, others=client.data.other_jobs(found))


def _show(
    report: "DataReport", *, is_in_queue: bool, queued_as: str | None = None, others: tuple[str, ...] = ()
) -> None:
    from daemon.cli.report_view import report_lines

    for line in report_lines(report, is_in_queue=is_in_queue, queued_as=queued_as, others=others):
        say(line, indent=HANGING)


# ---- data.max_length


def _adjusted_lines(found: "FittingLength | ProposedLength | None", *, was_inspected: bool) -> Iterator[str]:
    if found is None:
        return
    yield ""
    if not was_inspected:
        yield f"data.max_length is {found.current:,}; no row was inspected, so nothing is proposed"
        return
    if found.proposed is None:
        yield f"data.max_length is {found.current:,}, which fits; nothing to change"
        return
    yield f"data.max_length: {found.current:,} -> {found.proposed:,} is proposed: {found.reason}"
    if found.obstacle:
        yield f"not written: {found.obstacle}"
    elif found.is_written:
        yield "written to config.json; it takes effect at the next file"
    else:
        yield "add --yes to write it into config.json"
