"""The command `training_daemon`: run the daemon here or in the background, or show its settings."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import typer

from daemon.cli import training_daemon_start
from daemon.cli.options import (
    BaseDir,
    CommandFailed,
    Json,
    Version,
    WrongUsage,
    client_of,
    in_words,
    run,
    say_problem,
    terminal_columns,
    use_base_dir,
)
from daemon.client import Client
from daemon.client.errors import InvalidSettings, raising

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, invoke_without_command=True)
app.add_typer(training_daemon_start.app)

VALUE_WIDTH = 24  # of a setting; columns
EXAMPLES = """\
Examples:

\b
  training_daemon                             run here until stopped
  training_daemon --base-dir ~/training       in another working directory
  training_daemon --once                      train what is queued, then exit
  training_daemon --set training.learning_rate=1e-4
  training_daemon --check-config              every setting and its source
  training_daemon --dry-run chat.jsonl        its plan, without training it
  training_daemon init ~/training --sample    make a working directory to try
  training_daemon start --base-dir ~/training   run in the background
"""


@app.callback(epilog=EXAMPLES)
def training_daemon(
    context: typer.Context,
    base_dir: BaseDir = None,
    once: Annotated[
        bool,
        typer.Option(
            "--once",
            help="Train what is queued, then exit; exit code 1 if a file failed or training is blocked.",
        ),
    ] = False,
    check_config: Annotated[
        bool, typer.Option("--check-config", help="Print the effective settings and the source of each.")
    ] = False,
    dry_run: Annotated[
        Path | None,
        typer.Option("--dry-run", metavar="FILE", help="Print the plan for a file without training it."),
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Override a setting.")
    ] = None,
    log_format: Annotated[
        Literal["text", "json"] | None,
        typer.Option("--log-format", metavar="text|json", help="text or json; overrides daemon.log_format."),
    ] = None,
    ready_fd: Annotated[int | None, typer.Option("--ready-fd", hidden=True)] = None,  # from `start`
    as_json: Json = False,
    version: Version = False,
) -> None:
    """Watch inbox/ and train what is dropped there. Stop it with Ctrl-C or training_controller stop.

    Without a subcommand, the daemon runs here, in the foreground.
    """
    if context.invoked_subcommand:
        if once or check_config or dry_run or set_ or log_format or as_json:
            raise WrongUsage(
                f"only --base-dir may stand before {context.invoked_subcommand}; "
                "put the other options behind it"
            )
        use_base_dir(base_dir)
        return
    if check_config and dry_run:
        raise WrongUsage("give either --check-config or --dry-run")
    overrides = set_ or []
    client = client_of(base_dir)
    if check_config:
        show_settings(client, overrides, as_json=as_json)
        return
    if dry_run:
        show_plan(client, dry_run, overrides, as_json=as_json)
        return
    if as_json:
        way = "for a log in JSON: --log-format json"
        raise WrongUsage(f"--json goes with --check-config, --dry-run or a subcommand; {way}")
    from daemon.app import AlreadyRunning, UnusableLedger, run_daemon
    from trainer.config.loader import BadConfig

    base = client.any_layout.base
    client.refuse_inside_another()
    try:
        with raising(InvalidSettings, BadConfig), raising(CommandFailed, AlreadyRunning, UnusableLedger):
            code = run_daemon(base, overrides=overrides, drain=once, log_format=log_format, ready_fd=ready_fd)
    except OSError as error:
        raise CommandFailed(
            f"{base} cannot be used: {error}; expected a writable folder with free space; fix this or "
            "choose another --base-dir"
        ) from error
    raise typer.Exit(code)


def show_settings(client: Client, overrides: list[str], *, as_json: bool) -> None:
    """Print every setting with its value and origin. What one names must be there."""
    effective = client.settings.effective(overrides)
    values = effective.settings.model_dump(mode="json")
    problems = client.settings.unusable_names(effective.settings)
    remarks = client.settings.remarks(overrides)
    if as_json:
        facts = {
            "settings": values,
            "origins": dict(effective.origins),
            "problems": problems,
            "remarks": remarks,
        }
        print(json.dumps(facts, indent=2))
    else:
        _print_settings(values, effective.origins)
        for remark in remarks:
            say_problem("note", remark)
    for problem in problems:
        say_problem("error", problem)
    if problems:
        raise typer.Exit(InvalidSettings.exit_code)


def _print_settings(values: Mapping[str, Mapping[str, object]], origins: Mapping[str, str]) -> None:
    width = max(len(key) for keys in values.values() for key in keys)
    for section, keys in values.items():
        print(f"[{section}]")
        for key, value in keys.items():
            origin = origins.get(f"{section}.{key}", "default")
            shown = json.dumps(value, ensure_ascii=False)
            for line in setting_lines(f"  {key:{width}} ", shown, origin, columns=terminal_columns()):
                print(line)


def setting_lines(start: str, value: str, origin: str, *, columns: int | None) -> list[str]:
    """Return the line of a setting, or several with the origin in the last if it is wider than the terminal.

    Args:
        start: what stands before the value.
        columns: of the terminal; None if the output goes elsewhere, then it is one line.
    """
    line = f"{start}{value:{VALUE_WIDTH}} {origin}"
    if columns is None or len(line) <= columns:
        return [line]
    below = f"{'':{len(start) + VALUE_WIDTH}} {origin}"
    return [
        *in_words(f"{start}{value}", columns, indent=len(start)),
        below if len(below) <= columns else f"{'':{len(start)}}{origin}",
    ]


def show_plan(client: Client, file: Path, overrides: list[str], *, as_json: bool) -> None:
    """Print what training a file would be like. Nothing is trained, and nothing is changed."""
    from daemon.cli.dry_run_view import as_json as document
    from daemon.cli.dry_run_view import draw

    if as_json:
        print(json.dumps(document(client.data.dry_run(file, overrides)), indent=2))
        return
    from rich.console import Console

    with Console(stderr=True).status("loading the model, reading every row, trying a few steps"):
        found = client.data.dry_run(file, overrides)
    Console().print(draw(found))
    for remark in client.settings.left_out(overrides):
        say_problem("note", remark)


def main() -> None:
    """Entry point."""
    run(app)


if __name__ == "__main__":
    main()
