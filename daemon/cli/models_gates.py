"""The subcommand `training_models gates`: what the gate has found."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from daemon.cli.asking import show
from daemon.cli.options import BaseDir, Json, client_of, terminal_columns
from trainer.protocol.text import printable

if TYPE_CHECKING:
    from daemon.client.results import RecordedVerdict

app = typer.Typer()

SHOWN = 20
HEAD = f"{'JUDGED (UTC)':16}  {'OUTCOME':8}  {'STEPS':>19}  {'LOSS':>8}  {'T':>7}  FILES"
BESIDE_FILES = len(HEAD) - len("FILES")


@app.command(epilog="Examples:\n\n\b\n  training_models gates\n  training_models gates chat.jsonl --json")
def gates(
    file: Annotated[
        str | None, typer.Argument(metavar="FILE", help="Only verdicts on this file, or this job.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, help="Show the newest N.")] = SHOWN,
    base_dir: BaseDir = None,
    as_json: Json = False,
) -> None:
    """Show the gate's verdicts. Was the model worse after a file than before?"""
    verdicts = client_of(base_dir).history.gate_verdicts(file=file, limit=limit)
    document = [verdict.model_dump(mode="json") for verdict in verdicts]
    show(document, gate_lines(verdicts, file=file, columns=terminal_columns()), as_json=as_json)


def gate_lines(
    verdicts: "Sequence[RecordedVerdict]", *, file: str | None = None, columns: int | None
) -> Iterator[str]:
    """Yield a table of verdicts, the newest last, with the reasons of those that were not passed.

    Args:
        file: the only one that was asked about, as it was typed.
        columns: of the terminal, if it is one.
    """
    from daemon.cli.queue_view import shortened

    if not verdicts:
        what = "has judged nothing" if file is None else f"has not judged {printable(file)}"
        yield f"the gate {what} so far; it judges files with gate.enabled (docs/models/gate.md)"
        return
    yield HEAD
    for verdict in reversed(verdicts):
        steps = f"{verdict.from_step:,} to {verdict.global_step:,}"
        found = verdict.losses[0] if verdict.losses else None
        loss, t = (f"{found.increase:+.1%}", f"{found.t:.1f}") if found else ("-", "-")
        files = ", ".join(file.name for file in verdict.files)
        if columns:
            files = shortened(files, max(20, columns - BESIDE_FILES))
        at = verdict.at[:16].replace("T", " ")
        yield f"{at}  {verdict.outcome:8}  {steps:>19}  {loss:>8}  {t:>7}  {files}"
        if verdict.outcome != "passed":
            yield f"    {verdict.reason}"
