"""The command `training_models`: versions of the model, what made them, and what differs between them."""

import json
from collections.abc import Iterable
from dataclasses import asdict
from typing import Annotated

import typer

from daemon.cli import models_backup, models_compare, models_consolidate, models_disk, models_report
from daemon.cli.models_forget import FORGET_EXAMPLES, forget
from daemon.cli.models_gates import gates
from daemon.cli.options import (
    BaseDir,
    CommandFailed,
    Json,
    Version,
    client_of,
    completing,
    run,
    terminal_columns,
    use_base_dir,
)
from daemon.client.offered_versions import (
    alias_names,
    checkpoint_names,
    deleted_names,
    trained_names,
    version_names,
)
from trainer.protocol.text import printable

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True)
app.add_typer(models_compare.app)
app.add_typer(models_consolidate.app)
app.add_typer(models_report.app)
app.add_typer(models_backup.app, name="backup")


def _version_names(ctx: typer.Context, incomplete: str) -> list[str]:
    return version_names(completing(ctx), incomplete)


def _versions_and_files(ctx: typer.Context, incomplete: str) -> list[str]:
    layout = completing(ctx)
    return [*version_names(layout, incomplete), *trained_names(layout, incomplete)]


def _files(ctx: typer.Context, incomplete: str) -> list[str]:
    return trained_names(completing(ctx), incomplete)


def _aliases(ctx: typer.Context, incomplete: str) -> list[str]:
    return alias_names(completing(ctx), incomplete)


def _checkpoints(ctx: typer.Context, incomplete: str) -> list[str]:
    return checkpoint_names(completing(ctx), incomplete)


def _deleted(ctx: typer.Context, incomplete: str) -> list[str]:
    return deleted_names(completing(ctx), incomplete)


Name = Annotated[
    str,
    typer.Argument(
        metavar="VERSION",
        help="Its id, such as v003, an alias, latest, or current.",
        autocompletion=_version_names,
    ),
]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show what would be done.")]


@app.callback()
def _training_models(base_dir: BaseDir = None, version: Version = False) -> None:
    """Keep versions of the model, compare them, and go back."""
    use_base_dir(base_dir)


@app.command("list", epilog="Example:\n\n\b\n  training_models list")
def list_versions(base_dir: BaseDir = None, as_json: Json = False) -> None:
    """List the versions of the model, oldest first."""
    models = client_of(base_dir).models
    versions, damaged = models.versions(), models.damaged()
    from daemon.cli.models_view import list_lines

    if as_json:
        found = {"versions": [asdict(version) for version in versions], "damaged": damaged}
        print(json.dumps(found, indent=2))
    else:
        _print(list_lines(versions, damaged, columns=terminal_columns()))


@app.command(epilog="Examples:\n\n\b\n  training_models show v003\n  training_models show deployed")
def show(name: Name, base_dir: BaseDir = None, as_json: Json = False) -> None:
    """Show everything about a version."""
    version = client_of(base_dir).models.find(name)
    from daemon.cli.models_view import version_json, version_lines

    if as_json:
        print(json.dumps(version_json(version), indent=2))
    else:
        _print(version_lines(version))


@app.command(
    epilog="Examples:\n\n\b\n"
    "  training_models create --note 'before the holidays'\n"
    "  training_models create step-000001200"
)
def create(
    checkpoint: Annotated[
        str,
        typer.Argument(
            metavar="CHECKPOINT",
            help="As `training_health verify` shows it.",
            autocompletion=_checkpoints,
        ),
    ] = "current",
    note: Annotated[str | None, typer.Option("--note", metavar="TEXT", help="What it is for.")] = None,
    base_dir: BaseDir = None,
    as_json: Json = False,
) -> None:
    """Make a version of the newest checkpoint, or of an older one."""
    version, is_new = client_of(base_dir).models.create(checkpoint, note=note)
    already = "" if is_new else " (it was made before)"
    step = f"step {version.record.global_step:,} of the model"
    _show(
        {"version": version.id, "path": str(version.path), "is_new": is_new},
        f"{version.id}: {step}{already}; load it from {version.path}",
        as_json=as_json,
    )


