"""`training_models consolidate`: merge the adapter into its base model, and continue with a fresh one."""

import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from daemon.cli.asking import DryRun, Yes, explained_if_interrupted, is_meant, show
from daemon.cli.options import BaseDir, Json, client_of
from daemon.cli.progress import progress_words
from trainer.protocol.text import num_of, size_text

if TYPE_CHECKING:
    from daemon.client.results import ConsolidationPlan

app = typer.Typer()


@app.command(
    epilog="Examples:\n\n\b\n"
    "  training_models consolidate --dry-run     what it would do\n"
    "  training_models consolidate --yes"
)
def consolidate(
    yes: Yes = False,
    dry_run: DryRun = False,
    base_dir: BaseDir = None,
    as_json: Json = False,
) -> None:
    """Merge the adapter into its base model. Training continues with a fresh one."""
    client = client_of(base_dir)
    plan = client.consolidations.plan()
    shown = {"plan": asdict(plan), "result": None}
    if not is_meant(shown, plan_lines(plan), yes=yes, dry_run=dry_run, as_json=as_json):
        return
    is_shown = sys.stderr.isatty() and not as_json
    with (
        explained_if_interrupted(
            client,
            with_daemon="the daemon merges it all the same; training_controller logs shows when it has",
            without="the adapter is as it was, or merged: then training_models list has the state before",
        ),
        progress_words("merging the adapter", is_shown=is_shown) as advance,
    ):
        result = client.consolidations.carry_out(on_progress=advance)
    show({**shown, "result": result}, [result], as_json=as_json)


def plan_lines(plan: "ConsolidationPlan") -> Iterator[str]:
    """Yield what merging the adapter means."""
    yield f"the adapter of {plan.checkpoint} (step {plan.global_step:,}) is merged into {plan.base}, in fp32"
    needed = "room for all its weights in fp32" if plan.needed_bytes is None else size_text(plan.needed_bytes)
    free = size_text(plan.free_bytes)
    yield f"  the new base model in models/bases/ and a checkpoint need {needed}; {free} are free"
    yield "  the state before is kept as a version, to which training_models restore VERSION goes back"
    yield f"  training continues after step {plan.global_step:,} with a fresh adapter and a fresh optimizer"
    if plan.open_files:
        files = num_of(len(plan.open_files), "file")
        yield f"  {files} in training continue where they are: {', '.join(plan.open_files[:3])}"
    if plan.method == "qlora":
        yield "  they are rounded to 4 bits again; if the validation loss rises by that, nothing is done"
