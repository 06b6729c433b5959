"""The command `training_models forget`: the model as if a file had never been there."""

import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from daemon.cli.asking import DryRun, Yes, explained_if_interrupted, is_meant, show
from daemon.cli.options import BaseDir, Json, client_of, say
from trainer.protocol.text import duration_text, num_of, printable

if TYPE_CHECKING:
    from daemon.client.results import ForgetPlan

app = typer.Typer()

LISTED = 10


@app.command(
    epilog="Examples:\n\n\b\n"
    "  training_models forget bad.jsonl --dry-run\n"
    "  training_models forget bad.jsonl\n"
    "  training_models forget 9f86d081 --yes --keep-versions"
)
def forget(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="Its name, the id of its job, or the start of its SHA-256.")
    ],
    keep_versions: Annotated[
        bool, typer.Option("--keep-versions", help="Keep the versions that have seen it.")
    ] = False,
    yes: Yes = False,
    dry_run: DryRun = False,
    base_dir: BaseDir = None,
    as_json: Json = False,
) -> None:
    """Forget a file. The model is trained again without it, and the file erased."""
    client = client_of(base_dir)
    plan = client.forgetting.plan(file, keep_versions=keep_versions)
    shown, is_possible = {"plan": asdict(plan)}, not plan.missing
    if not is_meant(
        shown, forget_lines(plan), yes=yes, dry_run=dry_run, as_json=as_json, is_possible=is_possible
    ):
        return
    name = plan.names[0]
    with explained_if_interrupted(
        client,
        with_daemon=f"the daemon continues to forget {name}; training_controller status shows how far it is",
        without=f"{name} is not forgotten yet; asked again, it continues at its last checkpoint",
    ):
        result = client.forgetting.carry_out(
            plan,
            reason=f"training_models forget {printable(file)}",
            keep_versions=keep_versions,
            on_progress=lambda line: None if as_json else say(printable(line), file=sys.stderr),
        )
    show({**shown, "result": result}, [result], as_json=as_json)


def forget_lines(plan: "ForgetPlan") -> Iterator[str]:
    """Yield what forgetting a file means."""
    names = ", ".join(plan.names[:LISTED])
    yield f"to be forgotten: {names} ({plan.sha256[:12]}), {num_of(len(plan.job_ids), 'job')}"
    if plan.missing:
        for why in plan.missing:
            yield f"  cannot be done: {why}"
        return
    yield from _training_lines(plan)
    if plan.is_in_training:
        yield "  a worker trains on it now, and saves first: more is trained again and erased than this says"
    elif plan.unsaved_steps and plan.first_step is not None:
        more = num_of(plan.unsaved_steps, "step")
        yield f"  a worker is training, and saves first: that is {more} more by now, to be trained again"
    if plan.new_plans:
        yield f"  had replayed rows of it, and replay others now: {_listed(plan.new_plans)}"
    if plan.unjudged:
        yield (
            f"  get no verdict of the gate any more, for which they wait: {_listed(plan.unjudged)} (with an "
            "empty queue they are judged)"
        )
    yield "  erased: the file itself wherever it lies in this folder, its flagged rows, and cached tokens"
    if plan.checkpoints:
        have = "has" if len(plan.checkpoints) == 1 else "have"
        yield f"  erased: {num_of(len(plan.checkpoints), 'checkpoint')} that {have} seen it"
    if plan.versions:
        have = "a version that has" if len(plan.versions) == 1 else "versions that have"
        yield f"  erased: {_listed(plan.versions)}, {have} seen it"
    if plan.bases:
        yield f"  erased: {_listed(plan.bases)} in models/bases, merged from what has seen it"
    if plan.aliases:
        what = "that alias means" if len(plan.aliases) == 1 else "these aliases mean"
        yield f"  {_listed(plan.aliases)}: {what} nothing afterwards"
    yield from _backup_lines(plan)
    for path in plan.others:
        yield f"  stays: {path}, rejected rows of another content of that name, to be removed by hand"
    yield f"  out of reach: {'' if plan.backup_to else 'backups, '}exports, deployments and other machines"
    for why in plan.inexact:
        yield f"  not exact to the last bit: {why}"


def _training_lines(plan: "ForgetPlan") -> Iterator[str]:
    if plan.first_step is None:
        if plan.is_forgotten:
            yield "  it was forgotten already; if anything is left of it, that is erased"
        elif not plan.is_in_training:
            yield "  the model was not trained on it, so nothing is trained again"
    else:
        where = f"models/{plan.base} (step {plan.base_step:,})" if plan.base else "the base model"
        duration = f", about {duration_text(plan.seconds)}" if plan.seconds is not None else ""
        yield f"  it first had a part in step {plan.first_step:,} of {plan.current_step:,}"
        if not plan.files:
            yield f"  the model goes back to {where}; nothing else was trained since"
            return
        again = "is trained again" if plan.files == 1 else "are trained again"
        yield (
            f"  from {where} on, {num_of(plan.files, 'file')} {again} without it: about "
            f"{num_of(plan.steps, 'step')}{duration}"
        )


def _backup_lines(plan: "ForgetPlan") -> Iterator[str]:
    where = printable(plan.backup_to or "")
    if plan.removed_backups:
        have = "has" if len(plan.removed_backups) == 1 else "have"
        yield f"  erased in {where}: {num_of(len(plan.removed_backups), 'backup')} that {have} seen it"
    if plan.cleaned_backups:
        yield f"  erased in {where}: the file, out of {num_of(len(plan.cleaned_backups), 'backup')}"
    if plan.backup_to and not plan.removed_backups and not plan.cleaned_backups:
        yield f"  no backup in {where} has it; if a disk belongs there, see that it is mounted"
    if plan.backups_problem:
        yield f"  the backups cannot be reached now, and keep it if that lasts: {plan.backups_problem}"


def _listed(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more