@app.command(epilog="Example:\n\n\b\n  training_models note v003 'answers in French too'")
def note(
    name: Name,
    text: Annotated[str, typer.Argument(metavar="TEXT")],
    base_dir: BaseDir = None,
    as_json: Json = False,
) -> None:
    """Add a note to a version."""
    models = client_of(base_dir).models
    version = models.find(name)
    models.note(version, text)
    _show({"version": version.id, "note": text}, f"{version.id}: noted", as_json=as_json)


@app.command(
    epilog="Examples:\n\n\b\n  training_models tag v003 good\n  training_models tag v003 good --remove"
)
def tag(
    name: Name,
    tag: Annotated[str, typer.Argument(metavar="TAG")],
    remove: Annotated[bool, typer.Option("--remove", help="Take it away.")] = False,
    base_dir: BaseDir = None,
    as_json: Json = False,
) -> None:
    """Give a version a tag, or take it away."""
    models = client_of(base_dir).models
    version = models.find(name)
    models.tag(version, tag, is_set=not remove)
    tags = models.find(version.id).tags
    _show({"version": version.id, "tags": tags}, f"{version.id}: {_tags(tags)}", as_json=as_json)


def _tags(tags: tuple[str, ...]) -> str:
    return f"tagged {', '.join(tags)}" if tags else "no tags"


