"""The subcommands `training_models rollback` and `restore`: let the model go back, and forward again."""

import sys
from dataclasses import asdict
from typing import Annotated

import typer

from daemon.cli.asking import DryRun, Yes, explained_if_interrupted, is_meant, show
from daemon.cli.models_options import VersionName, offered_files, offered_versions
from daemon.cli.options import BaseDir, CommandFailed, Json, client_of, say

app = typer.Typer()

Requeued = Annotated[bool, typer.Option("--requeue", help="Train again what is undone of the files.")]
Without = Annotated[
    list[str] | None,
    typer.Option(
        "--without",
        metavar="FILE",
        help="With --requeue: all but this file. May be repeated.",
        autocompletion=offered_files,
    ),
]


@app.command(
    epilog="Examples:\n\n\b\n"
    "  training_models rollback --to v003\n"
    "  training_models rollback --file bad.jsonl           to before its first step\n"
    "  training_models rollback --file bad.jsonl --requeue --without bad.jsonl\n"
    "  training_models rollback --steps 500"
)
def rollback(
    to: Annotated[
        str | None,
        typer.Option(
            "--to", metavar="VERSION", help="Go back to a version.", autocompletion=offered_versions
        ),
    ] = None,
    file: Annotated[
        str | None,
        typer.Option(
            "--file",
            metavar="FILE",
            help="Go back to before its first step; of one trained more than once, that of the last time. "
            "Also a job id.",
            autocompletion=offered_files,
        ),
    ] = None,
    steps: Annotated[
        int | None, typer.Option("--steps", metavar="N", min=1, help="Go back by at least N steps.")
    ] = None,
    requeue: Requeued = False,
    without: Without = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    base_dir: BaseDir = None,
    as_json: Json = False,
) -> None:
    """Let the model go back to an earlier state. The present one is kept as long as its checkpoints are."""
    if sum(value is not None for value in (to, file, steps)) != 1:
        raise CommandFailed("expected one of --to, --file and --steps")
    if without and not requeue:
        raise CommandFailed("--without needs --requeue: without it, no file is trained again")
    client = client_of(base_dir)
    from daemon.cli.models_view import rollback_lines
    from daemon.client.rollback import Requeue

    wanted = Requeue(is_wanted=requeue, without=tuple(without or ()))
    if to is not None:
        plan = client.rollbacks.plan_to(client.models.find(to), wanted)
    elif file is not None:
        plan = client.rollbacks.plan_file(file, wanted)
    else:
        plan = client.rollbacks.plan_steps(steps or 0, wanted)
    shown = {"plan": asdict(plan)}
    if not is_meant(shown, rollback_lines(plan), yes=yes, dry_run=dry_run, as_json=as_json):
        return
    reason = f"training_models rollback to {plan.target}"
    if client.status().is_running and not as_json:
        say("the daemon does it at the next step; how far it is: training_controller status", file=sys.stderr)
    with explained_if_interrupted(
        client,
        with_daemon="the daemon goes back all the same; training_controller status shows when it has",
        without="the model has gone back or is as it was; training_controller status shows its step",
    ):
        result = client.rollbacks.carry_out(plan, reason=reason, requeue=wanted)
    show({"result": result, **shown}, [result], as_json=as_json)


@app.command(epilog="Example:\n\n\b\n  training_models restore v003")
def restore(
    name: VersionName,
    yes: Yes = False,
    dry_run: DryRun = False,
    base_dir: BaseDir = None,
    as_json: Json = False,
) -> None:
    """Let the model go back to a version, or forward. The same as `rollback --to`."""
    rollback(to=name, yes=yes, dry_run=dry_run, base_dir=base_dir, as_json=as_json)
