"""The command `training_models backup`: copies of the model on another disk or machine."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from daemon.cli.asking import DryRun, Yes, is_meant, show
from daemon.cli.options import BaseDir, Json, client_of, say
from trainer.protocol.text import shell_word

if TYPE_CHECKING:
    from pydantic import BaseModel

    from daemon.client.backups import Backups

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True)

To = Annotated[
    str | None,
    typer.Option("--to", metavar="URL", help="A folder or an address. [default: the setting backup.to]"),
]
Backup = Annotated[str, typer.Argument(metavar="BACKUP", help="Its id, as the list shows it, or latest.")]


@app.callback()
def _backup() -> None:
    """Back the model up and restore it. Verify backups and rehearse a restore."""


@app.command(
    epilog="Examples:\n\n\b\n"
    "  training_models backup create\n"
    "  training_models backup create --to /mnt/backup --version deployed"
)
def create(
    versions: Annotated[
        list[str] | None,
        typer.Option(
            "--version", metavar="VERSION", help="One whose weights are backed up, too. Repeatable."
        ),
    ] = None,
    to: To = None,
    base_dir: BaseDir = None,
    as_json: Json = False,
) -> None:
    """Back up the newest checkpoint.

    With all that it takes to continue from it: see docs/models/backups.md.
    """
    made = _backups(base_dir, to).create(versions=versions or ())
    from daemon.cli.backups_view import made_lines

    show(_document(made), made_lines(made), as_json=as_json)


@app.command("list", epilog="Example:\n\n\b\n  training_models backup list --to /mnt/backup")
def list_backups(to: To = None, base_dir: BaseDir = None, as_json: Json = False) -> None:
    """List the backups that are there, oldest first."""
    found = _backups(base_dir, to).list()
    from daemon.cli.backups_view import list_lines

    show(_document(found), list_lines(found, option=_option(to)), as_json=as_json)


@app.command(
    epilog="Examples:\n\n\b\n"
    "  training_models backup verify           everything that is there\n"
    "  training_models backup verify latest    what one backup needs"
)
def verify(
    backup: Annotated[
        str | None, typer.Argument(metavar="BACKUP", help="Its id, or latest. [default: all]")
    ] = None,
    to: To = None,
    base_dir: BaseDir = None,
    as_json: Json = False,
) -> None:
    """Hash everything again: a bit that has changed is found and named."""
    found = _backups(base_dir, to).verify(backup)
    from daemon.cli.backups_view import verified_lines

    show(_document(found), verified_lines(found), as_json=as_json)
    if not found.is_whole or not found.backups:
        raise typer.Exit(1)


@app.command(
    epilog="Examples:\n\n\b\n"
    "  training_models backup restore --into /srv/again\n"
    "  training_models backup restore 20261122-031500-a1b2c3 --into /srv/again"
)
def restore(
    backup: Backup = "latest",
    into: Annotated[
        Path | None,
        typer.Option("--into", metavar="FOLDER", help="[default: a new folder beside the working directory]"),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Move a working directory that is there aside.")
    ] = False,
    to: To = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    base_dir: BaseDir = None,
    as_json: Json = False,
) -> None:
    """Make a working directory of a backup.

    A daemon that is started there continues where the backup was made.
    """
    backups = _backups(base_dir, to)
    from daemon.cli.backups_view import restored_lines

    plan = backups.restore(backup, into, force=force, dry_run=True)
    if not is_meant(
        _document(plan), restored_lines(plan, is_done=False), yes=yes, dry_run=dry_run, as_json=as_json
    ):
        return
    # The one that was shown: `latest` may be another by now
    done = backups.restore(plan.id, into, force=force)
    show(_document(done), restored_lines(done, is_done=True), as_json=as_json)


@app.command(epilog="Example:\n\n\b\n  training_models backup drill")
def drill(backup: Backup = "latest", to: To = None, base_dir: BaseDir = None, as_json: Json = False) -> None:
    """Restore a backup for a trial, and compare its model.

    It is restored into a scratch folder, and loaded; the exit code is 1 if it is not what it was.
    """
    result = _backups(base_dir, to).drill(backup)
    from daemon.cli.backups_view import drill_lines

    show(_document(result), drill_lines(result), as_json=as_json)
    if not result.passed:
        raise typer.Exit(1)


@app.command(epilog="Example:\n\n\b\n  training_models backup prune --dry-run")
def prune(
    to: To = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    base_dir: BaseDir = None,
    as_json: Json = False,
) -> None:
    """Remove the backups that the settings do not keep.

    These are backup.keep_last, keep_daily, keep_weekly and keep_monthly.
    """
    backups = _backups(base_dir, to)
    from daemon.cli.backups_view import pruned_lines

    plan = backups.prune(dry_run=True)
    if not (plan.removed or plan.freed_objects):
        show(_document(plan), pruned_lines(plan, is_done=True), as_json=as_json)
        return
    if not is_meant(
        _document(plan), pruned_lines(plan, is_done=False), yes=yes, dry_run=dry_run, as_json=as_json
    ):
        return
    done = backups.prune()
    show(_document(done), pruned_lines(done, is_done=True), as_json=as_json)


def _backups(base_dir: Path | None, to: str | None) -> "Backups":
    on_progress = _tell if sys.stderr.isatty() else lambda words: None
    return client_of(base_dir).backups(to, on_progress=on_progress)


def _option(to: str | None) -> str:
    return "" if to is None else f" --to {shell_word(to)}"


def _tell(words: str) -> None:
    say(words, file=sys.stderr)


def _document(found: "BaseModel") -> dict[str, Any]:
    return found.model_dump(mode="json")
