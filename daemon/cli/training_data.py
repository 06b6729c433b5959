"""The command `training_data`: inspect data files, prepare them, and see what they achieved. Needs no daemon.

A table of contents: each group of subcommands is a module of its own.
"""

import typer

from daemon.cli import (
    training_data_analyze,
    training_data_files,
    training_data_flag,
    training_data_generate,
    training_data_report,
    training_data_show,
    training_data_value,
)
from daemon.cli.options import BaseDir, Version, run, use_base_dir

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True)
app.add_typer(training_data_files.app)
app.add_typer(training_data_report.app)
app.add_typer(training_data_show.app)
app.add_typer(training_data_flag.app)
app.add_typer(training_data_value.app)
app.add_typer(training_data_generate.app)
app.add_typer(training_data_analyze.app)


@app.callback()
def _training_data(base_dir: BaseDir = None, version: Version = False) -> None:
    """Inspect data files, prepare them, and see what they achieved. Your files are never changed."""
    use_base_dir(base_dir)


def main() -> None:
    """Entry point."""
    run(app)


if __name__ == "__main__":
    main()
