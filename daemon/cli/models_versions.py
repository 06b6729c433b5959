"""Subcommands of `training_models` about versions: show, make, name and delete them, and what made them."""

from dataclasses import asdict
from typing import Annotated

import typer

from daemon.cli.asking import DryRun, Yes, is_meant, show
from daemon.cli.models_options import VersionName, offered_files, offered_versions
from daemon.cli.options import BaseDir, CommandFailed, Json, client_of, completing, terminal_columns
from daemon.client.offered_versions import alias_names, checkpoint_names, deleted_names
from trainer.protocol.text import printable

app = typer.Typer()


def _versions_and_files(ctx: typer.Context, incomplete: str) -> list[str]:
    return [*offered_versions(ctx, incomplete), *offered_files(ctx, incomplete)]


def _aliases(ctx: typer.Context, incomplete: str) -> list[str]:
    return alias_names(completing(ctx), incomplete)


def _checkpoints(ctx: typer.Context, incomplete: str) -> list[str]:
    return checkpoint_names(completing(ctx), incomplete)


def _deleted(ctx: typer.Context, incomplete: str) -> list[str]:
    return deleted_names(completing(ctx), incomplete)


@app.command("list", epilog="Example:\n\n\b\n  training_models list")
def list_versions(base_dir: BaseDir = None, as_json: Json = False) -> None:
    """List the versions of the model, oldest first."""
    models = client_of(base_dir).models
    versions, damaged = models.versions(), models.damaged()
    from daemon.cli.models_view import list_lines

    shown = versions if as_json else []  # a thousand of them take a tenth of the time
    found = {"versions": [asdict(version) for version in shown], "damaged": damaged}
    show(found, list_lines(versions, damaged, columns=terminal_columns()), as_json=as_json)


@app.command("show", epilog="Examples:\n\n\b\n  training_models show v003\n  training_models show deployed")
def show_version(name: VersionName, base_dir: BaseDir = None, as_json: Json = False) -> None:
    """Show everything about a version."""
    version = client_of(base_dir).models.find(name)
    from daemon.cli.models_view import version_json, version_lines

    show(version_json(version), version_lines(version), as_json=as_json)


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
    show(
        {"version": version.id, "path": str(version.path), "is_new": is_new},
        [f"{version.id}: {step}{already}; load it from {version.path}"],
        as_json=as_json,
    )


@app.command(epilog="Example:\n\n\b\n  training_models note v003 'answers in French too'")
def note(
    name: VersionName,
    text: Annotated[str, typer.Argument(metavar="TEXT")],
    base_dir: BaseDir = None,
    as_json: Json = False,
) -> None:
    """Add a note to a version."""
    models = client_of(base_dir).models
    version = models.find(name)
    models.note(version, text)
    show({"version": version.id, "note": text}, [f"{version.id}: noted"], as_json=as_json)


@app.command(
    epilog="Examples:\n\n\b\n  training_models tag v003 good\n  training_models tag v003 good --remove"
)
def tag(
    name: VersionName,
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
    show({"version": version.id, "tags": tags}, [f"{version.id}: {_tags(tags)}"], as_json=as_json)


def _tags(tags: tuple[str, ...]) -> str:
    return f"tagged {', '.join(tags)}" if tags else "no tags"


@app.command(
    epilog="Examples:\n\n\b\n"
    "  training_models alias deployed v003\n"
    "  training_models alias deployed                            the one it means\n"
    "  training_models alias deployed --at 2026-11-20T14:03:00Z   which then\n"
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
        typer.Argument(metavar="VERSION", help="What it means from now on.", autocompletion=offered_versions),
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
        before, now = None, models.alias_at(alias, at) if at else models.meaning_of(alias)
        line = f"{printable(alias)} {'meant' if at else 'means'} {now or 'nothing'}"
    show({"alias": alias, "version": now, "before": before}, [line], as_json=as_json)


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
    from daemon.client.errors import NoSuchVersion
    from daemon.client.models import names_no_file

    try:
        version = models.find(name)
    except NoSuchVersion:
        if names_no_file(name):
            raise
        found = models.versions_with(name)
        show(asdict(found), file_lines(found), as_json=as_json)
        return
    files = models.lineage(version)
    documents = {"version": version.id, "files": [file.model_dump(mode="json") for file in files]}
    show(documents, lineage_lines(version, files, columns=terminal_columns()), as_json=as_json)


@app.command("diff-config", epilog="Example:\n\n\b\n  training_models diff-config v002 v003")
def diff_config(
    before: Annotated[str, typer.Argument(metavar="VERSION", autocompletion=offered_versions)],
    after: Annotated[str, typer.Argument(metavar="VERSION", autocompletion=offered_versions)],
    base_dir: BaseDir = None,
    as_json: Json = False,
) -> None:
    """Show which settings differ between two versions."""
    models = client_of(base_dir).models
    found = models.differing_settings(models.find(before), models.find(after))
    from daemon.cli.models_view import setting_lines

    show([asdict(difference) for difference in found], setting_lines(found), as_json=as_json)


# ---- delete


@app.command(epilog="Example:\n\n\b\n  training_models delete v003")
def delete(
    name: VersionName,
    yes: Yes = False,
    dry_run: DryRun = False,
    base_dir: BaseDir = None,
    as_json: Json = False,
) -> None:
    """Move a version to the trash. `undelete` brings it back, `gc` frees its space."""
    client = client_of(base_dir)
    models = client.models
    from daemon.client.models import UnreadableVersion

    version = models.locate(name)
    models.require_deletable(version)
    text = f"{version.id} will be moved to the trash"
    if isinstance(version, UnreadableVersion):
        text += f"; its record is damaged: {printable(version.problem)}"
    if not is_meant({"plan": text}, [text], yes=yes, dry_run=dry_run, as_json=as_json):
        return
    path = models.delete(version)
    line = f"{version.id}: moved to the trash; to bring it back: training_models undelete {version.id}"
    show({"version": version.id, "path": str(path)}, [line], as_json=as_json)


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
    show(document, [f"{version.id}: back in {version.path}"], as_json=as_json)