@app.command(
    epilog="Examples:\n\n\b\n"
    "  training_models alias deployed v003\n"
    "  training_models alias deployed                            the one it means\n"
    "  training_models alias deployed --at 2026-11-20T14:03:00Z  which it was then\n"
    "  training_models alias deployed --remove"
)
def alias(
    alias: Annotated[
        str,
        typer.Argument(
            metavar="ALIAS", help="A name of your own, such as deployed.", autocompletion=_aliases
        ),
    ],
    name: Annotated[
        str | None,
        typer.Argument(metavar="VERSION", help="What it means from now on.", autocompletion=_version_names),
    ] = None,
    at: Annotated[
        str | None, typer.Option("--at", metavar="TIME", help="Show what it meant then: ISO 8601, UTC.")
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Let it mean nothing.")] = False,
    base_dir: BaseDir = None,
    as_json: Json = False,
) -> None:
    """Let a name mean a version, or show what it means or meant."""
    if sum((name is not None, at is not None, remove)) > 1:
        raise CommandFailed("expected one of VERSION, --at and --remove")
    models = client_of(base_dir).models
    before: str | None
    if remove:
        before, now = models.unalias(alias), None
        line = f"{printable(alias)} meant {before}; it means nothing now"
    elif name is not None:
        version = models.find(name)
        before, now = models.alias(alias, version), version.id
        line = f"{alias} means {now}" + (f" (before: {before})" if before not in (None, now) else "")
    else:
        before, now = None, models.alias_at(alias, at) if at else models.find(alias).id
        line = f"{printable(alias)} {'meant' if at else 'means'} {now or 'nothing'}"
    _show({"alias": alias, "version": now, "before": before}, line, as_json=as_json)


@app.command(
    epilog="Examples:\n\n\b\n"
    "  training_models lineage v003          the files that made it\n"
    "  training_models lineage chat.jsonl    the versions that a file is in"
)
def lineage(
    name: Annotated[
        str,
        typer.Argument(
            metavar="VERSION|FILE",
            help="A version, or the name of a file or its SHA-256.",
            autocompletion=_versions_and_files,
        ),
    ],
    base_dir: BaseDir = None,
    as_json: Json = False,
) -> None:
    """Show the files that made a version, or where a file is."""
    models = client_of(base_dir).models
    from daemon.cli.models_view import file_lines, lineage_lines
    from daemon.client.models import NoSuchVersion

    try:
        version = models.find(name)
    except NoSuchVersion:
        found = models.versions_with(name)
        _show_all(asdict(found), file_lines(found), as_json=as_json)
        return
    files = models.lineage(version)
    documents = {"version": version.id, "files": [file.model_dump(mode="json") for file in files]}
    _show_all(documents, lineage_lines(version, files, columns=terminal_columns()), as_json=as_json)


@app.command("diff-config", epilog="Example:\n\n\b\n  training_models diff-config v002 v003")
def diff_config(
    before: Annotated[str, typer.Argument(metavar="VERSION", autocompletion=_version_names)],
    after: Annotated[str, typer.Argument(metavar="VERSION", autocompletion=_version_names)],
    base_dir: BaseDir = None,
    as_json: Json = False,
) -> None:
    """Show which settings differ between two versions."""
    models = client_of(base_dir).models
    found = models.differing_settings(models.find(before), models.find(after))
    from daemon.cli.models_view import setting_lines

    _show_all([asdict(difference) for difference in found], setting_lines(found), as_json=as_json)


app.command(epilog="Examples:\n\n\b\n  training_models gates\n  training_models gates chat.jsonl --json")(
    gates
)

# ---- go back

Requeued = Annotated[
    bool, typer.Option("--requeue", help="Train the files that are undone again, from their first rows.")
]
Without = Annotated[
    list[str] | None,
    typer.Option(
        "--without",
        metavar="FILE",
        help="With --requeue: all but this file. May be repeated.",
        autocompletion=_files,
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
        typer.Option("--to", metavar="VERSION", help="Go back to a version.", autocompletion=_version_names),
    ] = None,
    file: Annotated[
        str | None,
        typer.Option(
            "--file", metavar="FILE", help="Go back to before its first step.", autocompletion=_files
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
    described = "\n".join(rollback_lines(plan))
    if not _is_meant(described, yes=yes, dry_run=dry_run, as_json=as_json, plan=asdict(plan)):
        return
    reason = f"training_models rollback to {plan.target}"
    result = client.rollbacks.carry_out(plan, reason=reason, requeue=wanted)
    _show({"result": result, "plan": asdict(plan)}, result, as_json=as_json)


@app.command(epilog="Example:\n\n\b\n  training_models restore v003")
def restore(
    name: Name, yes: Yes = False, dry_run: DryRun = False, base_dir: BaseDir = None, as_json: Json = False
) -> None:
    """Let the model go back to a version, or forward. The same as `rollback --to`."""
    rollback(to=name, yes=yes, dry_run=dry_run, base_dir=base_dir, as_json=as_json)


app.command(epilog=FORGET_EXAMPLES)(forget)


# ---- delete


@app.command(epilog="Example:\n\n\b\n  training_models delete v003")
def delete(
    name: Name, yes: Yes = False, dry_run: DryRun = False, base_dir: BaseDir = None, as_json: Json = False
) -> None:
    """Move a version to the trash. `undelete` brings it back, `gc` frees its space."""
    client = client_of(base_dir)
    models = client.models
    version = models.find(name)
    models.require_deletable(version)
    if not _is_meant(f"{version.id} will be moved to the trash", yes=yes, dry_run=dry_run, as_json=as_json):
        return
    client.backups().before("delete", versions=[version.id])
    path = models.delete(version)
    line = f"{version.id}: moved to the trash; to bring it back: training_models undelete {version.id}"
    _show({"version": version.id, "path": str(path)}, line, as_json=as_json)


@app.command(epilog="Example:\n\n\b\n  training_models undelete v003")
def undelete(
    version_id: Annotated[
        str, typer.Argument(metavar="VERSION", help="Its id, such as v003.", autocompletion=_deleted)
    ],
    base_dir: BaseDir = None,
    as_json: Json = False,
) -> None:
    """Take a version out of the trash."""
    version = client_of(base_dir).models.undelete(version_id)
    document = {"version": version.id, "path": str(version.path)}
    _show(document, f"{version.id}: back in {version.path}", as_json=as_json)


models_disk.add_to(app)


def _is_meant(text: str, *, yes: bool, dry_run: bool, as_json: bool, plan: object = None) -> bool:
    """Show what would be done, and ask; whether to do it."""
    if dry_run:
        _show({"plan": plan or text}, text, as_json=as_json)
        return False
    if yes:
        return True
    if as_json:
        raise CommandFailed("--json does not ask; add --yes or --dry-run; nothing was changed")
    print(text)
    typer.confirm("Go ahead?", abort=True)
    return True


def _show(value: object, line: str, *, as_json: bool) -> None:
    print(json.dumps(value) if as_json else line)


def _show_all(value: object, lines: Iterable[str], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(value, indent=2))
    else:
        _print(lines)


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        print(line)


def main() -> None:
    """Entry point."""
    run(app)


if __name__ == "__main__":
    main()
