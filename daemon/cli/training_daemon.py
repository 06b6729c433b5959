"""The command `training_daemon`: run the daemon in the foreground, or show its settings."""

import json
from pathlib import Path
from typing import Annotated

import typer

from daemon.cli.options import BAD_CONFIG_EXIT_CODE, BaseDir, CommandFailed, Json, run, settings_in
from trainer.protocol.layout import Layout, find_base_dir

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)

EXAMPLES = """\
Examples:

\b
  training_daemon                                  run here until stopped
  training_daemon --base-dir ~/training            run in another working directory
  training_daemon --once                           train everything that is queued, then leave
  training_daemon --set training.learning_rate=1e-4
  training_daemon --check-config                   show every setting and where it came from
  training_daemon --dry-run chat.jsonl             say what training this file would be like; train nothing
"""


@app.command(epilog=EXAMPLES)
def training_daemon(
    base_dir: BaseDir = None,
    once: Annotated[
        bool,
        typer.Option(
            "--once",
            help="Train what is queued, then leave; exit 1 if a file failed or it is blocked.",
        ),
    ] = False,
    check_config: Annotated[
        bool, typer.Option("--check-config", help="Print the effective settings and where each came from.")
    ] = False,
    dry_run: Annotated[
        Path | None,
        typer.Option("--dry-run", metavar="FILE", help="Print the plan for a file without training it."),
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Override a setting.")
    ] = None,
    log_format: Annotated[
        str | None, typer.Option("--log-format", help="text or json, instead of daemon.log_format.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Watch inbox/ and train what is dropped there. Stop it with Ctrl-C or training_controller stop."""
    overrides = set_ or []
    base = find_base_dir(base_dir)
    if check_config:
        show_settings(Layout(base), overrides, as_json=as_json)
        return
    if dry_run:
        show_plan(Layout(base), dry_run, overrides, as_json=as_json)
        return
    from daemon.app import AlreadyRunning, run_daemon
    from daemon.ledger.database import UnusableLedger
    from trainer.config.loader import BadConfig

    try:
        code = run_daemon(base, overrides=overrides, drain=once, log_format=log_format)
    except BadConfig as error:
        raise CommandFailed(str(error), exit_code=BAD_CONFIG_EXIT_CODE) from error
    except (AlreadyRunning, UnusableLedger) as error:
        raise CommandFailed(str(error)) from error
    except OSError as error:
        raise CommandFailed(
            f"{base} cannot be used: {error}; expected a folder with free space to write to; put that right"
        ) from error
    raise typer.Exit(code)


def show_settings(layout: Layout, overrides: list[str], *, as_json: bool) -> None:
    """Print every setting with its value and origin."""
    effective = settings_in(layout, overrides)
    values = effective.settings.model_dump(mode="json")
    if as_json:
        print(json.dumps({"settings": values, "origins": dict(effective.origins)}, indent=2))
        return
    for section, keys in values.items():
        print(f"[{section}]")
        for key, value in keys.items():
            origin = effective.origins.get(f"{section}.{key}", "default")
            print(f"  {key:24} {json.dumps(value, ensure_ascii=False):24} {origin}")


def show_plan(layout: Layout, file: Path, overrides: list[str], *, as_json: bool) -> None:
    """Print what training a file would be like. Nothing is trained, and nothing in `layout` is changed."""
    from daemon.cli import dry_run

    if as_json:
        print(json.dumps(dry_run.as_json(*dry_run.dry_run(layout, file, overrides)), indent=2))
        return
    from rich.console import Console

    with Console(stderr=True).status("loading the model, reading every row, trying a few steps"):
        planned, speed = dry_run.dry_run(layout, file, overrides)
    Console().print(dry_run.draw(planned, speed))


def main() -> None:
    """Entry point."""
    run(app)


if __name__ == "__main__":
    main()
